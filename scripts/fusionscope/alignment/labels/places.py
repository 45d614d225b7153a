"""Numbers of places: spread over an activation, told apart, paired, made small again."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fusionscope.alignment.labels.records import Labels

LARGEST = 2**60  # number of a place, that 64 bits hold


def broadcasts(shape: Sequence[int], wanted: Sequence[int]) -> bool:
    """Whether a tensor of `shape` can be expanded to the shape `wanted`."""
    pairs = zip(reversed(shape), reversed(wanted), strict=False)
    return len(shape) <= len(wanted) and all(size in (1, want) for size, want in pairs)


def numbers_of_blocks(length: int, blocks: int) -> np.ndarray:
    """(length,): 0 ... 0 1 ... 1 and so on."""
    return np.arange(length) // (length // blocks)


def spread(neurons: np.ndarray, place_ids: np.ndarray, value: Tensor, axis: int) -> Labels:
    """Labels of `value`: `neurons` along `axis`; places count all other positions, apart for each id."""
    axis %= value.dim()
    along = [-1 if dim == axis else 1 for dim in range(value.dim())]
    others = [1 if dim == axis else size for dim, size in enumerate(value.shape)]
    count = int(np.prod(others))
    place = torch.from_numpy(place_ids).view(along) * count + torch.arange(count).view(others)
    return Labels(torch.from_numpy(neurons).view(along).expand(value.shape), place)


def row_numbers(rows: np.ndarray) -> np.ndarray:
    """(length, k) to (length,): equal rows get equal numbers."""
    if (rows == rows[:1]).all():
        return np.zeros(len(rows), np.int64)
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(row.tobytes(), len(numbers)) for row in rows])


def paired(place: Tensor, other: Tensor) -> Tensor:
    """One number for each pair of two places (same shape)."""
    if torch.equal(place, other) or not (other != other.flatten()[0]).any():
        return place
    if int(place.max()) * int(other.max()) > LARGEST:
        place, other = renumbered(place), renumbered(other)
    return renumbered(place * (other.max() + 1) + other)


def renumbered(place: Tensor) -> Tensor:
    """Equal numbers stay equal and different ones different, but none is large."""
    return place.unique(return_inverse=True)[1]
