"""From config.yaml to experiments: defaults, recipes, names; every mistake has its sentence."""

from pathlib import Path

import pytest
import yaml

from fusionscope.configuration import check_schema, plain, resolve_experiments, seed_list
from fusionscope.errors import InputError

ROOT = Path(__file__).parents[1]
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
        assert experiment["width"] < 1
        assert experiment["spaces"] == ["input", "parameter", "prediction", "correlation"]
        assert experiment["fusions"] == {
            "naive_fused": {"method": "average"},
            "geometric_fused": {"method": "optimal_transport", "align_by": "weights", "solver": "exact"},
        }


def test_the_study_s_four_experiments_have_five_seeds_at_full_width_and_its_recipe(config):
    names = [f"{network}_{data}" for network in ("vgg11", "resnet18") for data in ("cifar10", "cifar100")]
    config["run"] = names
    for experiment in resolve_experiments(config).values():
        assert experiment["seeds"] == [1, 2, 3, 4, 5]
        assert experiment["width"] == 1.0
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
        assert "additionalProperties" in node or "if" in node, node


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
        ("fusions.mine", {"method": "mean"}, "fusions.mine.method: 'mean' is not known; known are average"),
        ("fusions.mine", {"method": "average", "solver": "exact"}, "fusions.mine: unknown key 'solver'"),
        ("experiments.my-net", {"dataset": "digits", "model_type": "VGG11"}, "'my-net' cannot be a name"),
        ("experiments.mine", {"dataset": "digits"}, "experiments.mine: the key 'model_type' is missing"),
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
        ("input", "parameter", "prediction", "correlation"), False
    )
    with pytest.raises(InputError, match="spaces: all are switched off"):
        resolve_experiments(config)


def test_a_range_that_runs_backwards_is_refused(config):
    config["measurements"]["quick"]["flatness"]["scale_range"] = [10.0, 1.0e-5]
    with pytest.raises(InputError, match=r"measurements.quick.flatness.scale_range: 10 is not below 1e-05"):
        resolve_experiments(config)
