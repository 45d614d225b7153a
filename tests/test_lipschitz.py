"""Input space: operator norms and Lipschitz bounds against dense matrices and closed forms."""

import math

import pytest
import torch
from measure_cases import WIDTH, random_images, randomise
from torch import Tensor, nn
from torch.nn import functional as F

from fusionscope.errors import InputError
from fusionscope.lipschitz import (
    convolution_norm,
    lipschitz_constant,
    lipschitz_upper_bound,
    local_lipschitz,
    measure_input_space,
)
from fusionscope.networks import MODEL_TYPES, build

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
    network = randomise(build(model_type, 10, WIDTH), seed=1)
    x = random_images(3).normalised()
    jacobian = torch.autograd.functional.jacobian(lambda x: network(x).sum(0), x)  # (10, n, 3, 32, 32)
    expected = torch.linalg.svdvals(jacobian.transpose(0, 1).flatten(2))[:, 0]
    found = local_lipschitz(network, x, seed=0, power_iterations=60)
    # power iteration comes from below, up to rounding
    assert (found <= expected * (1 + 1e-12)).all()
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


def test_few_power_iterations_stay_below_the_spectral_norm():
    network = randomise(build("VGG11_NOBIAS_NOBN", 10, WIDTH), seed=1)
    x = random_images(3).normalised()
    rough, better, best = (local_lipschitz(network, x, seed=0, power_iterations=k) for k in (1, 4, 60))
    assert (rough < better).all()
    assert (better <= best).all()


def test_local_lipschitz_of_an_image_does_not_depend_on_the_rest_of_the_batch():
    network = randomise(build("RESNET18", 10, WIDTH), seed=2)
    x = random_images(4).normalised()
    together = local_lipschitz(network, x, seed=0, power_iterations=5)
    fewer = local_lipschitz(network, x[:2], seed=0, power_iterations=5)
    torch.testing.assert_close(together[:2], fewer, rtol=1e-10, atol=0)


def test_all_four_numbers_of_an_affine_network_are_its_operator_norm():
    network = randomise(Net(lambda s, x: s.linear(torch.flatten(x, 1)), linear=nn.Linear(3072, 10)), seed=0)
    with torch.no_grad():  # singular values 3, 3/2, 3/4, ...: well apart, so that power iterations converge
        u, s, vh = torch.linalg.svd(network.linear.weight, full_matrices=False)
        network.linear.weight.copy_(u @ torch.diag(3 * 0.5 ** torch.arange(len(s))).double() @ vh)
    found = measure_input_space(network, random_images(2), seed=0, starts=2, power_iterations=30)
    values = {name: number.value for name, number in found.items()}
    assert values == pytest.approx(dict.fromkeys(values, 3.0), rel=1e-9)


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


def test_constant_is_the_best_of_its_starts():
    # more starts are the same first starts and some others, so the maximum cannot fall
    network = randomise(build("VGG11_NOBIAS_NOBN", 10, WIDTH), seed=3)
    found = [lipschitz_constant(network, seed=0, starts=s, power_iterations=3) for s in (1, 2, 6)]
    assert found == sorted(found)
    assert found[0] < found[-1]


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_lower_bounds_never_exceed_the_upper_bound(model_type):
    network = randomise(build(model_type, 10, WIDTH), seed=4)
    found = measure_input_space(network, random_images(3), seed=0, starts=2, power_iterations=8)
    upper = found["lipschitz_upper_bound"].value
    assert 0 < found["lipschitz_constant"].value <= upper
    assert 0 < found["local_lipschitz_mean"].value <= found["local_lipschitz_max"].value <= upper
    assert math.isfinite(upper)


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
    except InputError:
        return  # a refusal is an honest answer too
    assert bound >= dense_norm(network, INPUT) * (1 - 1e-9)


@pytest.mark.parametrize("pool", [nn.MaxPool2d(3, stride=2), nn.MaxPool2d(2, dilation=2), nn.Sigmoid()])
def test_an_operation_without_a_known_constant_is_refused(pool):
    network = small_net(lambda s, x: torch.flatten(s.pool(s.stem(x)), 1))
    network.pool = pool
    with pytest.raises(InputError, match="pool"):
        lipschitz_upper_bound(network)


@pytest.mark.parametrize("model_type", ["VGG11_NOBIAS_NOBN", "VGG11", "RESNET18"])
def test_a_zero_network_has_constant_zero_everywhere(model_type):
    network = build(model_type, 10, WIDTH)
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    images = random_images(2, dtype=torch.float32)
    found = measure_input_space(network, images, seed=0, starts=2, power_iterations=3)
    assert {name: number.value for name, number in found.items()} == dict.fromkeys(found, 0.0)


def test_input_space_has_four_metrics_and_an_error_for_the_mean_alone():
    network = randomise(build("VGG11_NOBN", 10, WIDTH), seed=5)
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
    network = randomise(build("VGG11_NOBN", 10, WIDTH), seed=6)
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
    network = randomise(build("RESNET18", 10, WIDTH), seed=7).float()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    images = random_images(2, dtype=torch.float32)
    measure_input_space(network, images, seed=0, starts=1, power_iterations=2)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    assert next(network.parameters()).dtype == torch.float32
