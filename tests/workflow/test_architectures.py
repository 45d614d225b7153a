"""Networks beyond the study's two, more parents than two, and parents of different width, run for real."""

import pandas as pd
import pytest
import torch

from .conftest import Workflow

OWN_NETWORKS = """
from torch import nn

from my_package.parts import Stem


def make(num_classes, width=1.0):
    channels = int(8 * width)
    classes = nn.Linear(16 * channels, num_classes)
    return nn.Sequential(Stem(channels), nn.AdaptiveAvgPool2d(4), nn.Flatten(), classes)
"""
OWN_PARTS = """
from torch import nn


class Stem(nn.Sequential):
    def __init__(self, channels):
        super().__init__(nn.Conv2d(3, channels, 3, stride=2, bias=False), nn.ReLU())
"""
PARENT = "experiments/tiny/tiny_seed1/parent_1.pth"


def with_architecture(workflow: Workflow, architecture: str, **changed) -> None:
    experiment = workflow.settings["experiments"]["tiny"]
    del experiment["model_type"], experiment["width"]
    experiment.update({"architecture": architecture, "seeds": 1}, **changed)


@pytest.fixture
def own(fresh) -> Workflow:
    """A workflow whose networks are made by a package in the folder that it is started in."""
    package = fresh.folder / "my_package"
    package.mkdir()
    (package / "nets.py").write_text(OWN_NETWORKS)
    (package / "parts.py").write_text(OWN_PARTS)
    with_architecture(fresh, "my_package.nets:make")
    return fresh


def weights(workflow: Workflow, model: str) -> dict[str, torch.Tensor]:
    return torch.load(workflow.folder / f"experiments/tiny/tiny_seed1/{model}.pth", weights_only=True)


def shapes(workflow: Workflow, model: str) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in weights(workflow, model).items()}


def test_an_edit_of_the_user_s_own_network_retrains_and_a_comment_does_not(own):
    own.run(PARENT)
    assert own.planned(PARENT) == {}
    own.append("my_package/nets.py", "# a comment\n")
    own.append("my_package/unrelated.py", "AN_EDIT = 1\n")
    assert own.planned(PARENT) == {}
    own.append("my_package/parts.py", "AN_EDIT = 1\n")
    assert own.planned(PARENT) == {"train": 1}


@pytest.mark.slow
def test_the_user_s_own_networks_of_three_widths_are_fused_repaired_and_measured(own):
    transport = {"method": "optimal_transport", "align_by": "weights", "solver": "exact"}
    own.settings["fusions"] = {
        "to_the_second": transport,
        "to_the_third": transport | {"reference": 3, "repair": True, "images": 32},
    }
    own.tiny.update(parents=3, width=[1, 0.5, 1], fusions=["to_the_second", "to_the_third"])
    own.run()
    assert shapes(own, "to_the_second") == shapes(own, "parent_2")
    assert shapes(own, "to_the_second")["0.0.weight"] == (4, 3, 3, 3)
    # repair folds what it does into a bias that the parents never had
    assert shapes(own, "to_the_third") == shapes(own, "parent_3") | {"0.0.bias": (8,)}
    measurements = pd.read_csv(own.folder / "results/measurements.csv")
    of_models = measurements[measurements.model != "parents"]  # which are said of together
    by_model = of_models.groupby("model").metric.agg(set)
    assert len(by_model) == 5
    assert all({"accuracy", "hessian_trace", "lipschitz_upper_bound"} <= metrics for metrics in by_model)
    assert "parents_ensemble_accuracy" in by_model["to_the_third"]
    assert own.planned() == {}


@pytest.mark.slow
def test_images_are_made_as_large_as_an_architecture_of_torchvision_needs_them(fresh):
    with_architecture(
        fresh, "torchvision:alexnet", input_size=64, spaces={"parameter": False, "input": False}
    )
    assert "cannot take images" not in fresh.run("results/tiny/seed1/naive_fused/prediction_space.csv")
    assert shapes(fresh, "naive_fused")["classifier.6.weight"] == (10, 4096)


@pytest.mark.slow
def test_a_network_that_cannot_be_traced_is_averaged_and_its_path_measured(own):
    own.append(
        "my_package/parts.py",
        "    def forward(self, x):\n        return super().forward(x if x.sum() > 0 else x + 0)\n",
    )
    own.tiny["fusions"] = ["naive_fused"]
    own.run("results/tiny/seed1/naive_fused/connectivity_space.csv")
    measured = pd.read_csv(own.folder / "results/tiny/seed1/naive_fused/connectivity_space.csv")
    undefined = measured.metric[measured.value.isna()]
    assert set(undefined) == {"mean_cka", "activation_variance_ratio"}
    assert set(measured.metric) - set(undefined) == {
        "loss_barrier",
        "loss_barrier_above_mean",
        "accuracy_barrier",
    }
    log = (own.folder / "logs/measure_connectivity/tiny_seed1_naive_fused.log").read_text()
    assert "no similarity: torch.fx cannot trace this network" in log
