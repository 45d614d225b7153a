"""Alignment by weights: costs and masses computed another way, and where its passes end."""

import networks_for_fusion as nets
import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import nn
from torch.nn import functional as F

from fusionscope.fusion.by_weights import GROUND_METRICS, METRICS_ALONG, ROWS, WeightCosts, unit_rows
from fusionscope.fusion.pair import Pair, permutation_map
from fusionscope.fusion.steps import match_neurons

WEIGHTS = {"align_by": "weights", "solver": "exact"}


# Ground metrics


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_ground_metrics_are_scipys_distances(metric):
    a, b = nets.rows(1, 5), nets.rows(2, 8)
    b[:2] = 3 * a[:2]  # after scaling the same: a root of rounding, 3e-8, may be left
    found = GROUND_METRICS[metric](unit_rows(a), unit_rows(b)).numpy()
    unit_a, unit_b = (part / part.norm(dim=1, keepdim=True) for part in (a, b))
    expected = cdist(unit_a, unit_b, metric)
    apart = expected > 1e-3
    assert (~apart).sum() == 2
    assert np.abs(found - expected)[apart].max() < 1e-13
    assert found[~apart].max() < 1e-7
    along = METRICS_ALONG[metric](unit_rows(a), unit_rows(b)[:5]).numpy()
    assert along == pytest.approx(expected.diagonal(), abs=1e-13)


def test_rows_of_zeros_stay_zero():
    assert unit_rows(torch.tensor([[0.0, 0.0], [3.0, 4.0]])).tolist() == [[0.0, 0.0], [0.6, 0.8]]


def test_both_sides_add_the_readers_and_hold_class_outputs_fixed():
    """The last group of VGG11: its convolution's rows and the classifier's columns, class by class."""
    pair = nets.pair_of("VGG11_NOBIAS_NOBN")
    costs = WeightCosts(pair, "euclidean", "both", "unit")
    orders = [torch.randperm(n, generator=torch.Generator().manual_seed(n)) for n in costs.sizes]
    found = costs.matrix(7, [permutation_map(order) for order in orders]).numpy()
    a, b = ({name: tensor.numpy() for name, tensor in weights.items()} for weights in (pair.a, pair.b))

    def unit(part: np.ndarray) -> np.ndarray:
        part = part.reshape(len(part), -1)
        return part / np.linalg.norm(part, axis=1, keepdims=True)

    incoming = cdist(unit(a["features.18.weight"][:, orders[6]]), unit(b["features.18.weight"]))
    outgoing = cdist(unit(a["classifier.weight"].T), unit(b["classifier.weight"].T))
    assert np.abs(found - (incoming + outgoing)).max() < 1e-12
    only = WeightCosts(pair, "euclidean", "incoming", "unit").matrix(7, [permutation_map(o) for o in orders])
    assert np.abs(only.numpy() - incoming).max() < 1e-12


@pytest.mark.parametrize("name", ["VGG11_NOBIAS_NOBN", "RESNET18_NOBN"])
def test_costs_of_raw_rows_are_the_distances_of_the_weights_themselves(name):
    """Of a group with one writer: its rows in A, their inputs moved, against those in B."""
    pair = nets.pair_of(name)
    costs = WeightCosts(pair, "euclidean", "incoming", "raw")
    orders = [torch.randperm(n, generator=torch.Generator().manual_seed(n)) for n in costs.sizes]
    maps = [permutation_map(order) for order in orders]
    single = {
        "VGG11_NOBIAS_NOBN": (
            7,
            "features.18",
            6,
        ),  # number of the group, its writer, the group that it reads
        "RESNET18_NOBN": (1, "layer1.0.conv1", 0),
    }
    index, writer, before = single[name]
    assert [one.parameter for one, _ in costs.members[index]] == [f"{writer}.weight"]
    a, b = (weights[f"{writer}.weight"].double() for weights in (pair.a, pair.b))
    expected = cdist(a[:, orders[before]].flatten(1).numpy(), b.flatten(1).numpy())
    assert costs.matrix(index, maps).numpy() == pytest.approx(expected, rel=1e-10)
    assert costs.lengths[index] == pytest.approx(b.flatten(1).norm(dim=1).sum().item(), rel=1e-6)
    along = expected[orders[index], np.arange(len(expected))].sum()
    assert costs.total(index, maps, ()) == pytest.approx(along, rel=1e-10)


