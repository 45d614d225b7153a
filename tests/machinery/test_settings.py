"""From config.yaml to experiments: defaults, recipes, names; every mistake has its sentence."""

import os
from pathlib import Path

import pytest
import yaml

from fusionscope.errors import InputError
from machinery.settings import check_schema, foreign_weights, plain, resolve_experiments, seed_list

ROOT = Path(__file__).parents[2]
SCHEMA = yaml.safe_load((ROOT / "schemas/config.schema.yaml").read_text())


@pytest.fixture
def config() -> dict:
    """The configuration that ships, with the schema's defaults put in as Snakemake does it."""
    from snakemake.utils import validate

    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    validate(config, str(ROOT / "schemas/config.schema.yaml"))
    return config


def test_the_default_run_is_two_experiments_of_three_seeds_on_digits(config):
    experiments = resolve_experiments(config)
    assert list(experiments) == ["digits_vgg11", "digits_resnet18"]
    for experiment in experiments.values():
        assert experiment["seeds"] == [1, 2, 3]
        assert experiment["dataset"] == "digits"
        assert experiment["widths"] == [experiment["width"]] * 2
        assert experiment["spaces"] == ["input", "parameter", "prediction", "connectivity", "correlation"]
        assert experiment["fusions"] == {
            "naive_fused": {"method": "average"},
            "geometric_fused": {"method": "optimal_transport", "align_by": "weights", "solver": "exact"},
        }


def test_the_study_s_four_experiments_have_five_seeds_at_full_width_and_its_recipe(config):
    names = [f"{network}_{data}" for network in ("vgg11", "resnet18") for data in ("cifar10", "cifar100")]
    config["run"] = names
    for experiment in resolve_experiments(config).values():
        assert experiment["seeds"] == [1, 2, 3, 4, 5]
        assert experiment["widths"] == [1.0, 1.0]
        recipe = experiment["training"]
        assert (recipe["epochs"], recipe["batch_size"]) == (30, 64)
        assert (recipe["learning_rate"], recipe["momentum"]) == (0.05, 0.9)
        assert recipe["schedule"] == {"kind": "steps", "at": [12, 20, 25, 28], "factor": 0.1}
        assert recipe["augmentation"] == "none"


def test_seeds_are_a_number_or_a_list_without_repeats():
    assert seed_list(3) == [1, 2, 3]
    assert seed_list([7, 1, 7]) == [7, 1]


def test_equal_settings_look_equal():
    one = {"b": 1.0, "a": [0.0, {"y": 2, "x": (1, 2)}]}
    other = {"a": [0, {"x": [1, 2.0], "y": 2}], "b": 1}
    assert repr(plain(one)) == repr(plain(other))
    assert repr(plain({"a": True})) != repr(plain({"a": 1}))
    assert repr(plain({"a": 1, "b": 2})) != repr(plain({"a": 2, "b": 1}))


