"""Sweeps: settings, their names, what they share, and a sentence for each mistake."""

import itertools

import pytest
from studies import read, tiny_settings

from fusionscope.errors import InputError
from machinery import settings
from machinery.study import Study
from machinery.sweeps import in_a_name, settings_of, shown, sweep_of

WIDTHS, DECAYS = [0.0625, 0.125], [0, 5.0e-4]


def study_of(sweep: dict, **of_experiment) -> Study:
    mine = tiny_settings(sweep=sweep, **of_experiment)
    return Study.read(settings.resolve_experiments(read(mine)), lambda path: False)


def refusal(sweep: object, **of_experiment) -> str:
    with pytest.raises(InputError) as caught:
        study_of(sweep, **of_experiment)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_grid_has_every_combination_in_order():
    study = study_of({"width": WIDTHS, "training.weight_decay": DECAYS})
    found = [(e.settings["widths"][0], e.settings["training"]["weight_decay"]) for e in by_name(study)]
    assert found == list(itertools.product(WIDTHS, DECAYS))
    assert list(study.experiments) == [
        "tiny.width~0.0625_weight_decay~0",
        "tiny.width~0.0625_weight_decay~0.0005",
        "tiny.width~0.125_weight_decay~0",
        "tiny.width~0.125_weight_decay~0.0005",
    ]
    assert study.axes("tiny") == {"width": ["0.0625", "0.125"], "weight_decay": ["0", "0.0005"]}
    assert set(map(sweep_of, study.experiments)) == {"tiny"}


def by_name(study: Study) -> list:
    return list(study.experiments.values())


def test_zipped_lists_go_together():
    study = study_of({"zip": True, "width": WIDTHS, "training.weight_decay": DECAYS})
    assert list(study.experiments) == [
        "tiny.width~0.0625_weight_decay~0",
        "tiny.width~0.125_weight_decay~0.0005",
    ]


def test_an_option_of_a_fusion_makes_children_and_no_parents():
    study = study_of({"fusions.geometric_fused.weight": [0.25, 0.75]})
    [experiment] = by_name(study)
    assert experiment.name == "tiny"
    children = ["naive_fused", "geometric_fused.weight~0.25", "geometric_fused.weight~0.75"]
    assert experiment.fusions == children
    assert [experiment.definition(child).get("weight") for child in children] == [None, 0.25, 0.75]
    assert [experiment.role(child) for child in children] == ["naive_fused", *["geometric_fused"] * 2]
    before = Study.read(settings.resolve_experiments(read(tiny_settings())), lambda path: False)
    parents = [path for path in before.results() if "parent_" in path]
    assert parents
    assert set(parents) <= set(study.results())


def test_defaults_that_depend_on_a_swept_option_follow_it():
    study = study_of({"fusions.geometric_fused.align_by": ["weights", "activations"]})
    [experiment] = by_name(study)
    metrics = [experiment.definition(child).get("ground_metric") for child in experiment.fusions]
    assert metrics == [None, "euclidean", "correlation"]


def test_settings_share_data_streams_and_seeds():
    study = study_of({"width": WIDTHS, "training.weight_decay": DECAYS})
    assert len({experiment.data for experiment in by_name(study)}) == 1
    for experiment in by_name(study):
        assert experiment.stream == "tiny"
        assert experiment.role("parent_1") == "parent_1"


def test_images_are_prepared_again_where_the_sweep_changes_them():
    swept = [{"mean": [0.1] * 3, "std": [0.2] * 3}, {"mean": [0.2] * 3, "std": [0.2] * 3}]
    study = study_of({"normalisation": swept})
    assert len({experiment.data for experiment in by_name(study)}) == 2
    same = study_of({"width": WIDTHS}, normalisation=swept[0])
    assert {experiment.data for experiment in by_name(same)} == {"data/digits_tiny.npz"}


def test_a_value_that_is_added_changes_nothing_of_the_others():
    before = study_of({"width": WIDTHS, "training.weight_decay": DECAYS})
    after = study_of({"width": [*WIDTHS, 0.25], "training.weight_decay": DECAYS})
    for name, experiment in before.experiments.items():
        assert after.experiments[name].settings == experiment.settings
    added = after.experiments.keys() - before.experiments.keys()
    assert added == {"tiny.width~0.25_weight_decay~0", "tiny.width~0.25_weight_decay~0.0005"}


def test_what_all_asks_for_is_linear_in_the_settings():
    def asked_for(settings_wanted: int) -> int:
        return len(study_of({"training.weight_decay": [k / 1000 for k in range(settings_wanted)]}).results())

    two, three, six = map(asked_for, (2, 3, 6))
    assert three > two
    assert six - three == 3 * (three - two)


