"""Complexity measures against batch norm folded by hand, dense matrices, paths one by one, single images."""

import math
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from measure_cases import WIDTH, random_images, randomise, smooth_network
from torch import Tensor, nn
from torch.nn import functional as F

from fusionscope.images import Images
from fusionscope.measurement import Measurement, undefined
from fusionscope.measures.input.operator_norms import NoBound
from fusionscope.measures.parameter.complexity import (
    log_product,
    mean_square_of_single_gradients,
    sum_over_layers,
    sum_over_paths,
)
from fusionscope.measures.parameter.landscape import Landscape
from fusionscope.measures.parameter.subject import (
    Subject,
    fold_batch_norm,
    gradient_square,
    load_measures,
    margin_quantile,
    measure_complexity,
    spectral_norms,
)
from fusionscope.measures.recipes import COMPLEXITY
from fusionscope.networks.build import build

MEASURES = load_measures(COMPLEXITY)
SHAPE = (3, 8, 8)
OF_GRADIENTS = ("gradient_norm", "gradient_variance")
OF_MARGINS = ("inverse_margin", "log_normalised_inverse_margin")


class Net(nn.Module):
    """Any function of modules as a network for images of `shape`, with random weights."""

    def __init__(self, function, shape: tuple[int, ...] = SHAPE, seed: int = 0, **modules: nn.Module):
        super().__init__()
        self.function, self.input_shape = function, shape
        for name, module in modules.items():
            self.add_module(name, module)
        randomise(self, seed)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def chain(*layers: nn.Module, shape: tuple[int, ...] = SHAPE, seed: int = 0) -> nn.Sequential:
    network = randomise(nn.Sequential(*layers), seed)
    network.input_shape = shape
    return network


def without_affine(network: nn.Sequential, layer: int) -> nn.Sequential:
    """The same with a batch norm as nn.BatchNorm2d(..., affine=False) has it."""
    network[layer].weight = network[layer].bias = None
    return network


