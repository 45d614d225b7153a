"""A pair of networks, and permutations as maps."""

import cases
import networks_for_fusion as nets
import torch

from fusionscope.alignment.move import make_map
from fusionscope.fusion.pair import Pair, permutation_map


def test_permutation_map_puts_neuron_order_j_at_j():
    order = torch.tensor([2, 0, 1])
    assert torch.equal(permutation_map(order).permutation, order)
    rows_moved = permutation_map(order).writer_map.T @ torch.tensor([10.0, 20.0, 30.0], dtype=torch.float64)
    assert rows_moved.tolist() == [30.0, 10.0, 20.0]
    assert make_map(torch.ones(2, 2)).permutation is None


def test_networks_of_one_shape_are_followed_once():
    pair = nets.pair_of("VGG11")
    assert pair.groups_a is pair.groups_b
    wide = Pair(
        pair.network_a, cases.network_of("VGG11", width=0.1), pair.a, cases.random_weights("VGG11", 1, 0.1)
    )
    assert wide.groups_a is not wide.groups_b
