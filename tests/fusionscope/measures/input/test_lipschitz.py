"""Input space: operator norms and Lipschitz bounds against dense matrices and closed forms."""

import math
from dataclasses import replace
from functools import partial

import cases
import pytest
import torch
from measure_cases import WIDTH, random_images, randomise
from torch import Tensor, nn
from torch.func import vjp
from torch.nn import functional as F

from fusionscope.errors import InputError
from fusionscope.measurement import Measurement
from fusionscope.measures.input.lipschitz import (
    ascend,
    lipschitz,
    lipschitz_constant,
    local_lipschitz,
    measure_input_space,
    power_iterated_norms,
    random_directions,
    unit,
)
from fusionscope.measures.input.operator_norms import NoBound, convolution_norm, lipschitz_upper_bound
from fusionscope.networks.build import build, initialised

INPUT = (3, 32, 32)


class Net(nn.Module):
    """Any function of modules as a network that can be traced."""

    def __init__(self, function, **modules: nn.Module):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def dense_norm(layer: nn.Module, input_shape: tuple[int, ...]) -> float:
    """The largest singular value of a layer's matrix; its columns are the images of unit inputs."""
    units = torch.eye(math.prod(input_shape), dtype=torch.float64).view(-1, *input_shape)
    origin = torch.zeros(1, *input_shape, dtype=torch.float64)
    with torch.no_grad():
        columns = (layer(units) - layer(origin)).flatten(1)
    return torch.linalg.matrix_norm(columns.T, 2).item()


