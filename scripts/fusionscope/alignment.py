"""Alignment groups: which axes of which parameters must move together, read off the traced graph.

A group is one set of neurons. The output channels of a layer, its bias, the batch norm over them and
the input channels of every consumer move as one; an addition ties its operands, so a residual stream
is one group, whoever writes to it. Network inputs and class outputs never move. The algorithms in
`fusion` read this description and know nothing else about architectures (the idea of a table of
parameter axes is that of Ainsworth et al. 2023, arXiv 2209.04836; here it is derived, not typed).

What `labels` finds is put in order here: neurons that are used alike at every place where they are
used make a group; all others are frozen, with the reason.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fusionscope.errors import InputError
from fusionscope.graph import operation, trace
from fusionscope.labels import CLASS_OUTPUT, OTHER, READER, WRITER, Labelling, Use, label
from fusionscope.networks import input_shape
from fusionscope.weights import Weights

SEVERAL_IMAGES = 2  # of one image could not be seen what is mixed across a batch
SAME_FUNCTION = 1e-3  # within this, in whatever precision
ALONE = "no other neuron is used alike"
NOT_FOLLOWED = "a layer that is unused, or used in an unknown way"
AMBIGUOUS = "two of its places cannot be told apart"


@dataclass(frozen=True)
class Member:
    """An axis of a parameter along which a group's neurons lie."""

    parameter: str  # its name in the state dict
    axis: int
    positions: Tensor  # (n, s): neuron i lies here, at each of its s places
    blocks: int = 1  # of a grouped convolution, whose input axis is seen as one over all channels
    reads: bool = False  # whether the axis is one of inputs


@dataclass(frozen=True)
class Site:
    """An axis of an activation along which a group's neurons lie."""

    node: str  # of the traced graph
    axis: int
    positions: Tensor  # (n, s)


@dataclass(frozen=True)
class Group:
    """Neurons that may change places with each other."""

    name: str  # the first layer that writes to it, e.g. features.0 or layer2.0.conv2
    size: int
    writers: tuple[Member, ...]  # weights whose rows make the neurons, in the order of the forward pass
    readers: tuple[Member, ...]  # weights whose columns read them
    others: tuple[Member, ...]  # biases, norms, scales
    written: tuple[Site, ...]  # where writers put them, after a batch norm that follows directly
    read: tuple[Site, ...]  # what readers see

    @property
    def members(self) -> tuple[Member, ...]:
        return self.writers + self.others + self.readers


@dataclass(frozen=True)
class Frozen:
    """Output channels of a layer that stay where they are."""

    layer: str
    neurons: int
    reason: str


@dataclass(frozen=True)
class Alignment:
    """All groups of a network in the order of the forward pass, and what is in none of them."""

    groups: tuple[Group, ...]
    frozen: tuple[Frozen, ...]
    neurons: int  # output channels of all layers but the last

    @property
    def share_that_moves(self) -> float:
        """Of the output channels of hidden layers, those in a group."""
        return sum(member.positions.numel() for g in self.groups for member in g.writers) / max(
            self.neurons, 1
        )

    @cached_property
    def axes(self) -> dict[str, dict[tuple[int, int], list[tuple[int, Member]]]]:
        """For each parameter and each of its (axis, blocks): the groups along it, by their number."""
        found: dict = defaultdict(lambda: defaultdict(list))
        for number, group in enumerate(self.groups):
            for member in group.members:
                found[member.parameter][member.axis, member.blocks].append((number, member))
        return {parameter: dict(axes) for parameter, axes in found.items()}


def alignment_groups(network: nn.Module) -> Alignment:
    """The groups of `network` (in eval mode) that may move, and what cannot, found by following its neurons.

    Raises InputError where torch.fx cannot trace the network, or not all that it does: such a one can be
    fused by averaging only.
    """
    try:
        traced = trace(network)
    except Exception as error:  # torch.fx raises half a dozen kinds
        raise InputError(
            f"torch.fx cannot trace this network ({str(error).splitlines()[0]}): "
            "fuse this architecture with method 'average'"
        ) from error
    found = follow(network, traced)
    of = components(found)
    uses = [replace(use, neurons=of[use.neurons]) for use in found.uses]
    reasons = why_frozen(found, of, uses)
    norm_after = {node.name: following_norm(node, traced) for node in traced.graph.nodes}
    groups = make_groups(signatures(uses, reasons), uses, norm_after)
    frozen, neurons = frozen_layers(uses, groups, reasons, dict(network.named_parameters()))
    return Alignment(tuple(groups), frozen, neurons)


@torch.no_grad()
def follow(network: nn.Module, traced: fx.GraphModule) -> Labelling:
    """The labels of `traced`, which is seen to compute what `network` does."""
    random = torch.Generator().manual_seed(0)
    images = torch.randn(SEVERAL_IMAGES, *input_shape(network), generator=random)
    images = images.to(next(network.parameters()))
    found, output = label(traced, images, network.state_dict())
    if not is_close(output, network(images)):
        raise InputError(
            "torch.fx does not see all that this network does (its graph computes another function): "
            "fuse this architecture with method 'average'"
        )
    return found


