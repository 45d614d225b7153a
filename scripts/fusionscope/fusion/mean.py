"""Merging aligned networks into one: the mean of their weights."""

from collections.abc import Sequence
from typing import Protocol

from fusionscope.errors import InputError
from fusionscope.weights import Weights, combine


class MergeStep(Protocol):
    """What a way to merge has to be: a class that is made without arguments."""

    def merge(self, aligned: Sequence[Weights], shares: Sequence[float]) -> Weights:
        """One network of `aligned` ones, of which each has a share; shares add to one."""


class Mean:
    """The mean of the weights with the shares."""

    def merge(self, aligned: Sequence[Weights], shares: Sequence[float]) -> Weights:
        """Raises InputError where networks differ in shape."""
        check_same_shapes(aligned)
        return combine(aligned, shares)


def check_same_shapes(weights: Sequence[Weights]) -> None:
    """Raise InputError unless all have the same shapes."""
    for name in weights[0]:
        shapes = sorted({tuple(part[name].shape) for part in weights})
        if len(shapes) > 1:
            raise InputError(
                f"parents of different width cannot be averaged neuron by neuron ({name} is "
                f"{' and '.join(map(str, shapes))}): use method 'optimal_transport'"
            )