def convolutional(seed: int = 0) -> nn.Sequential:
    """Convolutions of several kinds, with and without batch norm and biases."""
    network = chain(
        *(nn.Conv2d(3, 6, 3, stride=2, padding=1, groups=3), nn.BatchNorm2d(6), nn.ReLU()),
        *(nn.Conv2d(6, 4, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.Conv2d(4, 5, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(20, 12), nn.ReLU(), nn.Linear(12, 3, bias=False)),
        seed=seed,
    )
    return without_affine(network, 4)


def residual() -> nn.Module:
    """A stem, a block beside an identity, a linear layer."""

    def forward(s, x):
        x = F.relu(s.bn(s.stem(x)))
        x = F.relu(x + s.bn2(s.conv2(F.relu(s.bn1(s.conv1(x))))))
        return s.linear(x.mean([2, 3]))

    convolutions = {name: nn.Conv2d(4, 4, 3, padding=1, bias=False) for name in ("conv1", "conv2")}
    norms = {name: nn.BatchNorm2d(4) for name in ("bn", "bn1", "bn2")}
    stem, linear = nn.Conv2d(3, 4, 3, stride=2), nn.Linear(4, 3)
    return Net(forward, stem=stem, **convolutions, **norms, linear=linear)


def own_labels(network: nn.Module, images: Images) -> Images:
    """The images with the labels that the network gives them."""
    with torch.no_grad():
        return replace(images, labels=network(images.normalised()).argmax(1))


def measure(network, names=tuple(MEASURES), *, images=None, train_images=None, origin=None, batch_size=4):
    """Values by name; on images that the network gets right where none are given."""
    if images is None:
        size = network.input_shape[1]
        images = own_labels(network, random_images(9, size=size, classes=3, seed=4))
    landscape = Landscape(network, images, batch_size)
    subject = Subject(landscape, images if train_images is None else train_images, origin)
    found = measure_complexity({name: MEASURES[name] for name in names}, subject)
    exact = {name: number for name, number in found.items() if number.value is not None}
    assert all(number == Measurement(number.value) for number in exact.values())
    for name in found.keys() - exact.keys():
        assert found[name] == undefined(found[name].reason), name
    return {name: number.value if name in exact else number.reason for name, number in found.items()}


def layers(network: nn.Sequential) -> list[tuple[nn.Sequential, torch.Size]]:
    """Each convolution or linear layer with the batch norm behind it, and the shape of what it reads."""
    found, x = [], torch.zeros(1, *network.input_shape, dtype=torch.float64)
    for k, module in enumerate(network):
        if isinstance(module, nn.Conv2d | nn.Linear):
            has_norm = k + 1 < len(network) and isinstance(network[k + 1], nn.BatchNorm2d)
            found.append((network[k : k + 1 + has_norm], x.shape[1:]))
        with torch.no_grad():
            x = module(x)
    return found


def matrix(layer: nn.Module, shape: torch.Size) -> Tensor:
    """The matrix of a layer (out, in); its columns are the images of unit inputs."""
    units = torch.eye(math.prod(shape), dtype=torch.float64).view(-1, *shape)
    with torch.no_grad():
        return (layer(units) - layer(torch.zeros_like(units[:1]))).flatten(1).T


def weights_by_hand(network: nn.Sequential) -> list[Tensor]:
    """The weights of all layers, each output channel times its batch norm's factor."""
    found = []
    for layer, _ in layers(network):
        weight = layer[0].weight.detach().clone()
        if len(layer) > 1:
            norm = layer[1]
            for channel in range(len(weight)):
                gain = 1.0 if norm.weight is None else norm.weight[channel].item()
                weight[channel] *= gain / math.sqrt(norm.running_var[channel].item() + norm.eps)
        found.append(weight)
    return found


def squares(tensor: Tensor) -> float:
    """The sum of squares, one by one."""
    return math.fsum(value * value for value in tensor.flatten().tolist())


@pytest.mark.parametrize("model_type", ["VGG11", "RESNET18"])
def test_folding_batch_norm_leaves_the_function_and_no_batch_norm(model_type):
    network = randomise(build(10, model_type=model_type, width=WIDTH), seed=1)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    folded, x = fold_batch_norm(network), random_images(5).normalised()
    with torch.no_grad():
        expected, found = network(x), folded(x)
    assert (found - expected).abs().max() < 1e-12 * expected.abs().max()
    kinds = {type(module) for module in folded.modules()}
    assert nn.BatchNorm2d not in kinds
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules())  # it is a copy
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("network", [convolutional, residual])
def test_folding_works_with_all_kinds_of_convolutions_and_in_double(network):
    network, images = network(), random_images(5, size=8)
    folded = fold_batch_norm(network.float())
    x = images.normalised()
    with torch.no_grad():
        expected = network.double()(x)
    assert (folded(x) - expected).abs().max() < 1e-12 * expected.abs().max()


NOT_FOLDED = {
    "a batch norm first": chain(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 8), nn.Flatten()),
    "a batch norm after a linear layer": chain(nn.Flatten(), nn.Linear(192, 3), nn.BatchNorm1d(3)),
    "a batch norm after a ReLU": chain(nn.Conv2d(3, 3, 8), nn.ReLU(), nn.BatchNorm2d(3), nn.Flatten()),
    "a batch norm without weights": without_affine(
        chain(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 8), nn.Flatten()), 0
    ),
    "a convolution that is read twice": Net(
        lambda s, x: ((x := s.conv(x)) + s.norm(x)).flatten(1),
        conv=nn.Conv2d(3, 3, 8),
        norm=nn.BatchNorm2d(3),
    ),
    "a convolution that is called twice": Net(
        lambda s, x: s.norm2(s.conv(F.relu(s.norm1(s.conv(x))))).mean([2, 3]),
        **{"conv": nn.Conv2d(3, 3, 3), "norm1": nn.BatchNorm2d(3), "norm2": nn.BatchNorm2d(3)},
    ),
    "a LayerNorm": chain(nn.Flatten(), nn.Linear(192, 8), nn.LayerNorm(8), nn.Linear(8, 3)),
    "a weight without a layer": Net(
        lambda s, x: F.linear(x.flatten(1), s.linear.weight), linear=nn.Linear(192, 3)
    ),
}
SHAPE_DEPENDENT = Net(
    lambda s, x: s.linear(x.flatten(1)) if len(x) > 0 else x, linear=nn.Linear(192, 3)
)  # a stand-in has no length


