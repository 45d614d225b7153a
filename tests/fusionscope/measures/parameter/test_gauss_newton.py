"""The trace from gradients against dense Hessians, and the networks for which it is not one."""

import math

import numpy as np
import pytest
import torch
from measure_cases import WIDTH, dense_hessian, random_images, randomise, smooth_network
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import densenet121, mobilenet_v3_small, resnet18, shufflenet_v2_x0_5

from fusionscope.measurement import Measurement
from fusionscope.measures.parameter.gauss_newton import (
    gauss_newton_trace,
    is_piecewise_linear,
    squared_vjp_norms,
)
from fusionscope.measures.parameter.hessian import measure_hessian
from fusionscope.networks.build import build
from fusionscope.networks.model_types import MODEL_TYPES


class Residual(nn.Module):
    """A convolution beside a skip, batch norm, pools, and two linear layers; (3, 4, 4) to three classes."""

    input_shape = (3, 4, 4)

    def __init__(self, again: bool = False):
        super().__init__()
        self.stem, self.conv, self.norm = (
            nn.Conv2d(3, 4, 3, padding=1),
            nn.Conv2d(4, 4, 3, padding=1),
            nn.BatchNorm2d(4),
        )
        self.hidden, self.linear, self.again = nn.Linear(4, 6), nn.Linear(6, 3), again

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        branch = self.norm(self.conv(x))
        if self.again:  # one layer twice: logits are then quadratic in its weights
            branch = self.conv(branch)
        x = F.max_pool2d(F.leaky_relu(x + branch), 2)
        return self.linear(F.relu(self.hidden(F.adaptive_avg_pool2d(x, 1).flatten(1))))


@pytest.fixture
def images():
    return random_images(12, size=4, classes=3, seed=2)


def residual(again: bool = False) -> nn.Module:
    return randomise(Residual(again), seed=3)


def exact(network, images) -> Measurement:
    return gauss_newton_trace(network, images, 5, seed=0, draws=3)


def test_with_as_many_draws_as_classes_it_is_the_trace_of_the_dense_hessian(images):
    network = residual()
    expected = dense_hessian(network, images).trace().item()
    found = exact(network, images)
    assert found.value == pytest.approx(expected, rel=1e-10)
    assert found.std_error is None
    assert gauss_newton_trace(network, images, 12, seed=1, draws=100) == Measurement(
        pytest.approx(found.value)
    )


def test_a_layer_that_is_called_twice_has_another_trace_and_is_found_out(images):
    network = residual(again=True)
    assert exact(network, images).value != pytest.approx(
        dense_hessian(network, images).trace().item(), rel=1e-3
    )
    assert not is_piecewise_linear(network)


@pytest.mark.parametrize("network", [smooth_network(), residual(again=True)], ids=["tanh", "twice"])
def test_other_networks_get_the_trace_of_their_hessian(network, images):
    recipe = {"lanczos_steps": 40, "density_starts": 1, "eigenvalue_tolerance": 0.01, "trace_draws": 100}
    found, _ = measure_hessian(network, images, 12, seed=0, **recipe)
    expected = dense_hessian(network, images).trace().item()
    assert abs(found["hessian_trace"].value - expected) < 4 * found["hessian_trace"].std_error
    assert exact(network, images).value != pytest.approx(expected, rel=0.01)


def test_the_measured_trace_of_a_piecewise_linear_network_is_this_one(images):
    recipe = {"lanczos_steps": 5, "density_starts": 1, "eigenvalue_tolerance": 0.01, "trace_draws": 3}
    found, _ = measure_hessian(residual(), images, 5, seed=0, **recipe)
    assert found["hessian_trace"] == exact(residual(), images)


def many_classes(seed: int = 0):
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.ReLU(), nn.Linear(8, 20))
    network.input_shape = (3, 4, 4)
    return randomise(network, seed), random_images(12, size=4, classes=20, seed=2)