CONVOLUTIONS = {
    "3x3 same size": ({"kernel_size": 3, "padding": 1}, (2, 6, 6)),
    "3x3 without padding": ({"kernel_size": 3}, (2, 6, 6)),
    "3x3 on one pixel": ({"kernel_size": 3, "padding": 1}, (2, 1, 1)),
    "3x3 on two pixels": ({"kernel_size": 3, "padding": 1}, (2, 2, 2)),
    "stride 2": ({"kernel_size": 3, "stride": 2, "padding": 1}, (2, 7, 7)),
    "stride 2 that never sees the last row": ({"kernel_size": 3, "stride": 2}, (2, 8, 8)),
    "projection": ({"kernel_size": 1, "stride": 2}, (3, 6, 6)),
    "1x1 on one value": ({"kernel_size": 1}, (1, 1, 1)),
    "1x1 on two values": ({"kernel_size": 1}, (2, 1, 1)),
    "5x5 wide padding": ({"kernel_size": 5, "padding": 3}, (2, 4, 4)),
    "rectangles": ({"kernel_size": (3, 2), "stride": (1, 2), "padding": (2, 0)}, (2, 4, 7)),
    "padding by name": ({"kernel_size": 3, "padding": "same"}, (2, 5, 5)),
    "dilated": ({"kernel_size": 3, "padding": 2, "dilation": 2}, (2, 6, 6)),
    "grouped": ({"kernel_size": 3, "padding": 1, "groups": 2}, (2, 6, 6)),
    "circular padding": ({"kernel_size": 3, "padding": 1, "padding_mode": "circular"}, (2, 5, 5)),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_norm_of_a_convolution_is_the_largest_singular_value_of_its_matrix(name):
    options, input_shape = CONVOLUTIONS[name]
    convolution = randomise(nn.Conv2d(input_shape[0], 4, **options), seed=len(name))
    expected = dense_norm(convolution, input_shape)
    assert convolution_norm(convolution, input_shape) == pytest.approx(expected, rel=1e-9)


def test_norm_of_a_zero_convolution_is_zero():
    convolution = nn.Conv2d(2, 3, 3, padding=1).double()
    nn.init.zeros_(convolution.weight)
    assert convolution_norm(convolution, (2, 5, 5)) == 0.0


@pytest.mark.parametrize("model_type", ["VGG11_NOBN", "VGG11", "RESNET18_NOBIAS_NOBN", "RESNET18"])
def test_local_lipschitz_is_the_spectral_norm_of_the_jacobian(model_type):
    network = randomise(build(10, model_type=model_type, width=WIDTH), seed=1)
    x = random_images(3).normalised()
    jacobian = torch.autograd.functional.jacobian(lambda x: network(x).sum(0), x)  # (10, n, 3, 32, 32)
    expected = torch.linalg.svdvals(jacobian.transpose(0, 1).flatten(2))[:, 0]
    torch.testing.assert_close(
        local_lipschitz(network, x, seed=0, power_iterations=5), expected, rtol=1e-10, atol=0
    )
    found = power_iterated_norms(network, x, seed=0, power_iterations=60)
    # power iteration comes from below, up to rounding
    assert (found <= expected * (1 + 1e-12)).all()
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


def test_jacobians_are_held_a_few_at_a_time(monkeypatch):
    network = randomise(build(10, model_type="RESNET18", width=WIDTH), seed=2)
    x = random_images(5).normalised()
    together = local_lipschitz(network, x, seed=0, power_iterations=5)
    monkeypatch.setattr("fusionscope.measures.input.lipschitz.NUMBERS_AT_ONCE", 2 * 10 * 3072)
    apart = local_lipschitz(network, x, seed=0, power_iterations=5)
    torch.testing.assert_close(apart, together, rtol=1e-12, atol=0)


def test_few_power_iterations_stay_below_the_spectral_norm():
    network = randomise(build(10, model_type="VGG11_NOBIAS_NOBN", width=WIDTH), seed=1)
    x = random_images(3).normalised()
    rough, better, best = (local_lipschitz(network, x, seed=0, power_iterations=k) for k in (1, 4, 5))
    assert (rough < better).all()
    assert (better <= best).all()


def test_local_lipschitz_of_an_image_does_not_depend_on_the_rest_of_the_batch():
    network = randomise(build(10, model_type="RESNET18", width=WIDTH), seed=2)
    x = random_images(4).normalised()
    together = local_lipschitz(network, x, seed=0, power_iterations=4)
    fewer = local_lipschitz(network, x[:2], seed=0, power_iterations=4)
    torch.testing.assert_close(together[:2], fewer, rtol=1e-10, atol=0)


def test_all_four_numbers_of_an_affine_network_are_its_operator_norm():
    network = randomise(Net(lambda s, x: s.linear(torch.flatten(x, 1)), linear=nn.Linear(3072, 10)), seed=0)
    with torch.no_grad():  # singular values 3, 3/2, 3/4, ...: well apart, so that power iterations converge
        u, s, vh = torch.linalg.svd(network.linear.weight, full_matrices=False)
        network.linear.weight.copy_(u @ torch.diag(3 * 0.5 ** torch.arange(len(s))).double() @ vh)
    found = measure_input_space(network, random_images(2), seed=0, starts=2, power_iterations=30)
    values = {name: number.value for name, number in found.items()}
    assert values == pytest.approx(dict.fromkeys(values, 3.0), rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_lower_bounds_of_an_affine_network_in_single_precision_are_not_above_the_upper_bound(seed):
    network = randomise(nn.Sequential(nn.Flatten(), nn.Linear(3072, 1)), seed).float()
    images = random_images(3, dtype=torch.float32)
    found = measure_input_space(network, images, seed=0, starts=2, power_iterations=3)
    upper = found["lipschitz_upper_bound"].value
    assert all(upper * (1 - 1e-5) <= number.value <= upper for number in found.values())


def test_constant_of_a_ridge_function_is_its_slope():
    # f(x) = a |<u, x>| with unit u rises fastest along u: the supremum over unit vectors is a
    slope, u = 3.0, F.normalize(torch.randn(1, 3072, generator=torch.Generator().manual_seed(0)).double())
    network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 2), nn.ReLU(), nn.Linear(2, 1)).double()
    with torch.no_grad():
        network[1].weight.copy_(torch.cat([u, -u]))
        network[1].bias.zero_()
        network[3].weight.fill_(slope)
    assert lipschitz_constant(network, seed=0, starts=1, power_iterations=3) == pytest.approx(slope, rel=1e-9)
    found = local_lipschitz(network, random_images(3).normalised(), seed=0, power_iterations=3)
    assert found.tolist() == pytest.approx([slope] * 3, rel=1e-9)


