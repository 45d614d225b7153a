"""Moving the neurons of a network: along each axis of each parameter, by a map for each group."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fusionscope.alignment.groups import Alignment, ParameterAxis
from fusionscope.errors import InputError
from fusionscope.weights import Weights

EXACT = 1e-9  # rounding of masses such as 1 / n


@dataclass(frozen=True)
class Map:
    """How the neurons of one group go from A to B: two matrices whose rows are neurons of A, columns of B.

    `writer_map` (n, m) moves what makes or scales a neuron, T^T W: its columns add to one. `reader_map`
    (n, m) moves what reads it, W T. They are one matrix, except for soft maps that keep the mass that a
    neuron sends: the rows of `reader_map` add to one there.
    """

    writer_map: Tensor
    reader_map: Tensor
    permutation: Tensor | None  # (m,): the neuron of A that goes to j, where there is just one each


def make_map(coupling: Tensor, reader_normalisation: str = "column") -> Map:
    """The map of a `coupling` (n, m) of any total mass.

    `reader_normalisation`: what adds to one on the reading side where the coupling is no permutation.
    'column': its columns, as on the writing side (Singh & Jaggi 2020). 'row': its rows, so that each
    neuron's outgoing weights are shared out among those it went to, and copies of a neuron together do
    what the one did.
    """
    writer_map = coupling / coupling.sum(0, keepdim=True)
    reader_map = coupling / coupling.sum(1, keepdim=True) if reader_normalisation == "row" else writer_map
    ones = writer_map > 0.5
    one_each = ones.sum(0).eq(1).all() and ones.sum(1).eq(1).all()
    is_permutation = one_each and (writer_map - ones.to(writer_map)).abs().max() < EXACT
    return Map(writer_map, reader_map, ones.int().argmax(0) if is_permutation else None)


def move(
    weights: Mapping[str, Tensor],
    source: Alignment,
    target: Alignment,
    maps: Sequence[Map],
    like: Mapping[str, Tensor],
) -> Weights:
    """`weights` of a network with groups `source`, moved into the shapes `like` of one with `target`."""
    return {
        name: move_parameter(tensor, name, source, target, maps, like[name].shape)
        for name, tensor in weights.items()
    }


def move_parameter(
    tensor: Tensor,
    name: str,
    source: Alignment,
    target: Alignment,
    maps: Sequence[Map | None],
    shape: Sequence[int],
    but: int | None = None,
) -> Tensor:
    """One parameter moved along its axes (all `but` one) into `shape`; neurons without a map yet: zero."""
    for (axis, blocks), sources in source.axes.get(name, {}).items():
        if axis != but:
            targets = target.axes[name][axis, blocks]
            length = see_blocks(tensor.new_empty(shape), blocks).shape[axis]
            moved = move_axis(see_blocks(tensor, blocks), axis, sources, targets, maps, length)
            tensor = forget_blocks(moved, blocks)
    return tensor


def move_axis(
    tensor: Tensor,
    axis: int,
    sources: Sequence[tuple[int, ParameterAxis]],
    targets: Sequence[tuple[int, ParameterAxis]],
    maps: Sequence[Map | None],
    length: int,
) -> Tensor:
    """All groups along one axis at once: from `sources` to `targets` on an axis of `length`."""
    mine = [maps[number] for number, _ in sources]
    orders = [map_.permutation for map_ in mine if map_ is not None and map_.permutation is not None]
    if length == tensor.shape[axis] and len(orders) == len(mine):
        order = torch.arange(length)
        for permutation, (_, source), (_, target) in zip(orders, sources, targets, strict=True):
            order[target.positions.flatten()] = source.positions[permutation].flatten()
        return tensor.index_select(axis, order.to(tensor.device))
    rows = tensor.movedim(axis, 0)
    moved = rows.new_zeros(length, *rows.shape[1:])
    moved[fixed_positions(targets, length)] = rows[fixed_positions(sources, len(rows))]
    for map_, (_, source), (_, target) in zip(mine, sources, targets, strict=True):
        if map_ is not None:
            matrix = (map_.reader_map if source.reads else map_.writer_map).to(rows)
            moved[target.positions] = torch.tensordot(matrix, rows[source.positions], dims=([0], [0]))
    return moved.movedim(0, axis)


def fixed_positions(members: Sequence[tuple[int, ParameterAxis]], length: int) -> Tensor:
    """Where an axis of `length` has neurons of no group."""
    fixed = torch.ones(length, dtype=torch.bool)
    for _, member in members:
        fixed[member.positions.flatten()] = False
    return fixed.nonzero().flatten()


def see_blocks(tensor: Tensor, blocks: int) -> Tensor:
    """A grouped convolution's weight (o, i / blocks, ...) as (o / blocks, i, ...): all inputs on one axis."""
    if blocks == 1:
        return tensor
    return tensor.unflatten(0, (blocks, -1)).transpose(0, 1).flatten(1, 2)


def forget_blocks(tensor: Tensor, blocks: int) -> Tensor:
    """The inverse of `see_blocks`."""
    if blocks == 1:
        return tensor
    return tensor.unflatten(1, (blocks, -1)).transpose(0, 1).flatten(0, 1)


def rows_of(tensor: Tensor, member: ParameterAxis) -> Tensor:
    """(n, d): what a parameter holds for each neuron of a group, all its places in one row."""
    seen = see_blocks(tensor, member.blocks)
    return seen.movedim(member.axis, 0)[member.positions.to(tensor.device)].flatten(1)


def check_same_groups(source: Alignment, target: Alignment) -> None:
    """Raise InputError unless networks of different width have the same groups, one for one.

    What does not move has to be as wide in both: there is nothing to match it by.
    """
    names = [[group.name for group in alignment.groups] for alignment in (source, target)]
    if names[0] != names[1]:
        raise InputError(
            "parents of these widths have different groups of neurons (a layer may have a single one, or "
            "parts that do not correspond): choose other widths"
        )
    staying = [[(part.layer, part.neurons) for part in alignment.frozen] for alignment in (source, target)]
    if staying[0] != staying[1]:
        layer, reason = next(
            (part.layer, part.reason)
            for part in source.frozen + target.frozen
            if (part.layer, part.neurons) not in staying[0] or (part.layer, part.neurons) not in staying[1]
        )
        raise InputError(
            f"parents of these widths cannot be matched: channels of {layer} cannot move ({reason}) and are "
            "not as many in both: give the parents one width"
        )
