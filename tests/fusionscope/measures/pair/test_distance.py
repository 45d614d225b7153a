"""parents_weight_distance, in all and by layer."""

import math

import numpy as np
import pytest
import torch
from measure_cases import randomise, smooth_network
from torch import nn

from fusionscope.measures.pair.distance import (
    DISTANCE_COLUMNS,
    NO_WEIGHTS,
    NOT_FINITE,
    LayerDistance,
    distance_rows,
    layer_distances,
    learned,
    mean_distance,
    relative_distance,
    weight_distance,
)
from fusionscope.measures.pair.pairs import DIFFERENT_SHAPES, all_pairs
from fusionscope.weights import weights_of


def one_tensor(*numbers: float) -> dict[str, torch.Tensor]:
    return {"w": torch.tensor(numbers, dtype=torch.float64)}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((3, 0), (0, 4), 1),  # orthogonal: 5 / 5
        ((1, 2), (1, 2), 0),
        ((1, 2), (-1, -2), math.sqrt(2)),
        ((2, 0), (1, 0), 1 / math.sqrt(5)),
        ((0, 0), (1, 0), 1),
    ],
)
def test_the_distance_of_weights_by_hand(one, other, expected):
    for scale in (1, 1e-3, 1e6):
        a, b = (one_tensor(*(scale * number for number in numbers)) for numbers in (one, other))
        assert relative_distance(a, b, ["w"]) == pytest.approx(expected, rel=1e-14)
        assert relative_distance(b, a, ["w"]) == relative_distance(a, b, ["w"])


def test_the_distance_of_networks_is_numpy_s_and_leaves_running_statistics_out():
    networks = [smooth_network(batch_norm=True, seed=seed) for seed in (1, 2, 3)]
    flat = [
        np.concatenate([p.detach().numpy().ravel() for p in network.parameters()]) for network in networks
    ]
    each = [
        np.linalg.norm(flat[p] - flat[q]) / np.hypot(np.linalg.norm(flat[p]), np.linalg.norm(flat[q]))
        for p, q in ((0, 1), (0, 2), (1, 2))
    ]
    assert weight_distance(networks, all_pairs(3)).value == pytest.approx(np.mean(each), rel=1e-12)
    assert weight_distance(networks[:2], [(0, 1)]).value == pytest.approx(each[0], rel=1e-12)
    assert weight_distance(networks[:2], [(0, 1)]).std_error is None
    networks[0][1].running_mean += 1
    assert weight_distance(networks[:2], [(0, 1)]).value == pytest.approx(each[0], rel=1e-12)


def test_networks_of_different_widths_have_none():
    found = weight_distance([nn.Linear(2, 3), nn.Linear(2, 4)], [(0, 1)])
    assert (found.value, found.reason) == (None, DIFFERENT_SHAPES)


def test_without_weights_or_with_zeros_alone_there_is_none():
    assert weight_distance([nn.ReLU(), nn.ReLU()], [(0, 1)]).reason == NO_WEIGHTS
    assert relative_distance(one_tensor(0, 0), one_tensor(0, 0), ["w"]) is None
    assert mean_distance([0.5, None]).reason == NO_WEIGHTS


def test_weights_that_are_not_finite_have_none():
    distance = relative_distance(one_tensor(math.inf), one_tensor(1), ["w"])
    assert mean_distance([distance]).reason == NOT_FINITE


def test_distances_by_layer_are_those_of_its_weight_and_bias_together():
    before, after, reference = (
        randomise(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), s) for s in (1, 2, 3)
    )
    found = layer_distances(*map(weights_of, (before, after, reference)), learned(reference))
    assert [each.layer for each in found] == ["0", "1"]
    for place, each in enumerate(found):
        flat = [
            np.concatenate([p.detach().numpy().ravel() for p in network[place].parameters()])
            for network in (before, after, reference)
        ]
        norms = np.linalg.norm(flat, axis=1)
        assert each.before == pytest.approx(np.linalg.norm(flat[0] - flat[2]) / np.hypot(norms[0], norms[2]))
        assert each.after == pytest.approx(np.linalg.norm(flat[1] - flat[2]) / np.hypot(norms[1], norms[2]))


def test_before_is_missing_where_a_layer_has_another_shape():
    narrow, wide = one_tensor(1, 2), one_tensor(1, 2, 3)
    assert layer_distances(narrow, wide, wide, ["w"]) == [LayerDistance("w", None, 0)]


def test_rows_have_the_columns_of_their_file():
    rows = distance_rows({"parent_1": [LayerDistance("0", None, 0.5)]}, seed=3, fusion="mine")
    assert [tuple(row) for row in rows] == [DISTANCE_COLUMNS]
    assert list(rows[0].values()) == [3, "mine", "parent_1", "0", "", 0.5]