def test_the_constant_by_itself_has_the_recipe_s_options():
    network = randomise(build(10, model_type="VGG11_NOBIAS_NOBN", width=WIDTH), seed=3)
    expected = lipschitz_constant(network, seed=1, starts=10, power_iterations=2)
    assert lipschitz(network, seed=1, starts=10, power_iterations=2) == Measurement(expected)
    with pytest.raises(InputError, match="unknown key 'steps'"):
        lipschitz(network, steps=3)


def plane_network(seed: int, bias: bool) -> nn.Module:
    """A ReLU network of two numbers, whose sphere is a circle."""
    layers = [nn.Linear(2, 12, bias=bias), nn.ReLU(), nn.Linear(12, 8, bias=bias), nn.ReLU(), nn.Linear(8, 3)]
    network = randomise(nn.Sequential(nn.Flatten(), *layers), seed)
    network.input_shape = (1, 1, 2)
    return network


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_constant_is_the_maximum_on_a_fine_circle(seed, bias):
    network = plane_network(seed, bias)
    angle = torch.linspace(0, 2 * math.pi, 1_000_001, dtype=torch.float64)
    circle = torch.stack([angle.cos(), angle.sin()], 1).view(-1, 1, 1, 2)
    with torch.no_grad():
        values = (network(circle) - network(torch.zeros_like(circle[:1]))).norm(dim=1)
    found = lipschitz_constant(network, seed=0, starts=16, power_iterations=40)
    assert found <= values.max().item() * (1 + 1e-9)
    assert found == pytest.approx(values.max().item(), rel=0.001)


def test_a_shrinking_step_climbs_where_the_power_method_leaps():
    network = randomise(build(10, model_type="VGG11_NOBIAS_NOBN", width=WIDTH), seed=3)
    v = random_directions((4, *INPUT), next(network.parameters()), 0, "test")
    leaping = v
    largest = torch.zeros(4, dtype=torch.float64)
    for _ in range(81):
        logits, pullback = vjp(network, leaping)
        largest = torch.maximum(largest, logits.norm(dim=1).detach())
        leaping = unit(pullback(logits)[0].detach(), otherwise=leaping)
    assert (ascend(network, v, 80) > 1.02 * largest).all()


def test_the_value_is_met_at_a_unit_vector_of_the_ascent():
    network = randomise(build(10, model_type="VGG11_NOBIAS_NOBN", width=WIDTH), seed=3)
    v = random_directions((3, *INPUT), next(network.parameters()), 0, "test")
    with torch.no_grad():
        at_the_start = network(v).norm(dim=1)
    assert (ascend(network, v, 10) >= at_the_start).all()
    apart = torch.cat([ascend(network, one[None], 10) for one in v])
    torch.testing.assert_close(ascend(network, v, 10), apart, rtol=1e-9, atol=0)


def test_more_iterations_and_starts_do_not_lower_the_constant_by_much():
    network = randomise(build(10, model_type="VGG11_NOBIAS_NOBN", width=WIDTH), seed=3)
    found = [lipschitz_constant(network, seed=0, starts=s, power_iterations=20 * s) for s in (1, 2, 4)]
    assert found[0] < found[1] < found[2] < 1.3 * found[0]


def test_images_are_among_the_starts():
    network = randomise(build(10, model_type="VGG11_NOBIAS_NOBN", width=WIDTH), seed=3)
    images = random_images(5)
    x = images.normalised()
    options = {"seed": 1, "starts": 2, "power_iterations": 3}
    found = lipschitz_constant(network, x, **options)
    assert found == lipschitz_constant(network, x[:1], **options)  # half of the starts
    assert found != lipschitz_constant(network, **options)
    assert lipschitz(network, images, **options) == Measurement(found)


@pytest.mark.parametrize("model_type", cases.ALL_MODEL_TYPES)
def test_lower_bounds_never_exceed_the_upper_bound(model_type):
    network = randomise(build(10, **cases.spec_of(model_type)), seed=4)
    found = measure_input_space(network, random_images(3), seed=0, starts=2, power_iterations=8)
    upper = found["lipschitz_upper_bound"].value
    assert 0 < found["lipschitz_constant"].value <= upper
    assert 0 < found["local_lipschitz_mean"].value <= found["local_lipschitz_max"].value <= upper
    assert math.isfinite(upper)


