"""How far the weights of two networks lie apart, relative to how large they are."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fusionscope.measurement import Measurement, undefined
from fusionscope.measures.pair.pairs import DIFFERENT_SHAPES, Places, same_shapes
from fusionscope.weights import Weights, weights_of

# of a CSV file; `before` is empty where the parents differ in width, both where all weights are zero
DISTANCE_COLUMNS = ("seed", "fusion", "parent", "layer", "before", "after")

NO_WEIGHTS = "all weights are zero, or there are none"
NOT_FINITE = "the weights of one of the networks are not finite, or too large"


@dataclass(frozen=True)
class LayerDistance:
    """How far one layer's weights lie from the reference's, before a parent is aligned and after."""

    layer: str
    before: float | None  # None where the shapes differ, or all are zero
    after: float | None


def weight_distance(networks: Sequence[nn.Module], pairs: Places) -> Measurement:
    """The `relative_distance` of all trainable parameters, mean over `pairs` of networks; exact.

    Undefined where the networks differ in width, or have no weights but zeros.
    """
    if not same_shapes(networks):
        return undefined(DIFFERENT_SHAPES)
    names = learned(networks[0])
    weights = [weights_of(network) for network in networks]
    return mean_distance(relative_distance(weights[p], weights[q], names) for p, q in pairs)


def mean_distance(distances: Iterable[float | None]) -> Measurement:
    """The mean of what `relative_distance` found; undefined where one of them is not defined."""
    found = list(distances)
    known = [distance for distance in found if distance is not None]
    if len(known) < len(found) or not found:
        return undefined(NO_WEIGHTS)
    mean = sum(known) / len(known)
    return Measurement(mean) if math.isfinite(mean) else undefined(NOT_FINITE)


def relative_distance(
    one: Mapping[str, Tensor], other: Mapping[str, Tensor], names: Iterable[str]
) -> float | None:
    """norm(w1 - w2) / sqrt(norm(w1)^2 + norm(w2)^2) of the tensors `names`, together.

    Symmetric, and the same when both are scaled: 0 where they are equal, 1 where they are orthogonal (about
    what independent weights are), sqrt(2) at most, where one is minus the other. None if all are zero.
    """
    pairs = [(one[name].detach(), other[name].detach()) for name in names]
    if not pairs:
        return None
    # one number from the device, which would be waited for at each
    squares = torch.stack([torch.stack([square(a - b), square(a), square(b)]) for a, b in in_double(pairs)])
    difference, *sizes = squares.sum(0).tolist()
    return math.sqrt(difference / sum(sizes)) if any(sizes) else None


def square(tensor: Tensor) -> Tensor:
    """The square of its norm, a scalar."""
    return tensor.abs().square().sum()


def in_double(pairs: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """The same numbers in double precision, complex ones too."""
    for a, b in pairs:
        dtype = torch.promote_types(a.dtype, torch.float64)
        yield a.to(dtype), b.to(dtype)


def layer_distances(
    before: Weights, after: Weights, reference: Weights, names: Iterable[str]
) -> list[LayerDistance]:
    """For each layer that has some of the parameters `names`, in their order: see LayerDistance.

    `before` is a parent as it is, `after` the same aligned to the `reference`, in whose shape it is.
    """
    layers: dict[str, list[str]] = {}
    for name in names:
        layers.setdefault(layer_of(name), []).append(name)
    return [
        LayerDistance(
            layer,
            relative_distance(before, reference, mine) if fits(before, reference, mine) else None,
            relative_distance(after, reference, mine),
        )
        for layer, mine in layers.items()
    ]


def layer_of(parameter: str) -> str:
    """'features.0.weight' -> 'features.0'; a parameter of the network's own is a layer by itself."""
    return parameter.rpartition(".")[0] or parameter


def fits(one: Mapping[str, Tensor], other: Mapping[str, Tensor], names: Iterable[str]) -> bool:
    return all(one[name].shape == other[name].shape for name in names)


def learned(network: nn.Module) -> list[str]:
    """The names of what is trained, in the network's own order: no running statistics."""
    return [name for name, _ in network.named_parameters()]


def distance_rows(
    distances: Mapping[str, Sequence[LayerDistance]], *, seed: int, fusion: str
) -> list[dict[str, object]]:
    """One row, with DISTANCE_COLUMNS as keys, per parent and layer."""
    return [
        {
            "seed": seed,
            "fusion": fusion,
            "parent": parent,
            "layer": each.layer,
            "before": "" if each.before is None else each.before,
            "after": "" if each.after is None else each.after,
        }
        for parent, layers in distances.items()
        for each in layers
    ]