def is_close(output: object, expected: object) -> bool:
    """Whether two outputs of networks, tensors as a rule, are the same within SAME_FUNCTION."""
    tolerances = {"rtol": SAME_FUNCTION, "atol": SAME_FUNCTION, "equal_nan": True}
    if isinstance(output, Tensor) and isinstance(expected, Tensor):
        return output.shape == expected.shape and torch.allclose(output, expected, **tolerances)
    try:
        torch.testing.assert_close(output, expected, **tolerances)  # imports for half a second
    except AssertionError:
        return False
    return True


def components(found: Labelling) -> np.ndarray:
    """For each raw neuron, then each anchor from the last to the first, its class: one number for all tied.

    Anchors are negative numbers, so that they index the end of the array as they are.
    """
    count = found.neurons + len(found.anchors)
    pairs = [np.stack(tie) % count for tie in found.ties]
    return smallest_tied(np.concatenate([np.empty((2, 0), np.int64), *pairs], axis=1), count)


def smallest_tied(pairs: np.ndarray, count: int) -> np.ndarray:
    """For each of `count` numbers the smallest that `pairs` (2, n) tie it to, directly or over others.

    Each number points to a smaller one tied to it, until all point to the smallest. (SciPy's connected
    components are the same, but slow to import.)
    """
    first = np.arange(count)
    while True:
        before = first.copy()
        roots = first[pairs]
        for end in roots:
            np.minimum.at(first, end, roots.min(0))
        first = first[first]
        if np.array_equal(first, before):
            return first


def why_frozen(found: Labelling, of: np.ndarray, uses: Sequence[Use]) -> dict[int, str]:
    """The classes that cannot move for themselves: tied to an anchor, or ambiguous at some use."""
    reasons: dict[int, str] = {}
    for number, reason in enumerate(found.anchors, start=1):
        if reason == CLASS_OUTPUT:
            reasons[of[-number]] = reason
        reasons.setdefault(of[-number], reason)  # of several the first
    for use in uses:
        pairs, counts = np.unique(np.stack([use.neurons, use.keys]), axis=1, return_counts=True)
        for neuron in pairs[0, counts > 1]:
            reasons.setdefault(neuron, AMBIGUOUS)
    return reasons


def signatures(uses: Sequence[Use], reasons: Mapping[int, str]) -> dict[tuple, list[int]]:
    """How neurons are used -> the movable neurons that are used so, both in order of appearance."""
    how: dict[int, list] = defaultdict(list)
    for number, use in enumerate(uses):
        for neuron, key in sorted(zip(use.neurons.tolist(), use.keys.tolist(), strict=True)):
            if neuron not in reasons:
                how[neuron].append((number, key))
    alike: dict[tuple, list[int]] = defaultdict(list)
    for neuron in sorted(how):
        alike[tuple(how[neuron])].append(neuron)
    return alike


def make_groups(
    alike: Mapping[tuple, Sequence[int]], uses: Sequence[Use], norm_after: Mapping[str, str]
) -> list[Group]:
    several = [(signature, neurons) for signature, neurons in alike.items() if len(neurons) > 1]
    names = Counter()
    groups = []
    for signature, neurons in several:
        mine = [uses[number] for number in dict.fromkeys(number for number, _ in signature)]
        writer = next((use for use in mine if use.role == WRITER), None)
        if writer is None:
            continue  # a parameter's own neurons that no layer writes
        name = layer_of(writer.parameter)
        names[name] += 1
        groups.append(make_group(name, names[name], neurons, mine, norm_after))
    return [
        group if names[name] > 1 else replace(group, name=name)
        for group, name in ((group, layer_of(group.writers[0].parameter)) for group in groups)
    ]


def make_group(
    name: str, part: int, neurons: Sequence[int], uses: Sequence[Use], norm_after: Mapping[str, str]
) -> Group:
    """The group of `neurons`, which all have the same `uses`; `part` counts groups of one layer."""
    members: dict[str, dict[tuple, Member]] = defaultdict(dict)
    written, read = {}, {}
    for use in uses:
        positions = places_of(neurons, use)
        if use.parameter is not None:
            # a layer that is called twice has two uses of one axis
            members[use.role].setdefault(
                (use.parameter, use.axis),
                Member(use.parameter, use.axis, positions, use.blocks, use.role == READER),
            )
        if use.role == WRITER:
            node = norm_after[use.node]
            written.setdefault(node, Site(node, use.dim, positions))
        elif use.role == READER:
            read.setdefault(use.node, Site(use.node, use.dim, positions))
    parts = {role: tuple(found.values()) for role, found in members.items()}
    return Group(
        name=f"{name}/{part}",
        size=len(neurons),
        writers=parts[WRITER],
        readers=parts.get(READER, ()),
        others=parts.get(OTHER, ()),
        written=tuple(written.values()),
        read=tuple(read.values()),
    )