def grey_images(count: int, size: int):
    """Of one channel."""
    images = random_images(count, size=size)
    return replace(images, pixels=images.pixels[:, :1], channels=1)


@torch.no_grad()
def test_the_constants_of_an_mlp_are_those_of_its_matrices():
    """At an image the Jacobian is the product of the matrices, with the rows that ReLU switches off zero."""
    network = build(10, model_type="MLP", depth=2, width=12, input_size=6, channels=1)
    first, second, last = (
        randomise(network, 3).get_submodule(n) for n in ("hidden.0", "hidden.2", "classifier")
    )
    images = grey_images(4, size=6)
    expected = []
    for x in images.normalised().flatten(1):
        before, above = first(x), second(first(x).relu())
        jacobian = (
            last.weight @ (above.gt(0)[:, None] * second.weight) @ (before.gt(0)[:, None] * first.weight)
        )
        expected.append(torch.linalg.matrix_norm(jacobian, 2).item())
    found = measure_input_space(network, images, seed=0, starts=2, power_iterations=60)
    assert found["local_lipschitz_max"].value == pytest.approx(max(expected), rel=1e-6)
    assert found["local_lipschitz_mean"].value == pytest.approx(sum(expected) / 4, rel=1e-6)
    upper = math.prod(torch.linalg.matrix_norm(layer.weight, 2).item() for layer in (first, second, last))
    assert found["lipschitz_upper_bound"].value == pytest.approx(upper, rel=1e-9)
    assert found["lipschitz_constant"].value <= upper


@pytest.mark.parametrize(("model_type", "size"), [("VGG11", 32), ("RESNET18_NOBN", 28)])
def test_networks_of_one_channel_are_bounded_too(model_type, size):
    network = randomise(build(10, **cases.spec_of(model_type), input_size=size, channels=1), seed=4)
    found = measure_input_space(network, grey_images(3, size), seed=0, starts=2, power_iterations=8)
    upper = found["lipschitz_upper_bound"].value
    assert 0 < found["lipschitz_constant"].value <= upper
    assert 0 < found["local_lipschitz_max"].value <= upper < math.inf


def small_net(function, seed: int = 0) -> nn.Module:
    """`function` over a strided stem (3, 32, 32) -> (4, 8, 8), two convolutions and a linear layer."""
    network = Net(
        function,
        stem=nn.Conv2d(3, 4, 5, stride=4, padding=2),
        norm=nn.BatchNorm2d(4),
        a=nn.Conv2d(4, 4, 3, padding=1),
        b=nn.Conv2d(4, 4, 3, padding=1),
        shortcut=nn.Conv2d(4, 4, 1),
        linear=nn.Linear(256, 5),
        linear_after_pool=nn.Linear(16, 5),
    )
    return randomise(network, seed)


def norms(network: nn.Module) -> dict[str, float]:
    small = {name: dense_norm(getattr(network, name), (4, 8, 8)) for name in ("a", "b", "shortcut")}
    linear = {name: dense_norm(getattr(network, name), (size,)) for name, size in LINEAR_SIZES.items()}
    return {"stem": dense_norm(network.stem, INPUT), **small, **linear}


LINEAR_SIZES = {"linear": 256, "linear_after_pool": 16}


def test_upper_bound_of_a_chain_is_the_product_of_its_norms():
    network = small_net(lambda s, x: s.linear(torch.flatten(F.relu(s.a(F.relu(s.stem(x)))), 1)))
    n = norms(network)
    expected = n["stem"] * n["a"] * n["linear"]
    assert lipschitz_upper_bound(network) == pytest.approx(expected, rel=1e-9)


def test_upper_bound_of_a_residual_block_is_branch_plus_identity():
    def forward(s, x):
        x = s.stem(x)
        return s.linear(torch.flatten(F.relu(x + s.b(F.relu(s.a(x)))), 1))

    network = small_net(forward)
    n = norms(network)
    expected = n["stem"] * (n["a"] * n["b"] + 1) * n["linear"]
    assert lipschitz_upper_bound(network) == pytest.approx(expected, rel=1e-9)


