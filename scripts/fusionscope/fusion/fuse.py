"""Fusing networks of one architecture: each parent aligned to a reference parent, then averaged."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fusionscope.alignment.move import (
    move,
)
from fusionscope.errors import InputError
from fusionscope.fusion.defaults import DEFAULT_REFERENCE
from fusionscope.fusion.matching import Match, Pair, match_neurons
from fusionscope.images import Images
from fusionscope.weights import Weights, combine


@dataclass(frozen=True)
class GroupRecord:
    """How one alignment group was matched; ground costs are means over neurons."""

    parent: int  # the one that was aligned, from 1
    group: str
    neurons: int
    moved: int  # neurons matched to another index of the reference
    cost_before: float | None  # neuron i to neuron i; None where the widths differ
    cost_after: float  # along the coupling
    passes: int  # over all groups until nothing changed


@dataclass(frozen=True)
class Fusion:
    """A child and how it came about."""

    child: Weights
    aligned: tuple[Weights, ...]  # every parent as it was averaged; the reference as it is
    shares: tuple[float, ...]  # of each parent in the child
    couplings: tuple[tuple[Tensor, ...], ...]  # per parent and group, (n, m), total mass 1
    records: tuple[GroupRecord, ...]
    reference: int  # its number, from 0


def fuse(
    networks: Sequence[nn.Module],
    parents: Sequence[Weights],
    *,
    method: str,
    reference: int = DEFAULT_REFERENCE,
    weight: float | None = None,
    images: Images | None = None,
    seed: int = 0,
    **options: object,
) -> Fusion:
    """One child of `parents`, state dicts of `networks`.

    The neurons of every parent are matched to those of number `reference` (from 1), which stays as it
    is, and the mean is taken: with share `weight` for the reference and equal shares for the others, or
    equal shares for all. The child has the reference's shape. `method`: 'average', or an entry of
    matching.METHODS with its `options`; `images` are needed to align by activations, `seed` drives what is
    random. Raises InputError where parents of different width are to be averaged as they are.
    """
    target = reference - 1
    shares = shares_of(len(parents), target, weight)
    aligned, couplings, records = [], [], []
    for number, (network, parent) in enumerate(zip(networks, parents, strict=True)):
        if number == target or method == "average":
            aligned.append(dict(parent))
            couplings.append(())
            continue
        pair = Pair(network, networks[target], parent, parents[target])
        match = match_neurons(method, pair, images=images, seed=seed, **options)
        aligned.append(move(parent, pair.groups_a, pair.groups_b, match.maps, like=pair.b))
        couplings.append(match.couplings)
        records += records_of(number + 1, pair, match)
    check_same_shapes(aligned)
    child = combine(aligned, shares)
    return Fusion(child, tuple(aligned), shares, tuple(couplings), tuple(records), target)


def shares_of(count: int, reference: int, weight: float | None) -> tuple[float, ...]:
    """Each parent's share of the child: `weight` for parent `reference` (from 0), the rest in equal parts."""
    if weight is None:
        return (1 / count,) * count
    return tuple(weight if number == reference else (1 - weight) / (count - 1) for number in range(count))


def check_same_shapes(weights: Sequence[Weights]) -> None:
    for name in weights[0]:
        shapes = sorted({tuple(part[name].shape) for part in weights})
        if len(shapes) > 1:
            raise InputError(
                f"parents of different width cannot be averaged neuron by neuron ({name} is "
                f"{' and '.join(map(str, shapes))}): use method 'optimal_transport'"
            )


def records_of(parent: int, pair: Pair, match: Match) -> list[GroupRecord]:
    parts = zip(pair.groups_b.groups, match.couplings, match.costs, strict=True)
    return [
        GroupRecord(
            parent=parent,
            group=group.name,
            neurons=group.size,
            moved=int((coupling.argmax(0) != torch.arange(group.size)).sum()),
            cost_before=cost.diagonal().mean().item() if cost.shape[0] == cost.shape[1] else None,
            cost_after=(coupling * cost.cpu()).sum().item(),
            passes=match.passes,
        )
        for group, coupling, cost in parts
    ]
