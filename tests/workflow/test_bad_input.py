"""Every mistake is answered by one sentence that names it, and nothing is lost."""

import copy

import pytest
import torch
import yaml

from fusionscope.errors import InputError
from machinery.settings import read_settings, resolve_experiments

from .conftest import ROOT, TINY


def change(settings: dict, path: str, value: object) -> None:
    *parents, last = path.split(".")
    for key in parents:
        settings = settings.setdefault(key, {})
    settings[last] = value


ONCE = ("--retries", "0")  # a mistake of the user's is none that a second attempt mends
TINY_EXPERIMENT = TINY["experiments"]["tiny"]


def torchvision_experiment(**changed) -> dict:
    """The tiny experiment with a network of torchvision's."""
    kept = {key: value for key, value in TINY_EXPERIMENT.items() if key not in ("model_type", "width")}
    return kept | {"architecture": "torchvision:mobilenet_v3_small"} | changed


BAD_SETTINGS = {
    "typing error in a key": (
        ("experiments.tiny.seedz", 3),
        "experiments.tiny: unknown key 'seedz'; did you mean 'seeds'?",
    ),
    "unknown network": (
        ("experiments.tiny.model_type", "VGG11_NOBAIS"),
        "experiments.tiny.model_type: 'VGG11_NOBAIS' is not known; did you mean 'VGG11_NOBIAS'?",
    ),
    "unknown data set": (
        ("experiments.tiny.dataset", "cifar"),
        "experiments.tiny.dataset: 'cifar' is not known; did you mean 'cifar10'?",
    ),
    "a number that YAML takes for text": (
        ("training.tiny.learning_rate", "5e-2"),
        "training.tiny.learning_rate: '5e-2' is text, not a number; write 0.05",
    ),
    "no seeds": (
        ("experiments.tiny.seeds", 0),
        "experiments.tiny.seeds: 0 is not right; expected a number of seeds, at least 1",
    ),
    "a recipe that is not there": (
        ("experiments.tiny.training", "papper"),
        "experiments.tiny.training: 'papper' is not defined; did you mean 'paper'?",
    ),
    "a fusion that is not there": (
        ("experiments.tiny.fusions", ["geometric"]),
        "experiments.tiny.fusions: 'geometric' is not defined; did you mean 'geometric_fused'?",
    ),
    "an experiment that is not there": (
        ("run", ["tinny"]),
        "run: no experiment 'tinny'; did you mean 'tiny'?",
    ),
    "a fusion named like a parent": (
        ("fusions.parent_1", {"method": "average"}),
        "fusions: 'parent_1' cannot be a name",
    ),
    "correlation without accuracy": (
        ("experiments.tiny.spaces", {"prediction": False}),
        "experiments.tiny.spaces: correlation is with a metric of the prediction space",
    ),
    "a negative width": (
        ("experiments.tiny.width", -1),
        "experiments.tiny.width: -1 is not right; expected a number above 0",
    ),
    "two kinds of network": (
        ("experiments.tiny.architecture", "torchvision:resnet18"),
        "experiments.tiny: give either 'model_type' or 'architecture', one of the two",
    ),
    "an architecture without its source": (
        ("experiments.tiny.architecture", "resnet50"),
        "experiments.tiny.architecture: 'resnet50' is not right; expected torchvision:NAME",
    ),
    "a network of torchvision with a width": (
        ("experiments.tiny", torchvision_experiment(width=0.5)),
        "experiments.tiny.width: torchvision's networks have no width; leave it out",
    ),
    "one parent": (
        ("experiments.tiny.parents", 1),
        "experiments.tiny.parents: 1 is not right; expected a whole number of parents, at least 2",
    ),
    "too few widths": (
        ("experiments.tiny", dict(TINY_EXPERIMENT, parents=3, width=[0.1, 0.2], fusions=["geometric_fused"])),
        "experiments.tiny.width: 2 widths for 3 parents; give one number for all, or one each",
    ),
    "an average of different widths": (
        ("experiments.tiny.width", [0.0625, 0.125]),
        "experiments.tiny.fusions: 'naive_fused' (average) needs parents of equal width; leave it out",
    ),
    "a reference that is no parent": (
        ("fusions.naive_fused.reference", 3),
        "fusions.naive_fused.reference: there is no parent 3 in tiny, which has 2; name one of them",
    ),
    "a regulariser without its solver": (
        ("fusions.geometric_fused.reg", 0.1),
        "fusions.geometric_fused: 'reg' goes with 'solver: sinkhorn' alone; leave it out",
    ),
    "an unknown method": (
        ("fusions.naive_fused.method", "mean"),
        "fusions.naive_fused.method: 'mean' is not known; known are average, optimal_transport",
    ),
    "a share beyond the whole": (
        ("fusions.naive_fused.weight", 1.5),
        "fusions.naive_fused.weight: 1.5 is not right; expected a number from 0 to 1",
    ),
    "an image folder without its path": (
        ("experiments.tiny.dataset", "image_folder"),
        "experiments.tiny: 'dataset: image_folder' and 'image_folder: <path>' go together",
    ),
    "a schedule that is not there": (
        ("training.tiny.schedule", {"kind": "step", "at": [1]}),
        "training.tiny.schedule.kind: 'step' is not known; did you mean 'steps'?",
    ),
    "a number that is none": (
        ("training.tiny.weight_decay", float("nan")),
        "training.tiny.weight_decay: nan is not right; expected a number from 0",
    ),
}