def test_the_schema_refuses_unknown_keys_everywhere():
    """A typing error at any depth must not pass in silence."""

    def objects(node):
        if isinstance(node, dict):
            if node.get("type") == "object":
                yield node
            for child in node.values():
                yield from objects(child)

    for node in objects(SCHEMA):
        assert {"additionalProperties", "if", "allOf"} & set(node), node


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (
            "training.paper.schedule",
            {"kind": "steps", "at": [3]},
            "training.paper.schedule: the key 'factor'",
        ),
        ("training.paper.schedule", {"kind": "one_cycle", "at": [3]}, "unknown key 'at'"),
        ("training.paper.momentum", 1, "training.paper.momentum: 1 is not right; expected a number from 0"),
        ("training.paper.epochs", 2.5, "training.paper.epochs: 2.5 is not right; expected a whole number"),
        ("measurements.quick.flatness.scale_range", [1.0], "expected a list of two numbers above 0"),
        (
            "measurements.quick.complexity",
            ["path_nrom"],
            "complexity.0: 'path_nrom' is not known; did you mean",
        ),
        (
            "measurements.quick.complexity",
            "path_norm",
            "'path_norm' is not right; expected a list of measures",
        ),
        ("measurements.quick.hessian.precision", "half", "'half' is not known; known are single, double"),
        ("fusions.mine", {"method": "mean"}, "fusions.mine.method: 'mean' is not known; known are average"),
        ("fusions.mine", {"method": "average", "solver": "exact"}, "fusions.mine: unknown key 'solver'"),
        ("experiments.my-net", {"dataset": "digits", "model_type": "VGG11"}, "'my-net' cannot be a name"),
        ("experiments.mine", {"model_type": "VGG11"}, "experiments.mine: the key 'dataset' is missing"),
        ("experiments.digits_vgg11.width", [0.5, 0], "width.1: 0 is not right; expected a number above 0"),
        (
            "experiments.digits_vgg11.width",
            [0.5],
            "expected a number above 0, 1 for the network as published, or",
        ),
        (
            "experiments.digits_vgg11.parents",
            1,
            "parents: 1 is not right; expected a whole number of parents, at",
        ),
        (
            "experiments.digits_vgg11.input_size",
            0,
            "0 is not right; expected a whole number of pixels, at least 1",
        ),
        (
            "experiments.digits_vgg11.architecture",
            "resnet18",
            "'resnet18' is not right; expected torchvision:NAME",
        ),
        (
            "fusions.mine",
            {"method": "weight_matching", "solver": "exact"},
            "fusions.mine: unknown key 'solver'",
        ),
        (
            "fusions.mine",
            {"method": "optimal_transport", "solver": "exact"},
            "mine: the key 'align_by' is missing",
        ),
        (
            "fusions.mine",
            {"method": "average", "weight": 1.5},
            "weight: 1.5 is not right; expected a number from 0",
        ),
        (
            "fusions.mine",
            {"method": "average", "repair": 1},
            "repair: 1 is not right; expected true or false",
        ),
        (
            "fusions.mine",
            {"method": "average", "finetune": {"epochs": 1}},
            "the key 'learning_rate' is missing",
        ),
        ("fusions.mine", {"solver": "exact"}, "fusions.mine: the key 'method' is missing"),
        ("fusions.mine_aligned", {"method": "average"}, "'mine_aligned' cannot be a name"),
        ("experiments.mine", None, "experiments.mine: None is not right; expected type object"),
        ("run", [], "run: [] is not right; expected a list of experiment names, at least one"),
        ("devise", "cpu", "top level: unknown key 'devise'; did you mean 'device'?"),
    ],
)
def test_a_mistake_is_named_by_its_place(config, path, value, sentence):
    node = config
    *parents, last = path.split(".")
    for key in parents:
        node = node[key]
    node[last] = value
    with pytest.raises(InputError) as caught:
        check_schema(config, SCHEMA)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_without_any_space_is_refused(config):
    config["experiments"]["digits_vgg11"]["spaces"] = dict.fromkeys(
        ("input", "parameter", "prediction", "connectivity", "correlation"), False
    )
    with pytest.raises(InputError, match="spaces: all are switched off"):
        resolve_experiments(config)


def test_a_range_that_runs_backwards_is_refused(config):
    config["measurements"]["quick"]["flatness"]["scale_range"] = [10.0, 1.0e-5]
    with pytest.raises(InputError, match=r"measurements.quick.flatness.scale_range: 10 is not below 1e-05"):
        resolve_experiments(config)


@pytest.mark.parametrize(
    ("part", "draws", "error"),
    [("hessian", "trace_draws", "trace_target_error"), ("flatness", "draws", "target_error")],
)
def test_draws_or_their_error_are_asked_for_but_not_both(config, part, draws, error):
    recipe = config["measurements"]["quick"][part]
    message = rf"measurements.quick.{part}: give either '{draws}' or '{error}', not both or neither"
    recipe[error] = 0.05
    with pytest.raises(InputError, match=message):
        resolve_experiments(config)
    recipe[draws] = None  # as a file that is laid over config.yaml must say it
    check_schema(config, SCHEMA)
    resolve_experiments(config)
    del recipe[draws]
    resolve_experiments(config)
    del recipe[error]
    with pytest.raises(InputError, match=message):
        resolve_experiments(config)


def changed(config: dict, fusion: dict | None = None, **settings) -> dict:
    """The first experiment of `config` alone, with other settings, and with one fusion if one is given."""
    experiment = config["experiments"]["digits_vgg11"] | settings
    if fusion is not None:
        config["fusions"]["mine"] = fusion
        experiment["fusions"] = ["mine"]
    config["experiments"]["digits_vgg11"] = {k: v for k, v in experiment.items() if v is not None}
    config["run"] = ["digits_vgg11"]
    check_schema(config, SCHEMA)
    return resolve_experiments(config)["digits_vgg11"]


TRANSPORT = {"method": "optimal_transport", "align_by": "weights", "solver": "exact"}
OWN = {"model_type": None, "architecture": "mine.nets:make", "width": None}