@pytest.mark.parametrize("name", NOT_FOLDED)
def test_what_cannot_be_folded_is_refused(name):
    with pytest.raises(NoBound, match="has weights of another kind than layers have"):
        fold_batch_norm(NOT_FOLDED[name])


def test_spectral_norms_are_those_of_the_dense_matrices():
    network = convolutional()
    expected = [torch.linalg.matrix_norm(matrix(*layer), 2).item() for layer in layers(network)]
    assert len(expected) == 5
    assert spectral_norms(fold_batch_norm(network)) == pytest.approx(expected, rel=1e-9)


def test_a_convolution_has_the_norm_it_has_at_its_size_of_input():
    # the same weights on larger images have a larger norm, as fewer of their pixels are at a border
    found = {}
    for size in (3, 6):
        network = chain(nn.Conv2d(1, 2, 3, padding=1), nn.Flatten(), shape=(1, size, size))
        (found[size],) = spectral_norms(fold_batch_norm(network))
        dense = torch.linalg.matrix_norm(matrix(network[0], torch.Size((1, size, size))), 2).item()
        assert found[size] == pytest.approx(dense, rel=1e-9)
    assert found[3] < found[6]


def test_a_layer_that_is_called_twice_is_one_layer():
    network = Net(
        lambda s, x: s.linear(F.relu(s.same(F.relu(s.same(x)))).flatten(1)),
        **{"same": nn.Conv2d(3, 3, 3, padding=1), "linear": nn.Linear(192, 3)},
    )
    expected = [
        torch.linalg.matrix_norm(matrix(network.same, torch.Size(SHAPE)), 2).item(),
        torch.linalg.matrix_norm(network.linear.weight, 2).item(),
    ]
    assert spectral_norms(fold_batch_norm(network)) == pytest.approx(expected, rel=1e-9)
    found = measure(network, ["parameter_norm", "spectral_sum"])
    expected_norm = squares(network.same.weight) + squares(network.linear.weight)
    assert found["parameter_norm"] == pytest.approx(expected_norm, rel=1e-12)
    assert found["spectral_sum"] == pytest.approx(2 * expected[0] * expected[1], rel=1e-9)


def test_products_and_sums_over_layers():
    logs = [math.log(norm) for norm in (2.0, 0.5, 6.0)]
    assert log_product(logs) == pytest.approx(math.log(36))
    logs = [math.log(norm) for norm in (2.0, 8.0)]
    assert sum_over_layers(logs) == pytest.approx(32)  # 2 (4 * 64)^(1/2)
    assert sum_over_layers([math.log(3)]) == pytest.approx(9)


def test_no_product_of_many_layers_overflows():
    logs = [math.log(1e10)] * 200
    assert log_product(logs) == pytest.approx(400 * math.log(1e10))
    assert sum_over_layers(logs) == pytest.approx(200 * 1e20)


def test_norms_are_the_published_formulas_of_the_weights_folded_by_hand():
    network = convolutional()
    spectral = [torch.linalg.matrix_norm(matrix(*layer), 2).item() for layer in layers(network)]
    frobenius = [math.sqrt(squares(weight)) for weight in weights_by_hand(network)]
    expected = {
        "parameter_norm": sum(norm**2 for norm in frobenius),
        "log_spectral_product": math.log(math.prod(norm**2 for norm in spectral)),
        "spectral_sum": 5 * math.prod(norm**2 for norm in spectral) ** (1 / 5),
        "log_frobenius_product": math.log(math.prod(norm**2 for norm in frobenius)),
        "frobenius_sum": 5 * math.prod(norm**2 for norm in frobenius) ** (1 / 5),
    }
    assert measure(network, expected) == pytest.approx(expected, rel=1e-9)


