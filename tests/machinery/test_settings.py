"""From config.yaml to experiments: defaults, recipes, names; every mistake has its sentence."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fusionscope.errors import InputError
from machinery.plain import plain
from machinery.settings import (
    check_files,
    read_settings,
    resolve_experiments,
    seed_list,
)

ROOT = Path(__file__).parents[2]
SHIPPED = yaml.safe_load((ROOT / "config.yaml").read_text())
BEFORE = yaml.safe_load(Path(__file__).with_name("resolved_settings.yaml").read_text())
FIRST = "experiments.digits_vgg11"
SPACES = ["input", "hessian", "scales", "complexity", "prediction", "connectivity", "pair", "correlation"]


@pytest.fixture
def config() -> dict:
    """The configuration that ships."""
    return copy.deepcopy(SHIPPED)


def resolved(config: dict) -> dict[str, dict]:
    return resolve_experiments(read_settings(config))


def refusal(config: dict) -> str:
    """The sentence that a configuration is refused with."""
    with pytest.raises(InputError) as caught:
        resolved(config)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("config: ")
    return str(caught.value)


def put(config: dict, path: str, value: object) -> None:
    *parents, last = path.split(".")
    for key in parents:
        config = config[key]
    config[last] = value


def test_the_default_run_is_two_experiments_of_three_seeds_on_digits(config):
    experiments = resolved(config)
    assert list(experiments) == ["digits_vgg11", "digits_resnet18"]
    for experiment in experiments.values():
        assert experiment["seeds"] == [1, 2, 3]
        assert experiment["dataset"] == "digits"
        assert experiment["widths"] == [experiment["width"]] * 2
        assert experiment["spaces"] == SPACES
        assert list(experiment["fusions"]) == ["naive_fused", "geometric_fused", "activations_repaired"]


def known(options: dict) -> dict:
    """Options without those that say nothing: absent or null is the same."""
    return {key: value for key, value in options.items() if value is not None}


@pytest.mark.parametrize("name", BEFORE["experiments"])
def test_the_shipped_experiments_are_what_they_were(config, name):
    config["run"] = [name]
    now, before = resolved(config)[name], dict(BEFORE["experiments"][name])
    recipes = {section: BEFORE[section][before.pop(section)] for section in ("training", "measurements")}
    assert plain(now["training"]) == plain(
        recipes["training"] | {"initialisation": "network", "precision": "single", "optimiser": "sgd"}
    )
    assert now["measurements"].keys() == recipes["measurements"].keys()
    for part, options in recipes["measurements"].items():
        given = now["measurements"][part]
        if isinstance(options, dict):
            options, given = known(options), known(given)
        assert plain(given) == plain(options), part
    fusions, spaces = before.pop("fusions"), before.pop("spaces")
    added = ["activations_repaired"] if name.startswith("digits_") else []
    assert list(now["fusions"]) == fusions + added
    parameter = ["hessian", "scales", "complexity"]
    assert now["spaces"] == [
        part for space in spaces for part in (parameter if space == "parameter" else [space])
    ]
    assert {key: now[key] for key in before} == before
    added = {"normalisation": "published", "channels": 3}
    assert {key: now[key] for key in added} == added
    assert now.keys() - before.keys() == {"training", "measurements", "fusions", "spaces", *added}


@pytest.mark.parametrize("name", BEFORE["fusions"])
def test_the_shipped_fusions_are_what_they_were(config, name):
    """Whether they are written as before or, shorter, as now."""
    now = read_settings(config)["fusions"][name]
    config["fusions"][name] = before = BEFORE["fusions"][name]
    assert now == read_settings(config)["fusions"][name]
    assert renamed(before).items() <= now.items()


def renamed(fusion: dict) -> dict:
    """A fusion with `soft_map` under its new name."""
    rest = {key: value for key, value in fusion.items() if key != "soft_map"}
    return rest | ({"reader_normalisation": "row"} if fusion.get("soft_map") == "mass" else {})


def test_the_study_s_four_experiments_have_five_seeds_at_full_width_and_its_recipe(config):
    names = [f"{network}_{data}" for network in ("vgg11", "resnet18") for data in ("cifar10", "cifar100")]
    config["run"] = names
    for experiment in resolved(config).values():
        assert experiment["seeds"] == [1, 2, 3, 4, 5]
        assert experiment["widths"] == [1.0, 1.0]
        recipe = experiment["training"]
        assert (recipe["epochs"], recipe["batch_size"]) == (30, 64)
        assert (recipe["learning_rate"], recipe["momentum"]) == (0.05, 0.9)
        assert recipe["schedule"] == {"kind": "steps", "at": [12, 20, 25, 28], "factor": 0.1}
        assert recipe["augmentation"] == "none"


OWN_CONSTANTS = {"mean": [0.5, 0.25, 0], "std": [1, 0.5, 2]}


@pytest.mark.parametrize("value", ["published", "measured", OWN_CONSTANTS])
def test_images_are_normalised_by_constants_of_one_s_choice(config, value):
    put(config, f"{FIRST}.normalisation", value)
    assert resolved(config)["digits_vgg11"]["normalisation"] == value


ONE_OF = "is not right; expected published, measured, or both mean and std"


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("study", f"normalisation: 'study' {ONE_OF}"),
        (0.5, f"normalisation: 0.5 {ONE_OF}"),
        ({"mean": [0.5] * 3}, "normalisation: the key 'std' is missing"),
        (
            {"mean": [0.5], "std": [1] * 3},
            "normalisation.mean: 1 for images of 3; give one number per channel",
        ),
        (
            {"mean": [0.5] * 2, "std": [1] * 3},
            "normalisation.mean: [0.5, 0.5] is not right; expected a list of",
        ),
        (
            {"mean": [0.5, 127, 0], "std": [1] * 3},
            "normalisation.mean.1: 127 is not right; expected a number",
        ),
        (
            {"mean": [0.5] * 3, "std": [1, 0, 1]},
            "normalisation.std.1: 0 is not right; expected a number above",
        ),
    ],
)
def test_what_images_cannot_be_normalised_by_is_one_sentence(config, value, sentence):
    put(config, f"{FIRST}.normalisation", value)
    assert f"config: {FIRST}.{sentence}" in refusal(config)


@pytest.mark.parametrize(
    "path",
    [
        "gpu_slots",
        "training.paper.epochs",
        "measurements.quick.input_space.starts",
        "measurements.quick.input_space.power_iterations",
        "measurements.quick.hessian.lanczos_steps",
        "measurements.quick.hessian.density_starts",
        "measurements.quick.hessian.trace_draws",
        "measurements.quick.flatness.draws",
        "measurements.quick.flatness.starts",
        "measurements.quick.flatness.ascent_steps",
        "measurements.quick.prediction_space.calibration_bins",
        "measurements.quick.connectivity.points",
        "fusions.mine.starts",
        "fusions.mine.finetune.epochs",
    ],
)
def test_what_is_done_or_kept_that_often_is_limited_whatever_the_data(config, path):
    for part in ("input_space", "hessian", "flatness", "prediction_space", "connectivity"):
        config["measurements"]["quick"].setdefault(part, {})
    config["fusions"]["mine"] = {
        "method": "weight_matching",
        "finetune": {"epochs": 1, "learning_rate": 0.1},
    }
    put(config, path, 10**6 + 1)
    expected = f"config: {path}: 1000001 is too large; at most 1,000,000 makes sense"
    assert refusal(config) == expected


@pytest.mark.parametrize("seeds", [10**9, 10_001, 1e30])
def test_seeds_of_absurd_number_are_refused_before_they_are_listed(config, seeds):
    put(config, f"{FIRST}.seeds", seeds)
    assert f"config: {FIRST}.seeds: " in refusal(config)


def test_a_run_of_more_models_than_can_be_planned_is_refused(config):
    put(config, f"{FIRST}.seeds", 10_000)
    put(config, f"{FIRST}.fusions", [])
    put(config, f"{FIRST}.parents", 10)
    put(config, "run", ["digits_vgg11"])
    assert len(resolved(config)["digits_vgg11"]["seeds"]) == 10_000
    put(config, f"{FIRST}.parents", 11)
    assert refusal(config) == (
        "config: run: 110,000 models would be planned, 110,000 of them in digits_vgg11; at most 100,000 are "
        "possible in one run: name fewer experiments, or lower their 'seeds' or 'parents'"
    )


def test_seeds_are_a_number_or_a_list_without_repeats():
    assert seed_list(3) == [1, 2, 3]
    assert seed_list([7, 1, 7]) == [7, 1]


def test_equal_settings_look_equal():
    one = {"b": 1.0, "a": [0.0, {"y": 2, "x": (1, 2)}]}
    other = {"a": [0, {"x": [1, 2.0], "y": 2}], "b": 1}
    assert repr(plain(one)) == repr(plain(other))
    assert repr(plain({"a": True})) != repr(plain({"a": 1}))
    assert repr(plain({"a": 1, "b": 2})) != repr(plain({"a": 2, "b": 1}))


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
            "expected a number above 0, 1 for a VGG11 or ResNet18 as published, or",
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
        ("experiments.mine", None, "experiments.mine: None is not right; expected keys with values"),
        ("run", [], "run: [] is not right; expected a list of experiment names, at least one"),
        ("devise", "cpu", "top level: unknown key 'devise'; did you mean 'device'?"),
    ],
)
def test_a_mistake_is_named_by_its_place(config, path, value, sentence):
    put(config, path, value)
    assert sentence in refusal(config)


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("training.paper.learning_rate", "1e-3", "learning_rate: '1e-3' is text, not a number; write 0.001"),
        ("training.paper.clip_norm", "1e-6", "clip_norm: '1e-6' is text, not a number; write 1.0e-06"),
        ("training.paper.weight_decay", float("nan"), "nan is not right; expected a number from 0"),
        ("training.paper.learning_rate", float("inf"), "inf is not right; expected a number above 0"),
        ("training.paper.epochs", float("inf"), "inf is not right; expected a whole number, at least 1"),
        (
            "training.paper.schedule",
            {"kind": "step", "at": [1]},
            "training.paper.schedule.kind: 'step' is not known; did you mean 'steps'?",
        ),
        (
            "training.paper.schedule",
            {"kind": "steps"},
            "training.paper.schedule: the keys 'at', 'factor' are missing",
        ),
        (
            "fusions.mine",
            {"method": "average", "finetune": {}},
            "the keys 'epochs', 'learning_rate' are missing",
        ),
        (f"{FIRST}.seeds", "2", "digits_vgg11.seeds: '2' is text, not a number; write 2"),
        (f"{FIRST}.width", float("inf"), "width: inf is not right; expected a number above 0"),
        (f"{FIRST}.seeds", True, "seeds: True is not right; expected a number of seeds"),
        (f"{FIRST}.seeds", 10**9, "seeds: 1000000000 is not right; expected a number of seeds"),
        (f"{FIRST}.seeds", [1, -1], "seeds.1: -1 is not right; expected a whole number, at least 0"),
        (f"{FIRST}.spaces", {"parametre": False}, "did you mean 'parameter'?"),
        (f"{FIRST}.plots", ["acuracy"], "plots.0: 'acuracy' is not known; did you mean 'accuracy'?"),
        (
            f"{FIRST}.plots",
            ["zzz"],
            " more, or module:name for one of your own",
        ),
        ("data_dir", ["x" * 1000], "config: data_dir: ['xxx"),
        ("measurements.quick.complexity", ["x" * 1000], "xxx... is not known; known are"),
    ],
)
def test_sentences_advise_shorten_and_name_all_that_is_missing(config, path, value, sentence):
    put(config, path, value)
    assert sentence in refusal(config)
    assert len(refusal(config)) < 400


def test_all_missing_keys_are_named_at_once():
    assert refusal({"device": "cpu"}) == "config: top level: the keys 'run', 'experiments' are missing"


def test_whole_floats_are_whole_numbers(config):
    experiment = config["experiments"]["digits_vgg11"]
    experiment |= {"seeds": 3.0, "parents": 2.0, "input_size": 32.0}
    config["fusions"]["naive_fused"]["reference"] = 2.0
    config["training"]["digits"]["epochs"] = 12.0
    assert repr(plain(resolved(config))) == repr(plain(resolved(copy.deepcopy(SHIPPED))))


def test_a_recipe_states_only_what_differs(config):
    config["training"]["mine"] = {"epochs": 3}
    config["measurements"]["mine"] = {"hessian": {"images": 64}, "flatness": {"draws": 8}}
    config["experiments"]["digits_vgg11"] |= {"training": "mine", "measurements": "mine"}
    experiment = resolved(config)["digits_vgg11"]
    settings = read_settings(config)
    paper, full = settings["training"]["paper"], settings["measurements"]["full"]
    assert experiment["training"] == paper | {"epochs": 3}
    flatness = full["flatness"] | {"draws": 8, "target_error": None}
    hessian = full["hessian"] | {"images": 64}
    assert experiment["measurements"] == full | {"hessian": hessian, "flatness": flatness}


@pytest.mark.parametrize(("section", "name"), [("training", "paper"), ("measurements", "full")])
def test_the_defaults_of_a_recipe_are_those_of_the_recipe_that_ships(config, section, name):
    config[section]["empty"] = {}
    settings = read_settings(config)
    assert settings[section]["empty"] == settings[section][name]


def test_a_run_needs_no_more_than_experiments():
    settings = read_settings(
        {"run": ["mine"], "experiments": {"mine": {"dataset": "digits", "model_type": "VGG11"}}}
    )
    assert (settings["data_dir"], settings["device"], settings["gpu_slots"]) == ("data", "auto", 1)
    experiment = resolve_experiments(settings)["mine"]
    assert list(experiment["fusions"]) == ["naive_fused", "geometric_fused"]
    assert experiment["training"]["epochs"] == 30


def test_things_of_one_s_own_are_named_by_their_modules(config):
    config["measurements"]["quick"]["complexity"] = ["path_norm", "my_package.measures:sharpness"]
    config["fusions"]["mine"] = {"method": "my_package.fusion:Mine", "temperature": 0.5}
    config["experiments"]["digits_vgg11"] |= {
        "fusions": ["mine"],
        "plots": ["accuracy", "my_package.plots:draw"],
    }
    experiment = resolved(config)["digits_vgg11"]
    assert experiment["fusions"]["mine"]["temperature"] == 0.5
    assert experiment["measurements"]["complexity"][1] == "my_package.measures:sharpness"
    assert experiment["plots"] == ["accuracy", "my_package.plots:draw"]


@pytest.mark.parametrize(
    ("spaces", "off"),
    [
        ({"parameter": False}, {"hessian", "scales", "complexity"}),
        ({"parameter": False, "hessian": True}, {"hessian", "scales", "complexity"}),
        ({"hessian": False}, {"hessian"}),
        ({"scales": False, "complexity": False}, {"scales", "complexity"}),
        ({"input": False, "correlation": False}, {"input", "correlation"}),
    ],
)
def test_every_part_is_switched_off_by_itself(config, spaces, off):
    config["experiments"]["digits_vgg11"]["spaces"] = spaces
    assert resolved(config)["digits_vgg11"]["spaces"] == [part for part in SPACES if part not in off]


def test_a_plot_of_a_space_in_which_nothing_is_measured_is_refused(config):
    plots = {"plots": ["metrics_against_accuracy_parameter"], "spaces": {"hessian": False, "scales": False}}
    config["experiments"]["digits_vgg11"] |= plots
    assert resolved(config)["digits_vgg11"]["plots"] == plots["plots"]
    plots["spaces"]["complexity"] = False
    assert "has switched off (hessian and scales and complexity)" in refusal(config)


def test_a_plot_of_what_is_not_measured_is_refused(config):
    config["experiments"]["digits_vgg11"] |= {"plots": ["spectral_density"], "spaces": {"hessian": False}}
    assert "digits_vgg11.plots: 'spectral_density' shows what 'spaces' has switched off (hessian)" in refusal(
        config
    )


def test_a_run_without_any_space_is_refused(config):
    spaces = ("input", "parameter", "prediction", "connectivity", "pair", "correlation")
    config["experiments"]["digits_vgg11"]["spaces"] = dict.fromkeys(spaces, False)
    assert "digits_vgg11.spaces: all are switched off" in refusal(config)


def test_a_range_that_runs_backwards_is_refused(config):
    config["measurements"]["quick"]["flatness"]["scale_range"] = [10.0, 1.0e-5]
    assert "measurements.quick.flatness.scale_range: 10 is not below 1e-05" in refusal(config)


@pytest.mark.parametrize(
    ("part", "draws", "error"),
    [("hessian", "trace_draws", "trace_target_error"), ("flatness", "draws", "target_error")],
)
def test_draws_or_their_error_are_asked_for_but_not_both(config, part, draws, error):
    recipe = config["measurements"]["quick"][part]
    recipe[error] = 0.05
    assert f"measurements.quick.{part}: give either '{draws}' or '{error}', not both" in refusal(config)
    recipe[draws] = None  # as a file that is laid over config.yaml must say it
    assert resolved(config)["digits_vgg11"]["measurements"][part][error] == 0.05
    del recipe[draws]
    assert resolved(config)["digits_vgg11"]["measurements"][part][error] == 0.05
    del recipe[error]
    assert resolved(config)["digits_vgg11"]["measurements"][part][error] == 0.01


def changed(config: dict, fusion: dict | None = None, **settings) -> dict:
    """The first experiment of `config` alone, with other settings, and with one fusion if one is given."""
    experiment = config["experiments"]["digits_vgg11"] | settings
    if fusion is not None:
        config["fusions"]["mine"] = fusion
        experiment["fusions"] = ["mine"]
    config["experiments"]["digits_vgg11"] = {k: v for k, v in experiment.items() if v is not None}
    config["run"] = ["digits_vgg11"]
    return resolved(config)["digits_vgg11"]


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
        ({"depth": 2}, None, "digits_vgg11.depth: VGG11_NOBIAS_NOBN has none; leave it out"),
        (
            {"model_type": "MLP", "width": [8, 0.5]},
            TRANSPORT,
            "config: experiments.digits_vgg11.width: 0.5 is not right; expected a whole number of units per "
            "hidden layer of an MLP, at least 1",
        ),
        ({"model_type": "MLP", "width": 1e9}, None, "width: 1000000000.0 is too large; at most 65,536 makes"),
        (
            {"model_type": None, "architecture": "torchvision:resnet18", "width": None, "channels": 1},
            None,
            "digits_vgg11.channels: torchvision's networks take 3; leave it out",
        ),
        (
            {"channels": 1, "normalisation": {"mean": [0.5] * 3, "std": [1] * 3}},
            None,
            "digits_vgg11.normalisation.mean: 3 for images of 1; give one number per channel",
        ),
        ({"channels": 2}, None, "digits_vgg11.channels: 2 is not right; expected 1 (grey) or 3 (colour, or"),
        ({"channels": True}, None, "digits_vgg11.channels: True is not right; expected 1 (grey) or 3"),
        (
            OWN | {"depth": 2},
            TRANSPORT,
            "digits_vgg11.depth: only a model_type MLP has a depth; leave it out",
        ),
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
    assert renamed(fusion).items() <= changed(config, fusion)["fusions"]["mine"].items()


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


def test_an_mlp_has_whole_numbers_of_layers_and_units(config):
    assert "depth" not in changed(config, TRANSPORT)
    usual = changed(config, TRANSPORT, model_type="MLP", width=None)
    assert (usual["depth"], usual["widths"]) == (3, [512, 512])
    own = changed(config, TRANSPORT, width=[8.0, 4], depth=2.0)
    assert (repr(own["depth"]), repr(own["widths"])) == ("2", "[8, 4]")


def test_images_are_32_pixels_wide_unless_told_otherwise(config):
    assert changed(config)["input_size"] == 32
    assert changed(config, input_size=64)["input_size"] == 64


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "run: [a]\ndevice: cpu\nrun: [b]\n",
            "yaml, line 3: the key 'run' is given again (first in line 1)",
        ),
        (
            "training:\n  a: {epochs: 1, epochs: 2}\n",
            "line 2: the key 'epochs' is given again",
        ),
        ("fusions:\n  - {x: 1}\n  - {y: 1, y: 2}\n", "line 3: the key 'y' is given again"),
    ],
)
def test_a_key_that_a_file_gives_twice_is_named_with_its_lines(tmp_path, text, sentence):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        check_files([ROOT / "config.yaml", tmp_path / "mine.yaml"])
    assert sentence in str(caught.value)
    assert str(caught.value).endswith("; keep one of the two")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            b"run:\n\t- tiny\n",
            ", line 2: is not YAML (found character '\\t' that cannot start any token); fix it",
        ),
        (b"run: [tiny\nseeds: 3\n", ", line 2: is not YAML (expected ',' or ']', but got ':'); fix it"),
        (b"run: *x\n", ", line 1: is not YAML (found undefined alias 'x'); fix it"),
        (b"run: [a]\n---\nrun: [b]\n", ", line 2: is not YAML (but found another document); fix it"),
        (b"run: !!python/object:os.system x\n", ", line 1: is not YAML (could not determine a constructor"),
        (b"run: [\0]\n", ": is not YAML (special characters are not allowed); fix it"),
        ("# \u00e9".encode("latin-1"), ": is not text in UTF-8; save it as UTF-8"),
        ("run: [a]".encode("utf-16"), ": is not text in UTF-8; save it as UTF-8"),
        (b"run: " + b"[" * 3000, ": is nested too deeply; no key lies that deep"),
    ],
)
def test_a_file_that_is_not_yaml_is_named_with_the_line(tmp_path, content, sentence):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        check_files([path])
    assert str(caught.value).startswith(f"{path}{sentence}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbfrun: [a]\r\n", b'{"run": ["a"]}'])
def test_whatever_is_yaml_is_let_through(tmp_path, content):
    (tmp_path / "mine.yaml").write_bytes(content)
    check_files([tmp_path / "mine.yaml"])


def test_anchors_and_merge_keys_are_no_repetition(tmp_path):
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\nc: [{x: 1}, {x: 2}]\n"
    (tmp_path / "mine.yaml").write_text(text)
    check_files([ROOT / "config.yaml", tmp_path / "mine.yaml"])


NO_NAMES = ["a b", "a/b", "..", "a.", "a\\b", "1st", "_x", "x\n", "", "CON", "nul", "Lpt1", "x" * 61]
LOOK_ALIKES = [
    "\u0442iny",
    "n\u00e4ive",
    "\u212aelvin",
    "\uff41",
]  # Cyrillic, umlaut, Kelvin's sign, full width


@pytest.mark.parametrize("name", NO_NAMES + LOOK_ALIKES)
@pytest.mark.parametrize("section", ["experiments", "fusions"])
def test_names_are_names_of_files_everywhere(config, section, name):
    config[section][name] = copy.deepcopy(next(iter(config[section].values())))
    sentence = refusal(config)
    assert sentence.startswith(f"config: {section}: ")
    assert "cannot be a name; use letters a to z, digits and _, a letter first, at most 60" in sentence


@pytest.mark.parametrize(
    "name", ["parents", "Parents", "parent_1", "Parent_x", "x_aligned", "x_ALIGNED", "naive_fused_last_epoch"]
)
def test_no_fusion_is_called_like_a_file_of_another_model(config, name):
    config["fusions"][name] = {"method": "average"}
    assert "starts with parent_ or ends in _aligned or _last_epoch" in refusal(config)


@pytest.mark.parametrize(("section", "name"), [("experiments", "Digits_vgg11"), ("fusions", "Naive_fused")])
def test_names_that_differ_in_case_only_are_refused(config, section, name):
    config[section][name] = copy.deepcopy(config[section][name[0].lower() + name[1:]])
    assert f"config: {section}: '{name.lower()}' and '{name}' differ in case only" in refusal(config)


def test_two_plots_of_one_file_are_refused(config):
    put(config, f"{FIRST}.plots", ["accuracy", "my_plots:Accuracy"])
    assert (
        f"{FIRST}.plots: 'accuracy' and 'my_plots:Accuracy' would be drawn into one file; rename one of them"
        in refusal(config)
    )
    put(config, f"{FIRST}.plots", ["my_plots:" + "x" * 100])
    assert "is too long for a file's name; use at most 60 characters" in refusal(config)


HEAVY = ("torch", "torchvision", "numpy", "scipy", "pandas", "matplotlib", "sklearn")
PLAN = """
import sys, yaml
from machinery.settings import read_settings, resolve_experiments
resolve_experiments(read_settings(yaml.safe_load(open(sys.argv[1]))))
print(*sorted(set(sys.argv[2:]) & set(sys.modules)))
"""


def test_planning_imports_nothing_that_computes():
    done = subprocess.run(
        [sys.executable, "-c", PLAN, str(ROOT / "config.yaml"), *HEAVY],
        env=os.environ | {"PYTHONPATH": str(ROOT / "scripts")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []
