"""Alignment groups: which axes of which parameters must move together, read off the traced graph.

A group is one set of neurons. The output channels of a layer, its bias, the batch norm over them and
the input channels of every consumer move as one; an addition ties its operands, so a residual stream
is one group, whoever writes to it. Network inputs and class outputs never move. The algorithms in
`fusion` read this description and know nothing else about architectures (the idea of a table of
parameter axes is that of Ainsworth et al. 2023, arXiv 2209.04836; here it is derived, not typed).

What the package `labels` finds is put in order here: neurons that are used alike at every place where
they are used make a group; all others are frozen, with the reason.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeGuard

import numpy as np
import torch
from torch import Tensor, fx, nn

from fusionscope.alignment.labels.labeller import label
from fusionscope.alignment.labels.records import (
    CLASS_OUTPUT,
    OTHER,
    READER,
    WRITER,
    AxisUse,
    Labelling,
    ParameterUse,
    WeightUse,
)
from fusionscope.errors import InputError
from fusionscope.graph.operations import Kind, is_batch_norm, kind_of_call
from fusionscope.graph.trace import NotTraceable, input_shape, operation, reference_tensor, trace_network
from fusionscope.state import left_as_it_was
from fusionscope.weights import weights_of

SEVERAL_IMAGES = 2  # of one image could not be seen what is mixed across a batch
CALLS = 2  # the second shows what a network keeps from one call to the next
SAME_FUNCTION = 1e-3  # within this, in whatever precision
ALONE = "no other neuron is used alike"
NOT_FOLLOWED = "a layer that is unused, or used in an unknown way"
AMBIGUOUS = "two of its places cannot be told apart"


@dataclass(frozen=True)
class ParameterAxis:
    """An axis of a parameter along which a group's neurons lie."""

    parameter: str  # its name in the state dict
    axis: int
    positions: Tensor  # (n, s): neuron i lies here, at each of its s places
    blocks: int = 1  # of a grouped convolution, whose input axis is seen as one over all channels
    reads: bool = False  # whether the axis is one of inputs


@dataclass(frozen=True)
class ActivationAxis:
    """An axis of an activation along which a group's neurons lie."""

    node: str  # of the traced graph
    axis: int
    positions: Tensor  # (n, s)


@dataclass(frozen=True)
class Group:
    """Neurons that may change places with each other."""

    name: str  # the first layer that writes to it, e.g. features.0 or layer2.0.conv2
    size: int
    writers: tuple[
        ParameterAxis, ...
    ]  # weights whose rows make the neurons, in the order of the forward pass
    readers: tuple[ParameterAxis, ...]  # weights whose columns read them
    others: tuple[ParameterAxis, ...]  # biases, norms, scales
    written: tuple[ActivationAxis, ...]  # where writers put them, after a batch norm that follows directly
    read: tuple[ActivationAxis, ...]  # what readers see

    @property
    def members(self) -> tuple[ParameterAxis, ...]:
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
    def axes(self) -> dict[str, dict[tuple[int, int], list[tuple[int, ParameterAxis]]]]:
        """For each parameter and each of its (axis, blocks): the groups along it, by their number."""
        found: dict = defaultdict(lambda: defaultdict(list))
        for number, group in enumerate(self.groups):
            for member in group.members:
                found[member.parameter][member.axis, member.blocks].append((number, member))
        return {parameter: dict(axes) for parameter, axes in found.items()}


def alignment_groups(network: nn.Module, constants: Mapping[str, Tensor] | None = None) -> Alignment:
    """The groups of `network`, in eval mode, that may move, and what cannot, found by following its neurons.

    `constants`: values of buffers that have to stay what they are, as masks; neurons with different values
    there cannot change places. `network` is left as it was. Raises InputError where torch.fx cannot trace it,
    or not all that it does: it can be fused by averaging only.
    """
    with left_as_it_was(network):
        network.eval()
        try:
            traced = trace_network(network)
        except NotTraceable as error:
            raise InputError(
                f"torch.fx cannot trace this network ({error}): fuse this architecture with method 'average'"
            ) from error
        found = follow(network, traced, constants or {})
    of = components(found)
    uses = [replace(use, neurons=of[use.neurons]) for use in found.uses]
    reasons = why_frozen(found, of, uses)
    norm_after = {node.name: following_norm(node, traced) for node in traced.graph.nodes}
    groups = make_groups(signatures(uses, reasons), uses, norm_after)
    frozen, neurons = frozen_layers(uses, groups, reasons, dict(network.named_parameters()))
    return Alignment(tuple(groups), frozen, neurons)


@torch.no_grad()
def follow(network: nn.Module, traced: fx.GraphModule, constants: Mapping[str, Tensor]) -> Labelling:
    """The labels of `traced`, which is seen to compute what `network` does."""
    random = torch.Generator().manual_seed(0)
    images = torch.randn(SEVERAL_IMAGES, *input_shape(network), generator=random)
    images = images.to(reference_tensor(network))
    with left_as_it_was(network):
        found, output = label(traced, images, weights_of(network), constants)
    if not all(is_close(output, network(images)) for _ in range(CALLS)):
        raise InputError(
            "torch.fx does not see all that this network does (its graph computes another function): "
            "fuse this architecture with method 'average'"
        )
    return found