def test_the_distance_from_the_initialisation_is_that_of_the_folded_weights():
    network, origin = convolutional(seed=0), convolutional(seed=1)
    pairs = zip(weights_by_hand(network), weights_by_hand(origin), strict=True)
    expected = sum(
        (a - b) ** 2 for w, w0 in pairs for a, b in zip(w.flatten(), w0.flatten(), strict=True)
    ).item()
    name = "distance_from_initialisation"
    assert measure(network, [name], origin=origin) == pytest.approx({name: expected}, rel=1e-12)
    assert measure(network, [name], origin=convolutional(seed=0)) == {name: 0.0}


def test_how_a_batch_norm_is_written_does_not_matter():
    # thrice the convolution, and statistics that say so: the same function
    network, other = convolutional(), convolutional()
    with torch.no_grad():
        for tensor in (other[0].weight, other[0].bias, other[1].running_mean):
            tensor.mul_(3)
        other[1].running_var.copy_(9 * (network[1].running_var + network[1].eps) - network[1].eps)
    names = [name for name in MEASURES if name not in OF_GRADIENTS]  # the gradient is of what is written
    origin = convolutional(seed=1)
    found, expected = measure(other, names, origin=origin), measure(network, names, origin=origin)
    assert found == pytest.approx(expected, rel=1e-9)
    assert len(found) == len(names)


def all_paths(*matrices: Tensor) -> float:
    """The sum over all paths from any input to any output of the product of squared weights on the way."""
    sizes = [matrices[0].shape[1], *(len(m) for m in matrices)]
    squared = [m.square().tolist() for m in matrices]
    return math.fsum(
        math.prod(squared[k][path[k + 1]][path[k]] for k in range(len(squared)))
        for path in product(*(range(size) for size in sizes))
    )


def test_path_norm_of_a_perceptron_is_the_sum_over_all_paths():
    widths = (12, 4, 5, 3)
    linear = [nn.Linear(a, b, bias=False) for a, b in pairwise(widths)]
    network = chain(nn.Flatten(), linear[0], nn.ReLU(), linear[1], nn.ReLU(), linear[2], shape=(3, 2, 2))
    expected = all_paths(*(layer.weight for layer in linear))
    assert sum_over_paths(fold_batch_norm(network)) == pytest.approx(expected, rel=1e-12)
    assert measure(network, ["path_norm"])["path_norm"] == pytest.approx(expected, rel=1e-12)


def test_path_norm_of_an_mlp_of_one_channel_is_the_sum_over_all_paths():
    network = build(3, model_type="MLP", depth=2, width=4, input_size=3, channels=1).double()
    for layer in (*network.hidden[::2], network.classifier):
        nn.init.zeros_(layer.bias)
    expected = all_paths(*(layer.weight.detach() for layer in (*network.hidden[::2], network.classifier)))
    assert sum_over_paths(fold_batch_norm(network)) == pytest.approx(expected, rel=1e-12)


