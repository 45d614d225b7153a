"""Every method finds the permutation between a network and its noisy copy, up to some noise."""

import importlib.util
from pathlib import Path

import networks_for_fusion as nets
import pytest


def benchmark(name: str):
    """A script of benchmarks/ as a module."""
    path = Path(__file__).parents[3] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


recovery = benchmark("recovery")


def share(name: str, method: str, noise: float) -> float:
    network, weights = nets.network_of(name), nets.weights_of(name, 1)
    options = recovery.METHODS[method]
    return recovery.share_recovered(network, weights, noise, images=nets.images(), seed=2, **options)


@pytest.mark.parametrize("method", recovery.METHODS)
@pytest.mark.parametrize("name", ["VGG11", "VGG11_NOBIAS_NOBN", "RESNET18", "own"])
def test_a_permutation_is_found_up_to_little_noise_and_lost_in_much(name, method):
    assert share(name, method, 0.0) == 1
    assert share(name, method, 1e-3) == 1
    some, much = share(name, method, 0.3), share(name, method, 10.0)
    assert much < some <= 1
    assert much < 0.6


@pytest.mark.parametrize(
    "method", ["transport, weights", "transport, weights, both sides", "weight matching"]
)
def test_matching_by_weights_stands_a_tenth_of_noise(method):
    assert share("RESNET18", method, 0.1) == 1