def test_names_tell_apart_and_are_short_enough_for_files():
    values = [f"torchvision:resnet{'x' * 40}{number}" for number in range(3)]
    names = list(map(in_a_name, values))
    assert len(set(names)) == 3
    assert all(len(name) <= 24 for name in names)
    sweep = {f"training.{'o' * 30}{number}": [1, 2] for number in range(6)}
    points = settings_of("s" * 60, sweep, ["naive_fused"])
    assert len({point.name for point in points}) == 2**6
    assert all(len(point.name) <= 120 for point in points)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.25, "0.25"),
        (5.0e-4, "0.0005"),
        (1.0, "1"),
        (0.1234567890123, "0.1234567890123"),
        (True, "true"),
        (None, "none"),
        ([0.25, 0.5], "0.25 0.5"),
        ({"kind": "steps", "at": [2, 3], "factor": 0.1}, "steps 2 3 0.1"),
    ],
)
def test_values_are_shown_as_they_are_typed(value: object, text: str):
    assert shown(value) == text


PLACE = "config: experiments.tiny.sweep"


@pytest.mark.parametrize(
    ("sweep", "sentence"),
    [
        ({}, f"{PLACE}: give at least one key with a list of values, such as width: [0.25, 0.5]"),
        ({"zip": True}, f"{PLACE}: give at least one key with a list of values, such as width: [0.25, 0.5]"),
        ({"zip": 1, "width": [1]}, f"{PLACE}.zip: 1 is not right; expected true or false"),
        ({"widht": [1]}, f"{PLACE}: 'widht' cannot be swept; did you mean 'width'? (also training.OPTION and "
         "fusions.NAME.OPTION)"),
        ({"seeds": [1, 2]}, f"{PLACE}: 'seeds' cannot be swept; known are dataset,"),
        ({"width": 1}, f"{PLACE}.width: 1 is not right; expected a list of values"),
        ({"width": []}, f"{PLACE}.width: [] is not right; expected a list of values"),
        ({"width": [1, 1.0]}, f"{PLACE}.width: 1 is given twice; leave one out"),
        ({"width": [1, -1]}, f"{PLACE}: with width -1: width: -1 is not right; expected a number above 0"),
        ({"width": ["1"]}, f"{PLACE}: with width 1: width: '1' is text, not a number; write 1"),
        ({"model_type": ["VGG12"]}, f"{PLACE}: with model_type VGG12: model_type: 'VGG12' is not known; did"),
        ({"depth": [2]}, f"{PLACE}: with depth 2: depth: "),
        ({"training": ["nothing"]}, "config: experiments.tiny.training: 'nothing' is not defined;"),
        ({"training.weight_decay": [-1]}, f"{PLACE}: with training.weight_decay -1: training.weight_decay: "),
        ({"training.weight_deccay": [1]}, f"{PLACE}: with training.weight_deccay 1: training: unknown key "
         "'weight_deccay'; did you mean 'weight_decay'?"),
        ({"fusions.nothing.weight": [0.5]}, f"{PLACE}.fusions.nothing.weight: 'nothing' is no fusion of this "
         "experiment; known are naive_fused, geometric_fused"),
        ({"fusions.naive_fused.wait": [0.5]}, f"{PLACE}: with fusions.naive_fused.wait 0.5: "
         "fusions.naive_fused: unknown key 'wait'; "),
        ({"fusions.naive_fused.weight": [2]}, f"{PLACE}: with fusions.naive_fused.weight 2: "
         "fusions.naive_fused.weight: 2 is not right"),
        ({"zip": True, "width": [1, 2], "training.epochs": [1]}, f"{PLACE}.zip: lists that are zipped are "
         "equally long, and these are not (width 2, training.epochs 1)"),
        ({"training.epochs": list(range(1, 102)), "training.batch_size": list(range(1, 102))},
         f"{PLACE}: 10,201 settings are too many; at most 10,000 are possible"),
        ({"image_folder": ["a/b", "a-b"], "dataset": ["image_folder"]}, f"{PLACE}: two settings would be"),
    ],
)  # fmt: skip
def test_mistakes_are_named(sweep: object, sentence: str):
    assert refusal(sweep).startswith(sentence)


def test_the_models_of_all_settings_count():
    assert "models would be planned" in refusal(
        {"training.epochs": list(range(1, 101)), "training.batch_size": list(range(1, 101))}, seeds=10
    )
