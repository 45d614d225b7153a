"""Weight matching: against all permutations, and where its descent ends."""

from itertools import permutations, product

import networks_for_fusion as nets
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fusionscope.alignment.move import move
from fusionscope.fusion.fuse import fuse
from fusionscope.fusion.pair import Pair
from fusionscope.fusion.steps import match_neurons
from fusionscope.fusion.weight_matching import WeightProducts


class TwoLayers(nn.Module):
    def __init__(self, width: int, deep: int):
        super().__init__()
        self.first = nn.Linear(3, width)
        self.second = nn.Linear(width, deep)
        self.out = nn.Linear(deep, 2)

    def forward(self, x):
        return self.out(F.relu(self.second(F.relu(self.first(x.mean((2, 3)))))))


def objective(a, b, first: np.ndarray, second: np.ndarray) -> float:
    moved = {
        "first.weight": a["first.weight"][first],
        "first.bias": a["first.bias"][first],
        "second.weight": a["second.weight"][second][:, first],
        "second.bias": a["second.bias"][second],
        "out.weight": a["out.weight"][:, second],
        "out.bias": a["out.bias"],
    }
    return sum((moved[name] * b[name]).sum().item() for name in b)


@pytest.mark.parametrize("seed", range(6))
def test_weight_matching_finds_the_best_of_all_permutations(seed):
    network = TwoLayers(4, 3).double()
    a, b = nets.drawn(network, 10 + seed), nets.drawn(network, 50 + seed)
    orders = product(permutations(range(4)), permutations(range(3)))
    best = max(objective(a, b, np.array(first), np.array(second)) for first, second in orders)
    match = match_neurons("weight_matching", Pair(network, network, a, b), images=None, seed=seed, starts=20)
    found = objective(a, b, *(map_.permutation.numpy() for map_ in match.maps))
    assert found == pytest.approx(best, rel=1e-12)


def reached(pair: Pair, starts: int, seed: int = 0) -> float:
    match = match_neurons("weight_matching", pair, images=None, seed=seed, starts=starts)
    moved = move(pair.a, pair.groups_a, pair.groups_b, match.maps, like=pair.b)
    return sum((moved[name] * pair.b[name]).sum().item() for name in pair.learned)


@pytest.mark.parametrize("name", ["VGG11", "RESNET18", "own", "mobilenet"])
def test_more_starts_are_never_worse_and_all_beat_no_matching(name):
    pair = nets.pair_of(name)
    found = [reached(pair, starts) for starts in (1, 2, 4)]
    before = sum((pair.a[key] * pair.b[key]).sum().item() for key in pair.learned)
    assert before < found[0] <= found[1] <= found[2]


@pytest.mark.parametrize("name", ["RESNET18", "own", "efficientnet"])
def test_weight_matching_ends_where_no_group_can_raise_the_sum(name):
    pair = nets.pair_of(name)
    match = match_neurons("weight_matching", pair, images=None, seed=3)
    similarity = WeightProducts(pair)

    def total(maps) -> float:
        return sum(similarity.product(key, maps) for key in pair.learned)

    best = total(match.maps)
    for index in range(len(match.maps)):
        again = similarity.best_map(index, match.maps)
        assert total([*match.maps[:index], again, *match.maps[index + 1 :]]) < best + 1e-5 * abs(best)


def test_weight_matching_leaves_statistics_of_batch_norm_out():
    """They are no learned parameters: others make the same matching."""
    network, a, b = nets.network_of("VGG11"), nets.weights_of("VGG11", 1), nets.weights_of("VGG11", 2)
    other = {name: t + 1 if "running" in name else t for name, t in a.items()}
    one, two = (fuse([network] * 2, [w, b], method="weight_matching").couplings[0] for w in (a, other))
    assert all(torch.equal(*both) for both in zip(one, two, strict=True))


def test_the_seed_drives_weight_matching_and_nothing_else_does():
    pair = nets.pair_of("RESNET18")
    torch.manual_seed(1)
    one = match_neurons("weight_matching", pair, images=None, seed=5)
    torch.manual_seed(2)
    again = match_neurons("weight_matching", pair, images=None, seed=5)
    assert all(torch.equal(x.permutation, y.permutation) for x, y in zip(one.maps, again.maps, strict=True))