def test_upper_bound_of_a_projecting_block_is_branch_plus_projection():
    def forward(s, x):
        x = s.stem(x)
        return s.linear(torch.flatten(torch.add(s.b(F.relu(s.a(x))), s.shortcut(x)), 1))

    network = small_net(forward)
    n = norms(network)
    expected = n["stem"] * (n["a"] * n["b"] + n["shortcut"]) * n["linear"]
    assert lipschitz_upper_bound(network) == pytest.approx(expected, rel=1e-9)


def test_batch_norm_is_folded_into_the_convolution_before_it():
    network = small_net(lambda s, x: s.linear(torch.flatten(F.relu(s.norm(s.stem(x))), 1)))
    together = dense_norm(nn.Sequential(network.stem, network.norm), INPUT)
    expected = together * norms(network)["linear"]
    assert lipschitz_upper_bound(network) == pytest.approx(expected, rel=1e-9)
    # a bound layer by layer would be looser
    scale = (network.norm.weight.abs() / (network.norm.running_var + network.norm.eps).sqrt()).max().item()
    assert together < scale * norms(network)["stem"]


def test_average_pooling_of_disjoint_windows_counts_with_its_norm():
    network = small_net(lambda s, x: s.linear_after_pool(torch.flatten(F.avg_pool2d(s.stem(x), 4), 1)))
    pool = dense_norm(nn.AvgPool2d(4), (4, 8, 8))
    n = norms(network)
    expected = n["stem"] * pool * n["linear_after_pool"]
    assert lipschitz_upper_bound(network) == pytest.approx(expected, rel=1e-9)


def test_max_pooling_of_disjoint_windows_counts_one():
    def forward(s, x):
        return s.linear_after_pool(torch.flatten(s.pool(s.stem(x)), 1))

    network = small_net(forward)
    network.pool = nn.MaxPool2d(4)
    n = norms(network)
    assert lipschitz_upper_bound(network) == pytest.approx(n["stem"] * n["linear_after_pool"], rel=1e-9)


AMPLIFYING = {
    # operations that are not what their name says unless all arguments are read
    "a sum of a tensor with itself": lambda s, x: s.linear(torch.flatten((y := s.stem(x)) + y, 1)),
    "a weighted sum": lambda s, x: s.linear(torch.flatten(torch.add(y := s.stem(x), s.a(y), alpha=9), 1)),
    "an overlapping average": lambda s, x: s.linear_after_pool(
        torch.flatten(F.avg_pool2d(s.stem(x), 5, stride=3), 1)
    ),
}


@pytest.mark.parametrize("name", AMPLIFYING)
def test_no_bound_is_below_the_constant_of_a_network_without_relu(name):
    # affine networks: the operator norm is the constant, so a bound below it is wrong
    network = small_net(AMPLIFYING[name])
    if "average" in name:
        with torch.no_grad():  # alike inputs, so that the pool shows its whole norm
            network.stem.weight.fill_(0.1)
            network.linear_after_pool.weight.fill_(0.1)
    try:
        bound = lipschitz_upper_bound(network)
    except NoBound:
        return  # a refusal is an honest answer too
    assert bound >= dense_norm(network, INPUT) * (1 - 1e-9)


def largest_slope(activation) -> float:
    """Of a function of one number, on a grid so fine that the largest difference quotient is the slope."""
    x = torch.linspace(-10, 10, 2_000_001, dtype=torch.float64)
    return (activation(x).diff() / x.diff()).abs().max().item()


ACTIVATIONS = [nn.ReLU(), nn.ReLU6(), nn.Hardtanh(), nn.Tanh(), nn.Sigmoid(), nn.Hardsigmoid(), nn.SiLU()]
ACTIVATIONS += [nn.GELU(), nn.Hardswish(), nn.Softplus()]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda activation: type(activation).__name__)
def test_an_activation_counts_with_its_largest_slope(activation):
    network = small_net(lambda s, x: torch.flatten(s.activation(s.stem(x)), 1))
    network.activation = activation
    expected = dense_norm(network.stem, INPUT) * largest_slope(activation)
    assert lipschitz_upper_bound(network) == pytest.approx(expected, rel=1e-4)