def places_of(neurons: Sequence[int], use: Use) -> Tensor:
    """(n, s): where each neuron lies along the axis of `use`, in the order of the keys."""
    order = np.lexsort((use.keys, use.neurons))
    start = np.searchsorted(use.neurons[order], neurons)
    count = int((use.neurons == neurons[0]).sum())
    return torch.from_numpy(order[start[:, None] + np.arange(count)])


def following_norm(node: fx.Node, traced: fx.GraphModule) -> str:
    """The batch norm that alone reads `node`, else the node itself."""
    users = list(node.users)
    if len(users) == 1 and isinstance(operation(users[0], traced), _BatchNorm):
        return users[0].name
    return node.name


def frozen_layers(
    uses: Sequence[Use],
    groups: Sequence[Group],
    reasons: Mapping[int, str],
    parameters: Mapping[str, Tensor],
) -> tuple[tuple[Frozen, ...], int]:
    """Layers with channels in no group, and the number of channels of all hidden layers."""
    moving = defaultdict(set)
    for group in groups:
        for member in group.writers:
            moving[member.parameter].update(member.positions.flatten().tolist())
    writers = {use.parameter: use for use in uses if use.role == WRITER}
    frozen, total = [], 0
    for use in writers.values():
        why = Counter(
            reasons.get(neuron, ALONE)
            for position, neuron in enumerate(use.neurons.tolist())
            if position not in moving[use.parameter]
        )
        total += len(use.neurons) - why[CLASS_OUTPUT]
        frozen += [Frozen(layer_of(use.parameter), count, reason) for reason, count in why.items()]
    for layer, count in layers_not_followed(parameters, writers).items():
        total += count
        frozen.append(Frozen(layer, count, NOT_FOLLOWED))
    return tuple(frozen), total


def layers_not_followed(parameters: Mapping[str, Tensor], followed: Collection[str]) -> dict[str, int]:
    """Layer -> output channels, of weights that are in nobody's use as far as could be seen."""
    return {
        layer_of(name): len(tensor)
        for name, tensor in parameters.items()
        if tensor.dim() > 1 and "weight" in name and name not in followed
    }


def layer_of(parameter: str) -> str:
    """The layer that a weight belongs to; one that is computed is kept in a part of the layer."""
    return parameter.split(".parametrizations.")[0].removesuffix(".weight")


# moving


@dataclass(frozen=True)
class Map:
    """How the neurons of one group go from A to B.

    `outgoing` (n, m) moves what makes or scales a neuron, That^T W: its columns add to one. `incoming`
    (n, m) moves what reads it, W That. The two are one matrix, but for soft maps of which the mass that
    a neuron sends is to be kept: then the rows of `incoming` add to one.
    """

    outgoing: Tensor
    incoming: Tensor
    permutation: Tensor | None  # (m,): the neuron of A that goes to j, where there is just one each


def make_map(coupling: Tensor, soft_map: str = "columns") -> Map:
    """The map of a `coupling` (n, m) of any total mass.

    `soft_map`: what a coupling that is no permutation does to the reading side. 'columns': the same as
    to the writing side (Singh & Jaggi 2020). 'mass': each neuron's outgoing weights are shared out among
    those it went to, so that copies of a neuron together do what the one did.
    """
    outgoing = coupling / coupling.sum(0, keepdim=True)
    incoming = coupling / coupling.sum(1, keepdim=True) if soft_map == "mass" else outgoing
    ones = outgoing > 0.5
    one_each = ones.sum(0).eq(1).all() and ones.sum(1).eq(1).all()
    is_permutation = one_each and (outgoing - ones.to(outgoing)).abs().max() < EXACT
    return Map(outgoing, incoming, ones.int().argmax(0) if is_permutation else None)


EXACT = 1e-9  # rounding of masses such as 1 / n


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
    sources: Sequence[tuple[int, Member]],
    targets: Sequence[tuple[int, Member]],
    maps: Sequence[Map | None],
    length: int,
) -> Tensor:
    """All groups along one axis at once: from `sources` to `targets` on an axis of `length`."""
    mine = [maps[number] for number, _ in sources]
    if length == tensor.shape[axis] and all(map_ and map_.permutation is not None for map_ in mine):
        order = torch.arange(length)
        for map_, (_, source), (_, target) in zip(mine, sources, targets, strict=True):
            order[target.positions.flatten()] = source.positions[map_.permutation].flatten()
        return tensor.index_select(axis, order.to(tensor.device))
    rows = tensor.movedim(axis, 0)
    moved = rows.new_zeros(length, *rows.shape[1:])
    moved[fixed_positions(targets, length)] = rows[fixed_positions(sources, len(rows))]
    for map_, (_, source), (_, target) in zip(mine, sources, targets, strict=True):
        if map_ is not None:
            matrix = (map_.incoming if source.reads else map_.outgoing).to(rows)
            moved[target.positions] = torch.tensordot(matrix, rows[source.positions], dims=([0], [0]))
    return moved.movedim(0, axis)


def fixed_positions(members: Sequence[tuple[int, Member]], length: int) -> Tensor:
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


def rows_of(tensor: Tensor, member: Member) -> Tensor:
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