def test_raw_rows_tell_neurons_apart_that_differ_in_size_alone():
    a, b = torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([[3.0, 0.0], [1.0, 0.0]])
    assert GROUND_METRICS["euclidean"](ROWS["raw"](a), ROWS["raw"](b)).tolist() == [[2.0, 0.0], [0.0, 2.0]]
    assert not GROUND_METRICS["euclidean"](ROWS["unit"](a), ROWS["unit"](b)).any()


def test_importance_by_weights_is_the_share_of_the_norms_of_incoming_weights():
    pair = nets.pair_of("RESNET18")
    found, _ = WeightCosts(pair, "euclidean", "incoming", "unit").masses(0, "importance")
    writers = ("conv1", "layer1.0.conv2", "layer1.1.conv2")  # of the first residual stream
    norms = sum(
        np.linalg.norm(pair.a[f"{w}.weight"].numpy().reshape(found.shape[0], -1), axis=1) for w in writers
    )
    assert found.numpy() == pytest.approx(norms / norms.sum(), rel=1e-5)


# Passes


NAMES = ("VGG11", "RESNET18", "RESNET18_NOBIAS_NOBN", *nets.SMALL)


@pytest.mark.parametrize(("sides", "rows"), [("incoming", "unit"), ("both", "unit"), ("incoming", "raw")])
@pytest.mark.parametrize("name", NAMES)
def test_passes_end_where_no_group_can_be_solved_better(name, sides, rows):
    """Also those groups that the last passes left out as nothing about them had changed."""
    pair = nets.pair_of(name)
    match = match_neurons("optimal_transport", pair, images=None, seed=0, sides=sides, rows=rows, **WEIGHTS)
    costs = WeightCosts(pair, "euclidean", sides, rows)

    def total(maps) -> float:
        couplings = [map_.writer_map / len(map_.writer_map) for map_ in maps]
        return sum(costs.total(i, maps, couplings) for i in range(len(costs)))

    best = total(match.maps)
    for index in range(len(costs)):
        matrix = costs.matrix(index, match.maps)
        assert torch.allclose(matrix, match.costs[index], atol=1e-12)  # the costs are those at the end
        again = permutation_map(torch.as_tensor(nearest(matrix)))
        candidate = [*match.maps[:index], again, *match.maps[index + 1 :]]
        assert total(candidate) > best - 2e-6 * sum(costs.lengths)


def nearest(cost: torch.Tensor) -> np.ndarray:
    """The neuron of A for each of B."""
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment(cost.numpy().T)[1]


@pytest.mark.parametrize("name", ["RESNET18", "bottlenecks", "mobilenet", "efficientnet", "own"])
def test_later_passes_lower_the_total_cost_of_the_first(name):
    pair = nets.pair_of(name)
    match = match_neurons("optimal_transport", pair, images=None, seed=0, **WEIGHTS)
    costs = WeightCosts(pair, "euclidean", "incoming", "unit")
    first = [None] * len(costs)
    for index in range(len(costs)):
        first[index] = permutation_map(torch.as_tensor(nearest(costs.matrix(index, first))))
    before, after = (sum(costs.total(i, maps, ()) for i in range(len(costs))) for maps in (first, match.maps))
    assert match.passes > 1
    assert after < before + 1e-9


class Itself(nn.Module):
    """A layer that reads and writes one group: x + conv(x)."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 7, 3)
        self.loop = nn.Conv2d(7, 7, 3, padding=1)
        self.out = nn.Linear(7, 4)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = F.relu(x + self.loop(x))
        return self.out(x.mean((2, 3)))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("method", "options"),
    [("optimal_transport", WEIGHTS), ("weight_matching", {})],
    ids=["transport", "descent"],
)
def test_a_layer_that_reads_its_own_output_group_ends_and_is_found_in_a_copy(method, options, seed):
    network = Itself().double()
    a, b = nets.drawn(network, 2 * seed), nets.drawn(network, 2 * seed + 1)
    unrelated = match_neurons(method, Pair(network, network, a, b), images=None, seed=0, **options)
    assert 1 < unrelated.passes < 50
    copy, orders = nets.permuted(network, a, seed)
    match = match_neurons(method, Pair(network, network, a, copy), images=None, seed=0, **options)
    assert torch.equal(match.maps[0].permutation, orders[0])