def is_close(output: object, expected: object) -> bool:
    """Whether two outputs of networks, tensors as a rule, are the same within SAME_FUNCTION."""
    rtol = atol = SAME_FUNCTION
    if isinstance(output, Tensor) and isinstance(expected, Tensor):
        same_shape = output.shape == expected.shape
        return same_shape and torch.allclose(output, expected, rtol, atol, equal_nan=True)
    try:  # this imports for half a second
        torch.testing.assert_close(output, expected, rtol=rtol, atol=atol, equal_nan=True)
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


def why_frozen(found: Labelling, of: np.ndarray, uses: Sequence[AxisUse]) -> dict[int, str]:
    """The classes that cannot move for themselves: tied to an anchor, or ambiguous at some use."""
    reasons: dict[int, str] = {}
    for number, reason in enumerate(found.anchors, start=1):
        if reason == CLASS_OUTPUT:
            reasons[of[-number]] = reason
        reasons.setdefault(of[-number], reason)  # of several the first
    for use in uses:
        pairs, counts = np.unique(np.stack([use.neurons, use.place_ids]), axis=1, return_counts=True)
        for neuron in pairs[0, counts > 1]:
            reasons.setdefault(neuron, AMBIGUOUS)
    return reasons


def signatures(uses: Sequence[AxisUse], reasons: Mapping[int, str]) -> dict[tuple, list[int]]:
    """How neurons are used -> the movable neurons that are used so, both in order of appearance."""
    how: dict[int, list] = defaultdict(list)
    for number, use in enumerate(uses):
        for neuron, place_id in sorted(zip(use.neurons.tolist(), use.place_ids.tolist(), strict=True)):
            if neuron not in reasons:
                how[neuron].append((number, place_id))
    alike: dict[tuple, list[int]] = defaultdict(list)
    for neuron in sorted(how):
        alike[tuple(how[neuron])].append(neuron)
    return alike


def make_groups(
    alike: Mapping[tuple, Sequence[int]], uses: Sequence[AxisUse], norm_after: Mapping[str, str]
) -> list[Group]:
    several = [(signature, neurons) for signature, neurons in alike.items() if len(neurons) > 1]
    names: Counter[str] = Counter()
    groups = []
    for signature, neurons in several:
        mine = [uses[number] for number in dict.fromkeys(number for number, _ in signature)]
        writer = next((use for use in mine if writes(use)), None)
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
    name: str, part: int, neurons: Sequence[int], uses: Sequence[AxisUse], norm_after: Mapping[str, str]
) -> Group:
    """The group of `neurons`, which all have the same `uses`; `part` counts groups of one layer."""
    members: dict[str, dict[tuple[str, int], ParameterAxis]] = defaultdict(dict)
    written: dict[str, ActivationAxis] = {}
    read: dict[str, ActivationAxis] = {}
    for use in uses:
        positions = places_of(neurons, use)
        if isinstance(use, ParameterUse):
            # a layer that is called twice has two uses of one axis
            members[use.role].setdefault(
                (use.parameter, use.axis),
                ParameterAxis(use.parameter, use.axis, positions, use.blocks, use.role == READER),
            )
        if isinstance(use, WeightUse) and use.role == WRITER:
            node = norm_after[use.node]
            written.setdefault(node, ActivationAxis(node, use.dim, positions))
        elif isinstance(use, WeightUse):
            read.setdefault(use.node, ActivationAxis(use.node, use.dim, positions))
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


def writes(use: AxisUse) -> TypeGuard[WeightUse]:
    """Whether it is the axis of a weight along which a layer makes its neurons."""
    return isinstance(use, WeightUse) and use.role == WRITER


def places_of(neurons: Sequence[int], use: AxisUse) -> Tensor:
    """(n, s): where each neuron lies along the axis of `use`, in the order of its places."""
    order = np.lexsort((use.place_ids, use.neurons))
    start = np.searchsorted(use.neurons[order], neurons)
    count = int((use.neurons == neurons[0]).sum())
    return torch.from_numpy(order[start[:, None] + np.arange(count)])


def following_norm(node: fx.Node, traced: fx.GraphModule) -> str:
    """The batch norm that alone reads `node`, else the node itself."""
    users = list(node.users)
    if len(users) == 1 and users[0].all_input_nodes[0] is node:
        called = is_batch_norm(operation(users[0], traced)) or kind_of_call(users[0]) is Kind.BATCH_NORM
        return users[0].name if called else node.name
    return node.name


def frozen_layers(
    uses: Sequence[AxisUse],
    groups: Sequence[Group],
    reasons: Mapping[int, str],
    parameters: Mapping[str, Tensor],
) -> tuple[tuple[Frozen, ...], int]:
    """Layers with channels in no group, and the number of channels of all hidden layers."""
    moving: dict[str, set[int]] = defaultdict(set)
    for group in groups:
        for member in group.writers:
            moving[member.parameter].update(member.positions.flatten().tolist())
    writers = {use.parameter: use for use in uses if writes(use)}
    frozen: list[Frozen] = []
    total = 0
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
