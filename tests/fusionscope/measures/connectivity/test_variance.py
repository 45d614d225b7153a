"""The variance of a child's activations over its parents', against closed forms and by hand."""

import cases
import numpy as np
import pytest
import torch
from measure_cases import random_images, randomise, smooth_network
from torch import Tensor, nn

from fusionscope.errors import InputError
from fusionscope.fusion.repair import repaired_mean
from fusionscope.measurement import Measurement, undefined
from fusionscope.measures.connectivity.variance import (
    NO_LAYERS,
    VARIANCE_COLUMNS,
    LayerVariance,
    compare,
    layer_variances,
    mean_ratio,
    variance_rows,
)
from fusionscope.networks.biases import give_biases
from fusionscope.weights import Weights, combine

IMAGES = random_images(40, size=4, classes=3, seed=1)
METRIC = "activation_variance_ratio"


def linear_network(seed: int, bias: bool = True) -> nn.Module:
    """Three linear layers without activation functions; two of them are hidden."""
    layers = [nn.Flatten(), nn.Linear(48, 30, bias), nn.Linear(30, 20, bias), nn.Linear(20, 3, bias)]
    network = randomise(nn.Sequential(*layers), seed)
    network.input_shape = (3, 4, 4)
    return network


def compared(network: nn.Module, child: Weights, *parents: Weights) -> list[LayerVariance]:
    found = [layer_variances(network, weights, IMAGES, 7) for weights in (child, *parents)]
    return compare(found[0], found[1:])


def by_numpy(*weights: np.ndarray) -> float:
    """The mean variance of what a product of weights puts out: tr W C W^T, C the covariance of the inputs."""
    product = weights[0]
    for weight in weights[1:]:
        product = weight @ product
    x = IMAGES.normalised().flatten(1).numpy()
    return np.trace(product @ np.cov(x.T, bias=True) @ product.T) / len(product)


def hidden(weights: Weights) -> tuple[np.ndarray, np.ndarray]:
    return weights["1.weight"].numpy(), weights["2.weight"].numpy()


def test_the_average_of_linear_layers_has_its_closed_form():
    """tr(W C W^T) of the mean W over the mean of the same of both; biases count nothing."""
    network = linear_network(0)
    a, b = (linear_network(seed).state_dict() for seed in (1, 2))
    first, second = compared(network, combine([a, b], [0.5, 0.5]), a, b)
    (a1, a2), (b1, b2) = hidden(a), hidden(b)
    m1, m2 = (a1 + b1) / 2, (a2 + b2) / 2
    assert (first.layer, second.layer) == ("1", "2")
    expected = by_numpy(m1), (by_numpy(a1) + by_numpy(b1)) / 2
    assert (first.child, first.parents) == pytest.approx(expected, rel=1e-10)
    expected = by_numpy(m1, m2), (by_numpy(a1, a2) + by_numpy(b1, b2)) / 2
    assert (second.child, second.parents) == pytest.approx(expected, rel=1e-10)
    assert 0.35 < first.ratio < 0.65  # of independent weights a half is expected, and of two layers a quarter
    assert 0.15 < second.ratio < 0.35


def test_a_child_that_is_its_parents_has_exactly_one():
    network = smooth_network(batch_norm=True)
    weights = network.state_dict()
    found = compared(network, weights, weights, weights)
    assert found
    assert all(each.ratio == 1 for each in found)
    assert mean_ratio(found) == {METRIC: Measurement(1.0)}


def test_weights_times_s_vary_s_squared_times_as_much_from_there_on():
    network = linear_network(0)
    weights = network.state_dict()
    child = weights | {"2.weight": 3 * weights["2.weight"]}
    first, second = compared(network, child, weights)
    assert first.ratio == 1
    assert second.ratio == pytest.approx(9, rel=1e-12)
    assert mean_ratio([first, second])[METRIC].value == pytest.approx(3, rel=1e-12)