AVERAGES = {
    "module": lambda s, x: s.pool(x),
    "overlapping": lambda s, x: F.avg_pool2d(x, 3, 1, 1),
    "with a border": lambda s, x: F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False),
    "to one pixel": lambda s, x: F.adaptive_avg_pool2d(x, (1, 1)),
    "to windows that overlap": lambda s, x: F.adaptive_avg_pool2d(x, (3, 5)),
    "to more pixels": lambda s, x: F.adaptive_avg_pool2d(x, 11),
    "mean over pixels": lambda s, x: x.mean([2, 3]),
    "mean over channels": lambda s, x: torch.mean(x, dim=1, keepdim=True),
}


@pytest.mark.parametrize("name", AVERAGES)
def test_an_average_counts_with_the_norm_of_its_matrix(name):
    network = small_net(lambda s, x: torch.flatten(AVERAGES[name](s, s.stem(x)), 1))
    network.pool = nn.AvgPool2d(2)
    expected = dense_norm(network.stem, INPUT) * dense_norm(partial(AVERAGES[name], network), (4, 8, 8))
    assert lipschitz_upper_bound(network) == pytest.approx(expected, rel=1e-9)


POOLS = {
    "disjoint": {"kernel_size": 4},
    "overlapping": {"kernel_size": 3, "stride": 2},
    "overlapping with a border": {"kernel_size": 3, "stride": 1, "padding": 1},
    "dilated": {"kernel_size": 2, "dilation": 2},
    "rectangles": {"kernel_size": (3, 2), "stride": (1, 2)},
    "last window cut": {"kernel_size": 3, "stride": 2, "ceil_mode": True},
}


@pytest.mark.parametrize("as_function", [False, True])
@pytest.mark.parametrize("name", POOLS)
def test_max_pooling_is_as_steep_as_one_pixel_that_is_the_maximum_of_all_its_windows(name, as_function):
    pool = nn.MaxPool2d(**POOLS[name])

    def forward(s, x):
        x = s.stem(x)
        return torch.flatten(F.max_pool2d(x, **POOLS[name]) if as_function else s.pool(x), 1)

    network = small_net(forward)
    network.pool = pool
    spikes = torch.eye(64, dtype=torch.float64).view(64, 1, 8, 8)
    steepest = pool(spikes).flatten(1).norm(dim=1).max().item()  # of a lit pixel, which has norm one
    expected = dense_norm(network.stem, INPUT) * steepest
    assert lipschitz_upper_bound(network) == pytest.approx(expected, rel=1e-9)


def concatenation(s, x):
    x = s.stem(x)
    return s.head(torch.flatten(torch.cat([s.a(x), x, s.b(x)], dim=1), 1))


def shuffle(s, x):
    first, second = s.stem(x).chunk(2, dim=1)
    x = torch.cat([first, second], 1)
    n, c, h, w = x.shape
    x = x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)
    return s.linear(torch.flatten(x.view(x.size(0), -1), 1))


def norm_alone(s, x):
    return s.linear(torch.flatten(s.norm(F.relu(s.stem(x))), 1))


def scaled_branch(s, x):
    x = s.stem(x)
    x += 0.5 * s.a(x) * s.scale
    return s.linear(s.flatten(x + 3))


# What the bound must be, from the dense norms of the layers.
COMPOSED = {
    concatenation: lambda s, n: n["stem"] * math.sqrt(n["a"] ** 2 + 1 + n["b"] ** 2) * n["head"],
    shuffle: lambda s, n: n["stem"] * math.sqrt(2) * n["linear"],  # a half is bounded by the whole
    norm_alone: lambda s, n: n["stem"] * dense_norm(s.norm, (4, 8, 8)) * n["linear"],
    scaled_branch: lambda s, n: n["stem"] * (1 + 0.5 * n["a"] * s.scale.abs().max().item()) * n["linear"],
}


