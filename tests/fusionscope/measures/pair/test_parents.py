"""The parents of a seed beside each other: parents_cka and what joins the metrics."""

import networks_for_fusion as nets
import numpy as np
import pytest
import torch
from measure_cases import random_images, randomise
from torch import nn

from fusionscope.errors import InputError
from fusionscope.measures.pair.pairs import DIFFERENT_SHAPES, all_pairs
from fusionscope.measures.pair.parents import measure_parents, similarity
from fusionscope.state import copy_of
from fusionscope.weights import set_weights

IMAGES = random_images(24, size=4, classes=3)


def measured(parents):
    return measure_parents(
        parents, train_images=IMAGES, similarity_images=IMAGES, test_images=IMAGES, batch_size=8
    )


def mlp(seed: int, units: int = 6) -> nn.Module:
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, units), nn.Tanh(), nn.Linear(units, 3))
    network.input_shape = (3, 4, 4)
    return randomise(network, seed)


def debiased_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Song et al. 2012's unbiased HSIC, term by term as it is printed, from activations (n, features)."""

    def hsic(k: np.ndarray, q: np.ndarray) -> float:
        n, one = len(k), np.ones(len(k))
        k, q = k - np.diag(np.diag(k)), q - np.diag(np.diag(q))
        sums = np.trace(k @ q) + (one @ k @ one) * (one @ q @ one) / (n - 1) / (n - 2)
        return (sums - 2 * (one @ k @ q @ one) / (n - 2)) / n / (n - 3)

    k, q = x @ x.T, y @ y.T
    return hsic(k, q) / np.sqrt(hsic(k, k) * hsic(q, q))


def test_cka_of_parents_with_a_hidden_layer_is_that_of_its_activations_by_hand():
    parents = [mlp(1), mlp(2, units=9), mlp(3)]
    hidden = [parent[:3](IMAGES.normalised()).detach().numpy() for parent in parents]
    each = [debiased_cka(hidden[p], hidden[q]) for p, q in ((0, 1), (0, 2), (1, 2))]
    assert similarity(parents, all_pairs(3), IMAGES, 8).value == pytest.approx(np.mean(each), rel=1e-8)


@pytest.mark.parametrize("name", ["VGG11", "RESNET18"])
def test_a_permuted_copy_has_a_cka_of_one_and_answers_alike(name):
    network, weights = nets.network_of(name), nets.weights_of(name, 1)
    copy, _ = nets.permuted(network, weights, 3)
    parents = []
    for each in (weights, copy):
        parents.append(copy_of(network).double().eval())
        set_weights(parents[-1], each)
    images = random_images(12)
    found = measure_parents(
        parents, train_images=images, similarity_images=images, test_images=images, batch_size=8
    )
    assert found["parents_cka"].value == pytest.approx(1, abs=1e-9)
    assert found["parents_disagreement"].value == 0
    assert found["parents_loss_difference"].value == pytest.approx(0, abs=1e-10)
    assert found["parents_weight_distance"].value > 0.1
    assert found["parents_gradient_cosine"].value < 0.9


def test_equal_parents_are_alike_in_all():
    found = {name: number.value for name, number in measured([mlp(1)] * 2).items()}
    assert found == pytest.approx(
        {
            "parents_gradient_cosine": 1,
            "parents_cka": 1,
            "parents_disagreement": 0,
            "parents_loss_difference": 0,
            "parents_weight_distance": 0,
        },
        abs=1e-12,
    )


def test_the_order_of_the_parents_changes_nothing():
    parents = [mlp(seed) for seed in (1, 2, 3)]
    one, other = measured(parents), measured(parents[::-1])
    assert list(one) == list(other)
    for name in one:
        assert other[name].value == pytest.approx(one[name].value, rel=1e-9)


def test_of_parents_of_different_widths_all_is_known_but_what_goes_by_their_weights():
    found = measured([mlp(1), mlp(2, units=9)])
    undefined = {name: number.reason for name, number in found.items() if number.value is None}
    assert undefined == dict.fromkeys(
        ["parents_gradient_cosine", "parents_weight_distance"], DIFFERENT_SHAPES
    )


def test_networks_that_cannot_be_traced_have_no_cka_and_all_else(caplog):
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.input_shape = nn.Linear(48, 3), (3, 4, 4)

        def forward(self, x):
            return self.layer(x.flatten(1)) if x.sum() < 1e9 else x

    found = measured([randomise(Branching(), seed) for seed in (1, 2)])
    assert {name for name, number in found.items() if number.value is None} == {"parents_cka"}
    assert found["parents_cka"].reason == "no group of neurons can be compared"
    assert "no similarity of the parents" in caplog.text


def test_outputs_that_are_not_finite_are_refused():
    broken = mlp(2)
    with torch.no_grad():
        broken[1].weight[0, 0] = torch.nan
    with pytest.raises(InputError, match="its outputs are not finite"):
        measured([mlp(1), broken])