def test_a_bias_is_a_path_from_an_input_of_its_own():
    network = chain(nn.Flatten(), nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 3), shape=(3, 2, 2))
    first, second = network[1], network[3]
    # an input of one that only the bias reads, handed on by a unit that only the next bias reads
    a = torch.zeros(5, 13, dtype=torch.float64)
    a[:4, :12], a[:4, 12], a[4, 12] = first.weight.detach(), first.bias.detach(), 1
    b = torch.cat([second.weight.detach(), second.bias.detach()[:, None]], 1)
    assert sum_over_paths(fold_batch_norm(network)) == pytest.approx(all_paths(a, b), rel=1e-12)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_path_norm_of_convolutions_is_the_sum_over_all_paths(batch_norm):
    norm = [nn.BatchNorm2d(3)] if batch_norm else []
    convolution = nn.Conv2d(2, 3, 3, padding=1, bias=False)
    network = chain(
        convolution, *norm, nn.ReLU(), nn.Flatten(), nn.Linear(27, 4, bias=False), shape=(2, 3, 3)
    )
    first, second = (matrix(*layer) for layer in layers(network))
    expected = all_paths(first, second)
    if batch_norm:  # and from what it adds
        shift = network[:2](torch.zeros(1, 2, 3, 3, dtype=torch.float64)).detach().flatten()[:, None]
        expected += all_paths(shift, second)
    assert sum_over_paths(fold_batch_norm(network)) == pytest.approx(expected, rel=1e-12)


def test_a_shortcut_is_a_path_too():
    network = Net(
        lambda s, x: s.linear(F.relu(x + s.b(F.relu(s.a(x)))).flatten(1)),
        shape=(2, 2, 2),
        a=nn.Conv2d(2, 3, 3, padding=1, bias=False),
        b=nn.Conv2d(3, 2, 1, bias=False),
        linear=nn.Linear(8, 3, bias=False),
    )
    a, b = matrix(network.a, torch.Size((2, 2, 2))), matrix(network.b, torch.Size((3, 2, 2)))
    last = network.linear.weight
    expected = all_paths(last) + all_paths(a, b, last)
    assert sum_over_paths(fold_batch_norm(network)) == pytest.approx(expected, rel=1e-12)


def plain_margins(logits: Tensor, labels: Tensor) -> list[float]:
    """By how much the label's logit exceeds the largest of the others, image by image."""
    margins = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        own = row.pop(label)
        margins.append(own - max(row))
    return margins


@pytest.mark.parametrize("count", [1, 7, 100])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_margin_is_the_tenth_percentile(count, dtype):
    stream = torch.Generator().manual_seed(count)
    logits = torch.randn(count, 5, generator=stream, dtype=dtype)
    logits[0, :3] = 10  # a tie
    random = torch.randint(0, 5, (count,), generator=stream)
    for labels in (random, logits.argmax(1), logits.argmin(1)):  # some, none, all on the wrong side
        expected = np.percentile(plain_margins(logits, labels), 10)
        assert margin_quantile(logits, labels) == pytest.approx(expected, rel=1e-6, abs=1e-15)


def test_margins_are_of_the_train_set_and_counted_as_published():
    network = convolutional()
    images = own_labels(network, random_images(9, size=8, classes=3, seed=4))
    train_images = own_labels(network, random_images(50, size=8, classes=3, seed=5))
    with torch.no_grad():
        margin = np.percentile(plain_margins(network(train_images.normalised()), train_images.labels), 10)
    spectral = [torch.linalg.matrix_norm(matrix(*layer), 2).item() for layer in layers(network)]
    expected = {
        "inverse_margin": 1 / margin**2,
        "log_normalised_inverse_margin": math.log(1 / (margin / math.prod(spectral)) ** 2),
    }
    found = measure(network, OF_MARGINS, images=images, train_images=train_images)
    assert found == pytest.approx(expected, rel=1e-9)


def test_confidence_that_is_only_scale_is_not_a_margin():
    # the last layer ten times larger: so are all margins, and so is the product of norms
    network, louder = convolutional(), convolutional()
    with torch.no_grad():
        louder[-1].weight.mul_(10)
    quiet, loud = measure(network, OF_MARGINS), measure(louder, OF_MARGINS)
    assert loud["inverse_margin"] == pytest.approx(quiet["inverse_margin"] / 100, rel=1e-9)
    name = "log_normalised_inverse_margin"
    assert loud[name] == pytest.approx(quiet[name], rel=1e-9)


def gradients(network: nn.Module, images: Images) -> Tensor:
    """Of the loss of each image by itself: (n, omega)."""
    rows = []
    for x, y in zip(images.normalised(), images.labels, strict=True):
        loss = F.cross_entropy(network(x[None]), y[None])
        parts = torch.autograd.grad(loss, list(network.parameters()))
        rows.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(rows)