@pytest.mark.parametrize("forward", COMPOSED)
def test_operations_compose_as_their_norms_do(forward):
    network = small_net(forward)
    network.head, network.flatten = nn.Linear(768, 5).double(), nn.Flatten()
    network.register_buffer("scale", torch.linspace(-3, 2, 256, dtype=torch.float64).view(1, 4, 8, 8))
    n = norms(network) | {"head": dense_norm(network.head, (768,))}
    assert lipschitz_upper_bound(network) == pytest.approx(COMPOSED[forward](network, n), rel=1e-9)


def squeeze_and_excitation(s, x):
    x = s.stem(x)
    return torch.flatten(x * torch.sigmoid(s.shortcut(x)), 1)


def overwritten(s, x):
    x = s.stem(x)
    y = x.add_(s.a(x))
    return torch.flatten(s.b(x) + y, 1)  # by now x is x + a(x)


def broadcast(s, x):
    x = s.stem(x)
    return torch.flatten(x + F.adaptive_avg_pool2d(x, 1), 1)


UNKNOWN = {
    squeeze_and_excitation: "operation 'mul': a product of two activations",
    overwritten: "operation 'add_': overwrites what is read again",
    broadcast: "operation 'add': adds tensors of different shapes",
    (lambda s, x: s.norm(s.stem(x).flatten(1))): "LayerNorm 'norm': no Lipschitz constant is known for Layer",
    (
        lambda s, x: F.layer_norm(s.stem(x).flatten(1), (256,))
    ): "no Lipschitz constant is known for layer_norm",
    (lambda s, x: s.stem(x).flatten(1).pow(2)): "no Lipschitz constant is known for pow",
    (lambda s, x: s.stem(x).flatten(1)[:, [0, 0, 1]]): "no Lipschitz constant is known for getitem",
    (lambda s, x: F.dropout(s.stem(x).flatten(1))): "no Lipschitz constant is known for dropout",
    (lambda s, x: s.stem(x).flatten(1) if x.sum() > 0 else x): "torch.fx cannot trace the network",
}


@pytest.mark.parametrize("forward", UNKNOWN)
def test_an_operation_without_a_known_constant_is_named_and_the_other_metrics_stay(forward, caplog):
    network = small_net(forward)
    network.norm = nn.LayerNorm(256, dtype=torch.float64)
    with pytest.raises(NoBound, match=UNKNOWN[forward]):
        lipschitz_upper_bound(network)
    if forward is squeeze_and_excitation:
        found = measure_input_space(network, random_images(2), seed=0, starts=1, power_iterations=2)
        assert set(found) == {"lipschitz_constant", "local_lipschitz_max", "local_lipschitz_mean"}
        assert "no lipschitz_upper_bound: operation 'mul'" in caplog.text


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_layers_in_place_are_measured_as_others_are(name):
    """torchvision's networks overwrite activations: the same numbers with every layer out of place."""
    network = build(10, architecture=f"torchvision:{name}")
    randomise(network, seed=8)
    x = random_images(2).normalised()
    found = local_lipschitz(network, x, seed=0, power_iterations=3)
    constant = lipschitz_constant(network, seed=0, starts=1, power_iterations=2)
    changed = [m for m in network.modules() if getattr(m, "inplace", False)]
    for module in changed:
        module.inplace = False
    assert len(changed) > 5
    torch.testing.assert_close(local_lipschitz(network, x, seed=0, power_iterations=3), found)
    assert lipschitz_constant(network, seed=0, starts=1, power_iterations=2) == pytest.approx(constant)


def test_the_jacobian_of_a_residual_network_of_torchvision_is_met_and_bounded():
    network = randomise(build(3, architecture="torchvision:resnet18"), seed=9)
    x = random_images(1).normalised()
    jacobian = torch.autograd.functional.jacobian(lambda x: network(x)[0], x).flatten(1)
    expected = torch.linalg.matrix_norm(jacobian, 2).item()
    found = local_lipschitz(network, x, seed=0, power_iterations=60).item()
    assert found == pytest.approx(expected, rel=1e-6)