@pytest.mark.parametrize(
    ("settings", "fusion", "sentence"),
    [
        ({"architecture": "torchvision:resnet18"}, None, "give either 'model_type' or 'architecture'"),
        ({"model_type": None}, None, "give either 'model_type' or 'architecture'"),
        (
            {"model_type": None, "architecture": "torchvision:resnet18"},
            None,
            "digits_vgg11.width: torchvision's networks have no width; leave it out",
        ),
        ({"parents": 3, "width": [0.1, 0.2]}, TRANSPORT, "width: 2 widths for 3 parents"),
        ({"width": [0.1, 0.2]}, None, "fusions: 'naive_fused' (average) needs parents of equal width"),
        (
            {"width": [0.1, 0.2]},
            {"method": "weight_matching"},
            "'mine' (weight_matching) needs parents of equal",
        ),
        (
            {"parents": 3},
            {"method": "average", "reference": 4},
            "config: fusions.mine.reference: there is no parent 4 in digits_vgg11, which has 3",
        ),
        (
            {},
            TRANSPORT | {"solver": "sinkhorn"},
            "fusions.mine: 'solver: sinkhorn' needs 'reg', a number above 0",
        ),
        (
            {},
            TRANSPORT | {"reg": 0.1},
            "fusions.mine: 'reg' goes with 'solver: sinkhorn' alone; leave it out",
        ),
        ({}, TRANSPORT | {"activations": "pre"}, "'activations' goes with 'align_by: activations' alone"),
        (
            {},
            TRANSPORT | {"align_by": "activations", "sides": "both"},
            "'sides' goes with 'align_by: weights' alone",
        ),
        (
            {},
            TRANSPORT | {"ground_metric": "correlation"},
            "ground_metric: 'correlation' does not go with 'align_by: weights'; known are euclidean, cosine",
        ),
        (
            {},
            TRANSPORT | {"align_by": "activations", "ground_metric": "cosine"},
            "'cosine' does not go with 'align_by: activations'; known are correlation, euclidean",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused_in_one_sentence(config, settings, fusion, sentence):
    with pytest.raises(InputError) as caught:
        changed(config, fusion, **settings)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "fusion",
    [
        {"method": "average", "weight": 0, "reference": 1, "repair": True, "images": 64},
        TRANSPORT | {"solver": "sinkhorn", "reg": 0.05, "mass": "importance", "soft_map": "mass"},
        TRANSPORT | {"align_by": "activations", "ground_metric": "correlation", "activations": "post"},
        TRANSPORT | {"sides": "both", "ground_metric": "cosine"},
        {"method": "weight_matching", "starts": 5, "finetune": {"epochs": 1, "learning_rate": 0.01}},
    ],
)
def test_a_fusion_that_makes_sense_comes_through_as_it_was_written(config, fusion):
    assert changed(config, fusion)["fusions"] == {"mine": fusion}


@pytest.mark.parametrize(
    ("settings", "widths"),
    [
        ({"width": 0.5}, [0.5, 0.5]),
        ({"width": None}, [1.0, 1.0]),
        ({"width": 0.5, "parents": 3}, [0.5, 0.5, 0.5]),
        ({"width": [0.25, 0.5]}, [0.25, 0.5]),
        (OWN, [None, None]),
        (OWN | {"width": [1, 2, 3], "parents": 3}, [1, 2, 3]),
        ({"model_type": None, "architecture": "torchvision:resnet18", "width": None}, [None, None]),
    ],
)
def test_each_parent_has_a_width_where_the_architecture_has_any(config, settings, widths):
    assert changed(config, TRANSPORT, **settings)["widths"] == widths


def test_pictures_are_32_pixels_wide_unless_told_otherwise(config):
    assert changed(config)["input_size"] == 32
    assert changed(config, input_size=64)["input_size"] == 64


def test_weights_without_the_record_that_the_workflow_writes_before_them_are_foreign(tmp_path):
    recorded = {"parent_1.pth": "parent_1_learning_curve.csv", "naive_fused.pth": "naive_fused_alignment.csv"}
    assert foreign_weights(tmp_path / "not_there_yet", recorded, os.path.exists) == []
    for name in ("parent_1.pth", "parent_1_learning_curve.csv", "naive_fused.pth", "unrelated.pth"):
        (tmp_path / name).touch()
    assert foreign_weights(tmp_path, recorded, os.path.exists) == ["naive_fused.pth"]
    (tmp_path / "naive_fused_alignment.csv").touch()
    assert foreign_weights(tmp_path, recorded, os.path.exists) == []