def test_layers_are_seen_before_their_activation_function_and_batch_norms_behind_themselves():
    network = smooth_network(batch_norm=True)
    found = layer_variances(network, network.state_dict(), IMAGES, 40)
    with torch.no_grad():
        normalised = network[:2](IMAGES.normalised())
        linear = network[:5](IMAGES.normalised())
    assert list(found) == ["1", "4"]  # the last layer makes the outputs
    assert found["1"] == pytest.approx(normalised.var((0, 2, 3), correction=0).mean().item(), rel=1e-12)
    assert found["4"] == pytest.approx(linear.var(0, correction=0).mean().item(), rel=1e-12)


class NormLast(nn.Module):
    """Modules in another order than they are called in."""

    def __init__(self):
        super().__init__()
        self.norm, self.second = nn.BatchNorm2d(4), nn.Linear(16, 8)
        self.first, self.last = nn.Conv2d(3, 4, 3), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.second(torch.tanh(self.norm(self.first(x))).flatten(1))))


def test_layers_come_in_the_order_of_the_forward_pass():
    network = randomise(NormLast(), 0)
    network.input_shape = (3, 4, 4)
    assert list(layer_variances(network, network.state_dict(), IMAGES, 7)) == ["norm", "second"]


def test_the_batch_size_does_not_matter_and_the_network_is_left_as_it_was():
    network = linear_network(0).train()
    weights = linear_network(1).state_dict()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    one, other = (layer_variances(network, weights, IMAGES, size) for size in (7, 40))
    assert one == pytest.approx(other, rel=1e-12)
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("model_type", ["VGG11_NOBN", "VGG11_NOBIAS_NOBN", "RESNET18_NOBN"])
def test_the_mean_of_trained_parents_collapses_and_repair_undoes_it(model_type):
    network = cases.network_of(model_type)
    images = cases.digits()["test"]
    parents = [cases.trained_weights(model_type, parent) for parent in (1, 2)]
    biased = cases.network_of(model_type)
    give_biases(biased)
    of_parents = [layer_variances(network, parent, images, 256) for parent in parents]
    naive = layer_variances(network, combine(parents, (0.5, 0.5)), images, 256)
    repaired = layer_variances(biased, repaired_mean(network, parents, (0.5, 0.5), images), images, 256)
    collapsed, sound = (mean_ratio(compare(child, of_parents))[METRIC].value for child in (naive, repaired))
    assert collapsed < 0.5
    # repair takes the mean of the standard deviations: of channels that are not alike a little less than 1
    assert 0.8 < sound <= 1 + 1e-6


def test_parents_that_do_not_vary_leave_no_ratio_and_a_child_that_does_not_has_zero():
    layers = [LayerVariance("a", 0.5, 2.0), LayerVariance("b", 0.5, 0.0), LayerVariance("c", 4.0, 1.0)]
    assert [each.ratio for each in layers] == [0.25, None, 4.0]
    assert mean_ratio(layers)[METRIC].value == pytest.approx(1)
    assert mean_ratio([*layers, LayerVariance("d", 0.0, 1.0)]) == {METRIC: Measurement(0.0)}
    assert mean_ratio(layers[1:2]) == mean_ratio([]) == {METRIC: undefined(NO_LAYERS)}
    rows = variance_rows(layers, seed=1, model="child")
    assert [tuple(row) for row in rows] == [VARIANCE_COLUMNS] * 3
    assert [row["ratio"] for row in rows] == [0.25, "", 4.0]


def test_rounding_is_no_variance():
    network = linear_network(0).float()
    weights = dict(network.state_dict())
    weights["1.weight"] = torch.zeros(30, 48)
    found = layer_variances(network, weights, IMAGES, 7)
    assert found == {"1": 0.0, "2": 0.0}


def test_outputs_that_are_not_finite_end_it_in_a_sentence():
    network = linear_network(0)
    weights = {name: 1e200 * tensor for name, tensor in network.state_dict().items()}
    with pytest.raises(InputError, match="outputs are not finite on 40 of 40 images"):
        layer_variances(network, weights, IMAGES, 7)