@pytest.mark.parametrize("draws", [2, 5, 19])
def test_its_error_is_the_spread_over_seeds_and_it_is_unbiased(draws):
    network, images = many_classes()
    truth = dense_hessian(network, images).trace().item()
    found = [gauss_newton_trace(network, images, 12, seed=seed, draws=draws) for seed in range(60)]
    values = np.array([number.value for number in found])
    reported = math.sqrt(np.mean([number.std_error**2 for number in found]))
    assert 0.75 < values.std(ddof=1) / reported < 1.3
    assert abs(values.mean() - truth) < 4 * reported / math.sqrt(len(values))


def test_two_classes_that_share_all_probability_have_no_variance():
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 6), nn.ReLU(), nn.Linear(6, 2))
    network.input_shape = (3, 4, 4)
    network = nn.Sequential(*randomise(network, 1), Wider())  # eight more classes with next to no probability
    images = random_images(12, size=4, classes=2)
    found = gauss_newton_trace(network, images, 12, seed=0, draws=2)
    assert found.std_error < 1e-9 * found.value
    assert found.value == pytest.approx(dense_hessian(network, images).trace().item(), rel=1e-9)


class Wider(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, torch.full((len(x), 8), -60.0, dtype=x.dtype)], 1)


def test_a_target_error_is_reached_or_the_sum_is_exact():
    network, images = many_classes()
    truth = dense_hessian(network, images).trace().item()
    loose = gauss_newton_trace(network, images, 12, seed=0, target_error=0.2)
    assert 0 < loose.std_error <= 0.2 * loose.value
    tight = gauss_newton_trace(network, images, 12, seed=0, target_error=1e-6)
    assert tight.value == pytest.approx(truth, rel=1e-10)
    assert tight.std_error is None


def test_a_sure_network_has_a_trace_of_zero(images):
    network = residual()
    with torch.no_grad():
        network.linear.weight.mul_(0)
        network.linear.bias.copy_(torch.tensor([1e4, 0, 0]))
    for draws in (2, 3):
        assert gauss_newton_trace(network, images, 12, seed=0, draws=draws).value == 0.0


def test_pullbacks_are_those_of_the_jacobian(images):
    network = residual()
    directions = torch.randn(12, 2, 3, generator=torch.Generator().manual_seed(0)).double()
    found = squared_vjp_norms(network, images, directions)
    parameters = list(network.parameters())
    for i, x in enumerate(images.normalised()):
        for k in range(2):
            gradient = torch.autograd.grad(network(x[None])[0] @ directions[i, k], parameters)
            assert found[i, k].item() == pytest.approx(
                sum(g.square().sum().item() for g in gradient), rel=1e-10
            )


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_the_study_s_networks_are_piecewise_linear(model_type):
    network = randomise(build(10, model_type=model_type, width=WIDTH), seed=1)
    assert is_piecewise_linear(network)


@pytest.mark.parametrize(
    ("make", "expected"),
    [(resnet18, True), (densenet121, True), (shufflenet_v2_x0_5, None), (mobilenet_v3_small, False)],
)
def test_torchvision_s_networks_are_told_apart(make, expected):
    # shufflenet is piecewise linear, by operations that we may or may not know: then Hutch++ is right too
    if expected is not None:
        assert is_piecewise_linear(make(num_classes=3)) is expected


class Odd(nn.Module):
    """Not piecewise linear in its weights in one of several ways."""

    def __init__(self, how: str):
        super().__init__()
        self.how, self.input_shape = how, (3, 4, 4)
        self.a, self.b = nn.Linear(48, 5), nn.Linear(5, 3)
        self.scale = nn.Parameter(torch.ones(5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x.flatten(1))
        if self.how == "product":
            x = x * x
        if self.how == "parameter":
            x = x + self.scale
        if self.how == "activation":
            x = F.gelu(x)
        if self.how == "untraceable" and x.sum() > 0:
            x = -x
        return self.b(F.relu(x))


@pytest.mark.parametrize("how", ["product", "parameter", "activation", "untraceable"])
def test_what_is_not_known_to_be_piecewise_linear_is_not_taken_for_it(how):
    assert is_piecewise_linear(Odd("nothing"))
    assert not is_piecewise_linear(Odd(how))
