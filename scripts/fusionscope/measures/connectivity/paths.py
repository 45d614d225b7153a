"""Connectivity: loss and accuracy on the way from one network to another, and the barrier between them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from fusionscope.errors import InputError
from fusionscope.evaluation import accuracy, mean_loss, predict
from fusionscope.fusion.repair import goals_of, repaired_mean
from fusionscope.images import FUSED_AT_ONCE, Images
from fusionscope.measurement import Measurement
from fusionscope.state import copy_of
from fusionscope.weights import Weights, combine, set_weights

# of a CSV file of paths from the aligned `parent` to the reference
PATH_COLUMNS = ("seed", "fusion", "parent", "share", "loss", "accuracy")


@dataclass(frozen=True)
class PathPoint:
    """One network on the path."""

    share: float  # of the reference parent, in [0, 1]; the rest is the other, aligned parent
    loss: float  # mean cross-entropy, nats
    accuracy: float  # in [0, 1]


def measure_path(
    network: nn.Module,
    point: Callable[[float], Weights],
    images: Images,
    *,
    points: int,
    batch_size: int,
) -> list[PathPoint]:
    """Loss and accuracy on `images` at equally spaced shares from 0 to 1, both ends included.

    `point` gives the weights at a share: interpolated, and whatever else the fusion does to its child.
    They must fit `network`, which lends its architecture and device, is evaluated in eval mode and is
    itself left as it was. With an odd number of `points` the path goes through the child of equal
    shares. The study of barriers is about unseen data: give the test images.

    Raises InputError if there are fewer than two points, or where outputs are not finite.
    """
    if points < 2:
        raise InputError(
            f"connectivity: a path of {points} point(s) has no two ends; set 'points' to 2 or more"
        )
    walker = copy_of(network)
    path = []
    for step in range(points):
        share = step / (points - 1)
        set_weights(walker, point(share))
        logits = predict(walker, images, batch_size, name=f"the network at share {share:g} of the line")
        path.append(PathPoint(share, mean_loss(logits, images.labels), accuracy(logits, images.labels)))
    return path


def line(other: Weights, reference: Weights) -> Callable[[float], Weights]:
    """The straight line from `other` (share 0) to `reference` (share 1), for `measure_path`."""
    return lambda share: combine([other, reference], [1 - share, share])


def repaired_line(
    network: nn.Module,
    images: Images,
    other: Weights,
    reference: Weights,
    *,
    batch_size: int = FUSED_AT_ONCE,
) -> Callable[[float], Weights]:
    """The same with REPAIR on `images` at every point, the ends included.

    The weights are for `network` with the biases that repair needs (`networks.give_biases`).
    """
    goals = goals_of(network, [other, reference], images, batch_size)

    def point(share: float) -> Weights:
        return repaired_mean(network, [other, reference], [1 - share, share], images, goals, batch_size)

    return point


def barriers(path: Sequence[PathPoint]) -> dict[str, float]:
    """How far the path rises above its ends; each barrier is at least zero, since the ends are points.

    With v(s) the value at share s of the reference, and the supremum taken over the points of `path`:

    - `loss_barrier`: sup_s v(s) - [(1 - s) v(0) + s v(1)], the height above the line between the ends
      (Entezari et al. 2022, arXiv 2110.06296, definition 1; Jordan et al. 2023, REPAIR, arXiv
      2211.08403, equation 1). Zero wherever the loss is convex along the path.
    - `accuracy_barrier`: the same of the error 1 - accuracy, i.e. the largest drop below the line.
    - `loss_barrier_above_mean`: max_s v(s) - (v(0) + v(1)) / 2, for the loss (Ainsworth et al. 2023,
      Git Re-Basin, arXiv 2209.04836, definition 2.2). Unlike `loss_barrier` it is positive wherever
      the ends are not equally good.

    A barrier is itself not finite where a value on the path is not.
    """
    share, loss, correct = (
        np.array([getattr(place, name) for place in path]) for name in ("share", "loss", "accuracy")
    )
    return {
        "loss_barrier": height_above_line(share, loss),
        "loss_barrier_above_mean": float(loss.max() - (loss[0] + loss[-1]) / 2),
        "accuracy_barrier": height_above_line(share, 1 - correct),
    }


def highest(paths: Iterable[Sequence[PathPoint]]) -> dict[str, Measurement]:
    """Each barrier where it is highest: of several parents, to the one that is farthest off."""
    found = [barriers(path) for path in paths]
    return {name: Measurement(max(each[name] for each in found)) for name in found[0]}


def height_above_line(share: np.ndarray, values: np.ndarray) -> float:
    """Largest excess of `values` (points,) over the line from the first, at share 0, to the last, at 1."""
    line = (1 - share) * values[0] + share * values[-1]
    return float((values - line).max())