@pytest.mark.parametrize("case", BAD_SETTINGS)
def test_a_bad_setting_is_named(case):
    from snakemake.utils import update_config

    (path, value), sentence = BAD_SETTINGS[case]
    settings = copy.deepcopy(TINY)
    change(settings, path, value)
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    update_config(config, settings)  # as Snakemake lays a file over config.yaml
    with pytest.raises(InputError) as caught:
        resolve_experiments(read_settings(config))
    assert f"config: {sentence}" in str(caught.value)


@pytest.mark.parametrize("case", ["typing error in a key", "a fusion that is not there"])
def test_a_bad_setting_is_named_before_any_job_starts(fresh, case):
    (path, value), sentence = BAD_SETTINGS[case]
    change(fresh.settings, path, value)
    printed = fresh.refused()
    assert sentence in printed
    assert "Traceback" not in printed
    assert not (fresh.folder / "data").exists()


def test_a_key_that_a_file_gives_twice_is_named_before_any_job_starts(fresh):
    """Snakemake's own loader silently takes the last one."""
    fresh.append("config.yaml", "device: cpu\n")
    printed = fresh.refused()
    assert "the key 'device' is given again (first in line" in printed
    assert not (fresh.folder / "data").exists()


def test_provided_weights_that_are_not_there_are_named(fresh):
    fresh.tiny["weights"] = "provided"
    printed = fresh.refused()
    assert "no such file, though tiny has 'weights: provided'; put the weights there" in printed
    assert not (fresh.folder / "data").exists()


def provided(workflow, **broken) -> None:
    """Parents as a user would provide them, with the changes in `broken` applied to parent_2."""
    from fusionscope.networks.build import build

    workflow.settings["run"] = ["mine"]
    workflow.settings["experiments"]["mine"] = TINY["experiments"]["tiny"] | {
        "weights": "provided",
        "seeds": 1,
    }
    folder = workflow.folder / "experiments/mine/mine_seed1"
    folder.mkdir(parents=True)
    for parent in ("parent_1", "parent_2"):
        torch.manual_seed(len(str(folder)))
        weights = build(10, model_type="VGG11_NOBIAS", width=0.0625).state_dict()
        torch.save(weights, folder / f"{parent}.pth")
    torch.save({**weights, **broken}, folder / "parent_2.pth")


def test_weights_of_another_shape_are_named_and_kept(fresh):
    provided(fresh, **{"classifier.weight": torch.zeros(100, 32)})
    path = fresh.folder / "experiments/mine/mine_seed1/parent_2.pth"
    before = path.read_bytes()
    printed = fresh.refused()
    assert "parent_2.pth: classifier.weight is (100, 32), expected (10, 32): is 'dataset' right" in printed
    assert path.read_bytes() == before
    assert not list(fresh.folder.glob("data/*"))  # it is known before the first job


# What follows is slow where a test of the library looks at the same sentence; here it is the whole way to it.


@pytest.mark.slow
def test_weights_that_are_not_finite_are_named(fresh):
    provided(fresh, **{"features.4.weight": torch.full((8, 4, 3, 3), float("nan"))})
    assert "parent_2.pth: features.4.weight has values that are not finite" in fresh.refused("-n")


@pytest.mark.slow
def test_truncated_weights_are_named(fresh):
    provided(fresh)
    path = fresh.folder / "experiments/mine/mine_seed1/parent_2.pth"
    path.write_bytes(path.read_bytes()[:1000])
    assert "parent_2.pth: cannot be read as a PyTorch state dict" in fresh.refused("-n")


@pytest.mark.parametrize("name", ["parent_1.pth", "parent_2_initial_weights.pth", "naive_fused.pth"])
def test_weights_that_somebody_put_into_a_trained_experiment_are_not_overwritten(fresh, name):
    path = fresh.folder / "experiments/tiny/tiny_seed1" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"precious")
    assert f"{name}: would be overwritten" in fresh.refused()
    assert path.read_bytes() == b"precious"


def test_training_that_diverges_names_the_step_and_writes_no_weights(fresh):
    fresh.settings["training"]["tiny"] |= {"learning_rate": 1.0e6, "clip_norm": None}
    fresh.tiny["model_type"] = "VGG11_NOBIAS_NOBN"
    printed = fresh.refused(*ONCE)
    assert "training diverged at step" in printed
    assert "try a learning_rate below 1e+06" in printed
    assert not list(fresh.folder.rglob("*.pth"))


def test_a_gpu_that_is_not_there_is_one_sentence(fresh):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    fresh.settings["device"] = "cuda"
    assert "config: device: 'cuda' was asked for and PyTorch finds no GPU; set auto or cpu" in fresh.refused()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"architecture": "torchvision:resnet5"},
            "torchvision:resnet5: torchvision has no such classifier; did",
        ),
        pytest.param(
            {"architecture": "my_nets:make"},
            "architecture my_nets:make: there is no module my_nets in /",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"architecture": "torchvision:vit_b_16", "input_size": 33},
            "cannot be made with input_size 33",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_network_that_cannot_be_had_is_one_sentence(fresh, settings, sentence):
    fresh.settings["experiments"]["tiny"] = torchvision_experiment(**settings)
    printed = fresh.refused(*ONCE)
    assert sentence in printed
    assert not list(fresh.folder.rglob("*.pth"))


def test_a_module_of_the_user_s_that_is_not_python_is_named_before_any_job_starts(fresh):
    (fresh.folder / "my_nets.py").write_text("def make(num_classes)\n")
    fresh.settings["experiments"]["tiny"] = torchvision_experiment(architecture="my_nets:make")
    assert "my_nets.py, line 1: is not Python" in fresh.refused()
    assert not (fresh.folder / "data").exists()
