"""Alignment groups: which axes of which parameters must move together, read off the traced graph.

A group is one set of neurons. The output channels of a layer, its bias, the batch norm over them and
the input channels of every consumer move as one; an addition ties its operands, so a residual stream
is one group, whoever writes to it. Network inputs and class outputs never move. The algorithms in
`fusion` read this description and know nothing else about architectures (the idea of a table of
parameter axes is that of Ainsworth et al. 2023, arXiv 2209.04836; here it is derived, not typed).
"""

import operator
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from fusionscope.errors import InputError
from fusionscope.graph import operation, shape, trace

OUTPUT_AXIS, INPUT_AXIS = 0, 1  # of weights of convolutions and linear layers
NORM_PARTS = ("weight", "bias", "running_mean", "running_var")

CHANNELWISE_MODULES = nn.ReLU | nn.MaxPool2d | nn.AvgPool2d | nn.Identity | nn.Dropout
CHANNELWISE_FUNCTIONS = (F.relu, torch.relu, F.avg_pool2d, F.max_pool2d)
ADDITIONS = (operator.add, torch.add)


@dataclass(frozen=True)
class Writer:
    """A layer that produces the neurons of a group."""

    weight: str  # name of its weight: axis 0 the neurons, axis 1 what they read
    reads: int | None  # index of the group on the input side; None where it is the network's input


@dataclass(frozen=True)
class Group:
    """Neurons that move together."""

    size: int
    members: tuple[tuple[str, int], ...]  # (name in the state dict, axis)
    writers: tuple[Writer, ...]  # in the order of the forward pass

    @property
    def name(self) -> str:
        """The first layer that writes to it, e.g. features.0 or layer2.0.conv2."""
        return self.writers[0].weight.removesuffix(".weight")


def alignment_groups(network: nn.Module) -> tuple[Group, ...]:
    """The groups of `network` that may move, in the order of the forward pass.

    Raises InputError at an operation whose effect on channels is not known here.
    """
    traced = trace(network)
    ties = Ties()
    members: list[tuple[int, str, int]] = []  # (token, parameter, axis)
    writers: list[tuple[int, str, int]] = []  # (token, weight, token on the input side)
    token_of: dict[fx.Node, int] = {}
    fixed: list[int] = []
    used: set[str] = set()
    for node in traced.graph.nodes:
        done = operation(node, traced)
        sources = [token_of[source] for source in node.all_input_nodes]
        if node.op == "placeholder":
            token_of[node] = ties.new()
            fixed.append(token_of[node])
        elif node.op == "output":
            fixed.extend(sources)
        elif is_dense(node, done) and node.target not in used:
            used.add(node.target)  # called twice, a layer would tie its neurons to those it reads
            token_of[node] = ties.new()
            writers.append((token_of[node], f"{node.target}.weight", sources[0]))
            members.append((sources[0], f"{node.target}.weight", INPUT_AXIS))
            members.append((token_of[node], f"{node.target}.weight", OUTPUT_AXIS))
            if done.bias is not None:
                members.append((token_of[node], f"{node.target}.bias", OUTPUT_AXIS))
        elif isinstance(done, nn.BatchNorm2d) and node.target not in used:
            used.add(node.target)
            token_of[node] = sources[0]
            parts = [part for part in NORM_PARTS if getattr(done, part) is not None]
            members.extend((sources[0], f"{node.target}.{part}", 0) for part in parts)
        elif keeps_channels(node, done):
            token_of[node] = sources[0]
        elif done in ADDITIONS and len(sources) == 2 and same_shapes(node):
            token_of[node] = ties.tie(*sources)
        else:
            raise InputError(
                f"the network's operation '{node.name}' ({done}) is not known to keep channels apart: "
                "fuse this architecture with method 'average'"
            )
    return collect(traced, ties, members, writers, {ties.root(token) for token in fixed})


def is_dense(node: fx.Node, done: object) -> bool:
    """Whether every channel of the output reads every channel of the input (axis 1)."""
    if isinstance(done, nn.Linear):  # acts on the last axis
        return shape(node).numel() == done.out_features
    return isinstance(done, nn.Conv2d) and done.groups == 1


def keeps_channels(node: fx.Node, done: object) -> bool:
    """Whether channel i of the output depends on channel i of the input alone, alike for all i."""
    if done is torch.flatten:  # only where a channel is one number, else it would be a block of them
        return shape(node.args[0])[2:].numel() == 1 and node.args[1:] == (1,)
    return isinstance(done, CHANNELWISE_MODULES) or done in CHANNELWISE_FUNCTIONS


def same_shapes(node: fx.Node) -> bool:
    return len({shape(source) for source in node.all_input_nodes}) == 1


class Ties:
    """Disjoint sets of tokens; the smallest token stands for its set."""

    def __init__(self) -> None:
        self.parent: list[int] = []

    def new(self) -> int:
        self.parent.append(len(self.parent))
        return self.parent[-1]

    def root(self, token: int) -> int:
        while self.parent[token] != token:
            token = self.parent[token]
        return token

    def tie(self, one: int, other: int) -> int:
        low, high = sorted((self.root(one), self.root(other)))
        self.parent[high] = low
        return low


def collect(traced, ties: Ties, members, writers, fixed: set[int]) -> tuple[Group, ...]:
    """Groups from tokens: what is tied comes together, what is fixed stays out."""
    movable = []
    for token, _, _ in writers:
        root = ties.root(token)
        if root not in fixed and root not in movable:
            movable.append(root)
    number = {root: index for index, root in enumerate(movable)}
    groups = []
    for root in movable:
        mine = tuple((name, axis) for token, name, axis in members if ties.root(token) == root)
        group_writers = tuple(
            Writer(weight, number.get(ties.root(read)))
            for token, weight, read in writers
            if ties.root(token) == root
        )
        size = traced.get_parameter(group_writers[0].weight).shape[OUTPUT_AXIS]
        groups.append(Group(size, mine, group_writers))
    return tuple(groups)


def move_axis(tensor: Tensor, axis: int, coupling: Tensor) -> Tensor:
    """Contract `axis` (n) of `tensor` with a column-normalised `coupling` (n, m): That^T along it."""
    moved = torch.tensordot(coupling.to(tensor), tensor, dims=([0], [axis]))
    return moved.movedim(0, axis)


def move(weights: Mapping[str, Tensor], group: Group, coupling: Tensor) -> dict[str, Tensor]:
    """`weights` with every member of `group` moved by the column-normalised `coupling` (n, m)."""
    moved = dict(weights)
    for name, axis in group.members:
        moved[name] = move_axis(moved[name], axis, coupling)
    return moved