GRADIENT_CASES = {
    "smooth": (smooth_network, 4),
    "batch norm": (lambda: smooth_network(batch_norm=True), 4),
    "residual": (residual, 8),
    "convolutional": (convolutional, 8),
}


@pytest.mark.parametrize("batch_size", [1, 7, 100])
@pytest.mark.parametrize("name", GRADIENT_CASES)
def test_gradient_norm_and_variance_are_those_of_single_images(name, batch_size):
    make, size = GRADIENT_CASES[name]
    network, images = make(), random_images(19, size=size, classes=3, seed=2)
    each = gradients(network, images)
    mean = each.mean(0)
    landscape = Landscape(network, images, batch_size)
    found = (gradient_square(landscape), mean_square_of_single_gradients(landscape))
    expected = (mean.square().sum().item(), each.square().sum(1).mean().item())
    assert found == pytest.approx(expected, rel=1e-10)
    expected = {
        "gradient_norm": mean.norm().item(),
        "gradient_variance": (each - mean).square().sum(1).mean().item(),
    }
    found = measure(network, OF_GRADIENTS, images=images, batch_size=batch_size)
    assert found == pytest.approx(expected, rel=1e-9)


def test_gradients_are_of_the_landscape_s_images():
    network = smooth_network()
    network.input_shape = (3, 4, 4)
    images, others = (random_images(8, size=4, classes=3, seed=seed) for seed in (2, 3))
    found = measure(network, OF_GRADIENTS, images=images, train_images=others)
    assert found["gradient_norm"] == pytest.approx(gradients(network, images).mean(0).norm().item(), rel=1e-9)


def test_equal_images_have_gradients_without_variance():
    images = random_images(8, size=4, classes=3).take(torch.zeros(6, dtype=torch.int64))
    found = measure(smooth_network(), OF_GRADIENTS, images=images)
    assert 0 <= found["gradient_variance"] < 1e-12 * found["gradient_norm"] ** 2


def left_out(found: dict[str, float], caplog, why: str) -> set[str]:
    """The measures that `found` lacks; that the log says of each `why`, and of no others anything."""
    missing = set(MEASURES) - set(found)
    messages = [record.getMessage() for record in caplog.records if record.name == "fusionscope"]
    assert {message.split(":")[0].removeprefix("no ") for message in messages} == missing
    assert all(why in message for message in messages)
    assert all(math.isfinite(value) for value in found.values())
    return missing


def not_defined(found: dict[str, float | str], why: str, caplog) -> set[str]:
    """The measures that `found` has no number of, all of them for the reason `why`; the log says nothing."""
    missing = {name for name, value in found.items() if isinstance(value, str)}
    assert all(why in found[name] for name in missing)
    assert all(math.isfinite(found[name]) for name in found.keys() - missing)
    assert not caplog.records
    return missing


OF_WEIGHTS = {
    *("parameter_norm", "distance_from_initialisation", "log_spectral_product", "spectral_sum"),
    *("log_frobenius_product", "frobenius_sum", "path_norm", "log_normalised_inverse_margin"),
}


def test_a_network_has_all_measures_in_the_order_they_are_asked_for(caplog):
    network, origin = convolutional(seed=0), convolutional(seed=1)
    found = measure(network, origin=origin)
    assert list(found) == list(MEASURES)
    assert left_out(found, caplog, "") == set()
    some = ["path_norm", "gradient_variance", "parameter_norm", "inverse_margin"]
    again = measure(network, some, origin=origin)
    assert list(again) == some
    assert again == {name: found[name] for name in some}
    assert measure(network, []) == {}


