"""The trace from gradients against dense Hessians, and the networks for which it is not one."""

import math

import cases
import numpy as np
import pytest
import torch
from measure_cases import dense_hessian, random_images, randomise, smooth_network
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import densenet121, mobilenet_v3_small, resnet18, shufflenet_v2_x0_5

from fusionscope.images import Images
from fusionscope.measurement import Measurement
from fusionscope.measures.parameter import gauss_newton
from fusionscope.measures.parameter.gauss_newton import (
    Pairs,
    draw_pairs,
    gauss_newton_trace,
    is_piecewise_linear,
    pairs_with_mass,
    split_by_mass,
    squared_slopes,
    squared_vjp_norms,
    stratified_error,
)
from fusionscope.measures.parameter.hessian import measure_hessian
from fusionscope.networks.build import build


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
    return gauss_newton_trace(network, images, 5, seed=0, draws=2)


def test_of_few_classes_it_is_the_trace_of_the_dense_hessian_whatever_the_draws(images):
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


def many_classes(sharpness: float, seed: int = 0) -> tuple[nn.Module, Images]:
    """A network that is flat or sharp, and images, with 3,200 pairs of an image and a class."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.ReLU(), nn.Linear(8, 100))
    with torch.no_grad():
        randomise(network, seed)[-1].weight.mul_(sharpness)
    return network, random_images(32, size=4, classes=100, seed=2)


def scores(network: nn.Module, images: Images, monkeypatch) -> np.ndarray:
    """How many of its errors the trace is off, for each of 400 seeds."""
    truth = gauss_newton.sums_over_classes(network, images, probabilities(network, images)).mean().item()
    with monkeypatch.context() as patch:
        remember_slopes(network, images, patch)
        found = [gauss_newton_trace(network, images, 32, seed=seed, draws=2) for seed in range(400)]
    return np.array([(number.value - truth) / number.std_error for number in found])


@pytest.mark.parametrize("sharpness", [0.1, 1, 3, 8])
def test_its_error_is_the_spread_over_seeds_and_it_is_unbiased(sharpness, monkeypatch):
    off = scores(*many_classes(sharpness), monkeypatch)
    assert 0.9 < off.std() < 1.1
    assert abs(off.mean()) < 4 / math.sqrt(len(off))
    assert np.mean(np.abs(off) > 2) <= 0.07
    assert np.mean(np.abs(off) > 3) <= 0.01


@pytest.mark.slow
def test_few_seeds_are_beyond_two_and_three_errors(monkeypatch):
    off = np.concatenate(
        [
            scores(*many_classes(sharpness, seed), monkeypatch)
            for sharpness in (0.1, 1, 3, 8)
            for seed in (1, 2)
        ]
    )
    assert np.mean(np.abs(off) > 2) <= 0.06
    assert np.mean(np.abs(off) > 3) <= 0.005


def probabilities(network: nn.Module, images: Images) -> Tensor:
    return network(images.normalised()).detach().softmax(1)


def remember_slopes(network: nn.Module, images: Images, monkeypatch) -> None:
    """Compute what a pair adds only once: hundreds of seeds then cost no more than one."""
    p = probabilities(network, images)
    n, classes = p.shape
    everything = Pairs(
        torch.arange(n).repeat_interleave(classes), torch.arange(classes).repeat(n), torch.ones(p.numel())
    )
    known = squared_slopes(network, images, p, everything).view(n, classes)
    monkeypatch.setattr(
        gauss_newton, "squared_slopes", lambda network, images, p, pairs: known[pairs.image, pairs.label]
    )
    monkeypatch.setattr(gauss_newton, "predict", lambda *_: p.log())


def test_two_classes_that_share_all_probability_have_no_variance():
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 6), nn.ReLU(), nn.Linear(6, 2))
    # more classes with next to no probability
    network = nn.Sequential(*randomise(network, 1), Wider())
    images = random_images(50, size=4, classes=2)
    found = gauss_newton_trace(network, images, 12, seed=0, draws=2)
    assert found.value == pytest.approx(dense_hessian(network, images).trace().item(), rel=1e-9)
    assert found.std_error < 1e-9 * found.value


class Wider(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, torch.full((len(x), 98), -60.0, dtype=x.dtype)], 1)


def test_a_target_error_is_reached_or_the_sum_is_exact():
    network, images = many_classes(1)
    truth = gauss_newton.sums_over_classes(network, images, probabilities(network, images)).mean().item()
    loose = gauss_newton_trace(network, images, 12, seed=0, target_error=0.2)
    assert 0 < loose.std_error <= 0.2 * loose.value
    tighter = gauss_newton_trace(
        network, images, 12, seed=0, target_error=0.6 * loose.std_error / loose.value
    )
    assert 0 < tighter.std_error <= 0.6 * loose.std_error
    exact = gauss_newton_trace(network, images, 12, seed=0, target_error=1e-6)
    assert exact.value == pytest.approx(truth, rel=1e-10)
    assert exact.std_error is None


def test_masses_are_what_the_classes_add_to_the_curvature_of_the_logits():
    p = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)).double().softmax(1)
    pairs = pairs_with_mass(p)
    assert len(pairs) == 24
    for k in range(24):
        i, c = int(pairs.image[k]), int(pairs.label[k])
        unit = torch.eye(6).double()[c]
        assert pairs.mass[k].item() == pytest.approx((p[i, c] * (unit - p[i]).square().sum()).item())
    s = torch.diag_embed(p) - p.unsqueeze(2) * p.unsqueeze(1)
    assert pairs.mass.sum().item() == pytest.approx(s.diagonal(dim1=1, dim2=2).sum().item())


def test_heavy_pairs_are_taken_and_none_of_the_rest_dominates():
    masses = torch.tensor([1e-3, 50.0, 0.02, 0.03, 30.0, 0.02, 5.0, 0.025]).double()
    pairs = Pairs(torch.arange(8), torch.zeros(8).long(), masses)
    heavy, rest = split_by_mass(pairs, 3, 8)
    assert heavy.image.tolist() == [1, 4, 6]
    assert rest.image.tolist() == [0, 2, 3, 5, 7]
    assert (rest.mass <= rest.mass.sum() / 3).all()
    assert len(split_by_mass(pairs, 3, 1)[0]) == 1


def test_draws_are_in_proportion_to_mass_and_two_in_each_stratum():
    masses = torch.tensor([0.1, 0.2, 0.3, 0.4]).double()
    pairs = Pairs(torch.arange(4), torch.zeros(4).long(), masses)
    chosen = draw_pairs(pairs, 20_000, torch.Generator().manual_seed(0))
    counts = chosen.bincount(minlength=4)
    assert (counts - 20_000 * masses).abs().max() <= 2  # a stratum at each border
    assert (chosen.diff() >= 0).float().mean() > 0.99


def test_the_error_of_two_draws_in_each_stratum():
    """Strata differ by much, which adds nothing; inside them draws have a deviation of 0.5."""
    stream = torch.Generator().manual_seed(0)
    strata = 100 * torch.arange(50).double().unsqueeze(1)
    draws = strata + 0.5 * torch.randn(2000, 50, 2, generator=stream).double()
    reported = [stratified_error(found) for found in draws]
    assert np.sqrt(np.mean(np.square(reported))) == pytest.approx(0.5 / math.sqrt(100), rel=0.01)
    assert draws.mean((1, 2)).std().item() == pytest.approx(0.05, rel=0.05)


def test_a_sure_network_has_a_trace_of_zero(images):
    network = residual()
    with torch.no_grad():
        network.linear.weight.mul_(0)
        network.linear.bias.copy_(torch.tensor([1e4, 0, 0]))
    assert gauss_newton_trace(network, images, 12, seed=0, draws=2).value == 0.0


def test_a_sure_network_of_many_classes_has_a_trace_of_zero():
    network, images = many_classes(1)
    with torch.no_grad():
        network[-1].weight.zero_()
        network[-1].bias.zero_()[0] = 1e4
    assert gauss_newton_trace(network, images, 12, seed=0, draws=2) == Measurement(0.0)


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


@pytest.mark.parametrize("model_type", cases.ALL_MODEL_TYPES)
def test_the_study_s_networks_are_piecewise_linear(model_type):
    network = randomise(build(10, **cases.spec_of(model_type)), seed=1)
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