def test_attention_has_local_metrics():
    """Its fused kernels have no forward derivative."""
    fresh = initialised(torch.Generator().manual_seed(9), 3, architecture="torchvision:vit_b_32")
    network = randomise(fresh, seed=9)
    network.encoder.layers = network.encoder.layers[:1]
    x = random_images(1)
    found = measure_input_space(network, x, seed=0, starts=1, power_iterations=100)
    jacobian = torch.autograd.functional.jacobian(lambda x: network(x)[0], x.normalised()).flatten(1)
    expected = torch.linalg.matrix_norm(jacobian, 2).item()
    assert found["local_lipschitz_max"].value == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("size", [16, 40])
def test_inputs_are_as_large_as_the_network_says(size):
    network = randomise(build(4, architecture="torchvision:squeezenet1_1", input_size=size + 8), seed=3)
    images = replace(random_images(2), size=size + 8)
    found = measure_input_space(network, images, seed=0, starts=1, power_iterations=3)
    assert found["lipschitz_constant"].value <= found["lipschitz_upper_bound"].value
    assert found["local_lipschitz_max"].value <= found["lipschitz_upper_bound"].value


@pytest.mark.parametrize("model_type", ["VGG11_NOBIAS_NOBN", "VGG11", "RESNET18"])
def test_a_zero_network_has_constant_zero_everywhere(model_type):
    network = build(10, model_type=model_type, width=WIDTH)
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    images = random_images(2, dtype=torch.float32)
    found = measure_input_space(network, images, seed=0, starts=2, power_iterations=3)
    assert {name: number.value for name, number in found.items()} == dict.fromkeys(found, 0.0)


def test_input_space_has_four_metrics_and_an_error_for_the_mean_alone():
    network = randomise(build(10, model_type="VGG11_NOBN", width=WIDTH), seed=5)
    images = random_images(4)
    options = {"seed": 3, "starts": 2, "power_iterations": 4}
    found = measure_input_space(network, images, **options)
    errors = {name: number.std_error for name, number in found.items()}
    assert list(errors) == [
        "lipschitz_constant",
        "local_lipschitz_max",
        "local_lipschitz_mean",
        "lipschitz_upper_bound",
    ]
    local = local_lipschitz(network, images.normalised(), seed=3, power_iterations=4).tolist()
    mean = sum(local) / 4
    variance = sum((value - mean) ** 2 for value in local) / 3
    assert found["local_lipschitz_max"].value == max(local)
    assert found["local_lipschitz_mean"].value == pytest.approx(mean, rel=1e-12)
    assert errors.pop("local_lipschitz_mean") == pytest.approx(math.sqrt(variance / 4), rel=1e-12)
    assert set(errors.values()) == {None}
    single = measure_input_space(network, images.take(torch.tensor([0])), **options)
    assert single["local_lipschitz_mean"].std_error is None


def test_the_seed_decides_the_numbers():
    network = randomise(build(10, model_type="VGG11_NOBN", width=WIDTH), seed=6)
    x = random_images(2).normalised()

    def both(seed: int) -> list[float]:
        local = local_lipschitz(network, x, seed=seed, power_iterations=2).tolist()
        return [*local, lipschitz_constant(network, seed=seed, starts=2, power_iterations=2)]

    torch.manual_seed(0)
    first = both(1)
    torch.manual_seed(1)  # the global state has no say
    assert both(1) == first
    assert all(a != b for a, b in zip(both(2), first, strict=True))


def test_measuring_leaves_the_network_as_it_was():
    network = randomise(build(10, model_type="RESNET18", width=WIDTH), seed=7).float()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    images = random_images(2, dtype=torch.float32)
    measure_input_space(network, images, seed=0, starts=1, power_iterations=2)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    assert next(network.parameters()).dtype == torch.float32


def test_a_network_whose_outputs_are_not_finite_has_no_constant_but_a_sentence():
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 3)).double()
    network.input_shape = (3, 4, 4)
    images = random_images(6, size=4, classes=3)
    with torch.no_grad():
        network[1].weight.fill_(1e308)
    with pytest.raises(InputError, match=r"^Sequential: its outputs are not finite on \d of 6 images"):
        measure_input_space(network, images, seed=0, starts=1, power_iterations=2)
    with torch.no_grad():
        network[1].bias.fill_(math.inf)
    with pytest.raises(InputError, match="not finite on 1 of 1 images"):
        lipschitz_constant(network, seed=0, starts=1, power_iterations=2)