@pytest.mark.parametrize("name", [n for n in NOT_FOLDED if n != "a batch norm after a linear layer"])
def test_a_network_whose_weights_are_not_all_layers_keeps_what_does_not_need_them(name, caplog):
    network = NOT_FOLDED[name]
    found = measure(network, origin=network)
    assert left_out(found, caplog, "has weights of another kind than layers have") == OF_WEIGHTS


def test_a_network_that_cannot_be_traced_keeps_what_does_not_need_it(caplog):
    found = measure(SHAPE_DEPENDENT, origin=SHAPE_DEPENDENT)
    assert left_out(found, caplog, "torch.fx cannot trace the network") == OF_WEIGHTS


def test_a_network_whose_way_depends_on_numbers_has_a_gradient_but_not_of_single_images(caplog):
    network = Net(lambda s, x: s.linear(x.flatten(1)) * (1 if x.sum() > 0 else 2), linear=nn.Linear(192, 3))
    found = measure(network, OF_GRADIENTS)
    assert list(found) == list(OF_GRADIENTS)
    assert found["gradient_norm"] > 0
    assert found["gradient_variance"].startswith("no gradients of single images can be had")
    assert not caplog.records


def test_without_initial_weights_there_is_no_distance_from_them(caplog):
    missing = not_defined(measure(convolutional()), "its initial weights are not known", caplog)
    assert missing == {"distance_from_initialisation"}


@pytest.mark.parametrize("layer", [2, 4])
def test_a_layer_of_zeros_has_no_logarithm(layer, caplog):
    network = chain(
        *(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten()),
        *(nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, 3)),
    )
    nn.init.zeros_(network[layer].weight)
    found = measure(network, origin=network)
    assert not_defined(found, "a layer has no weights other than zero", caplog) == {
        *("log_spectral_product", "spectral_sum", "log_frobenius_product", "frobenius_sum"),
        "log_normalised_inverse_margin",
    }
    assert found["parameter_norm"] > 0


def test_a_network_that_is_often_wrong_has_no_margin(caplog):
    network = convolutional()
    images = own_labels(network, random_images(20, size=8, classes=3, seed=4))
    wrong = replace(images, labels=torch.cat([(images.labels[:4] + 1) % 3, images.labels[4:]]))
    found = measure(network, images=wrong, origin=network)
    why = "a tenth of the train set or more is not correct"
    assert not_defined(found, why, caplog) == {*OF_MARGINS}
    # one of twenty may be wrong
    right = replace(images, labels=torch.cat([wrong.labels[:1], images.labels[1:]]))
    assert not_defined(measure(network, OF_MARGINS, images=right), why, caplog) == set()


@pytest.mark.parametrize("model_type", ["VGG11", "RESNET18"])
def test_measuring_leaves_the_networks_as_they_were(model_type):
    network, origin = (randomise(build(10, model_type=model_type, width=WIDTH), s).float() for s in (1, 2))
    images = own_labels(network, random_images(6, dtype=torch.float32))
    before = [{k: t.clone() for k, t in n.state_dict().items()} for n in (network, origin)]
    found = measure(network, images=images, origin=origin)
    assert list(found) == list(MEASURES)
    for after, then in zip((network, origin), before, strict=True):
        assert all(torch.equal(tensor, then[name]) for name, tensor in after.state_dict().items())
        assert all(p.grad is None and p.requires_grad for p in after.parameters())
    assert measure(network, images=images, origin=origin) == found


def test_a_measure_of_one_s_own_is_a_function_of_the_subject(tmp_path, monkeypatch):
    (tmp_path / "own_measures.py").write_text(
        "def layers(subject):\n    return float(len(subject.weights))\n"
    )
    monkeypatch.chdir(tmp_path)
    measures = load_measures({"layers": "own_measures:layers", "path_norm": COMPLEXITY["path_norm"]})
    network = convolutional()
    subject = Subject(
        Landscape(network, random_images(4, size=8, classes=3), 4), random_images(4, size=8), None
    )
    found = measure_complexity(measures, subject)
    assert list(found) == ["layers", "path_norm"]
    assert found["layers"] == Measurement(5.0)
