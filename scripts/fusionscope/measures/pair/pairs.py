"""Which networks are compared with which."""

from collections.abc import Sequence
from itertools import combinations

from torch import nn

Places = Sequence[tuple[int, int]]  # of the networks of each pair, in a list of them

DIFFERENT_SHAPES = "the parents differ in width, so no parameter of one is that of another"


def all_pairs(count: int) -> Places:
    """Each two of so many networks."""
    return list(combinations(range(count), 2))


def same_shapes(networks: Sequence[nn.Module]) -> bool:
    """Whether all have the same trainable parameters, by name and shape."""
    shapes = [{name: p.shape for name, p in network.named_parameters()} for network in networks]
    return all(of_one == shapes[0] for of_one in shapes)
