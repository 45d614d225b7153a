"""A pair of networks of which one is aligned to the other, and what an alignment finds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from fusionscope.alignment.groups import Alignment, Group, ParameterAxis, alignment_groups
from fusionscope.alignment.move import Map, check_same_groups, make_map, move_parameter
from fusionscope.graph.operations import is_own
from fusionscope.images import FUSED_AT_ONCE, Images
from fusionscope.weights import Weights

RELATIVE_GAIN = 1e-6  # of a descent over the groups: below it a gain is rounding

ToMap = Callable[[Tensor], Map]  # of a coupling (n, m)
Item = TypeVar("Item")


@dataclass(frozen=True)
class Pair:
    """Two networks of one architecture, A to be aligned to B; their widths may differ."""

    network_a: nn.Module
    network_b: nn.Module
    a: Weights
    b: Weights
    images_at_once: int = FUSED_AT_ONCE  # that one network can be given in a batch, as far as memory goes

    @cached_property
    def constants(self) -> Weights:
        """Buffers of the network's own modules that both have alike: masks, say, and no running statistics.

        They belong to the architecture, so they stay what they are, and neurons change places only with
        those of the same values there.
        """
        names = (
            f"{name}.{part}".removeprefix(".")
            for name, module in self.network_a.named_modules()
            if not is_own(module)
            for part, _ in module.named_buffers(recurse=False)
        )
        return {name: self.b[name] for name in names if name in self.b and self.is_alike(name)}

    def is_alike(self, name: str) -> bool:
        """Whether A and B have the same real numbers there."""
        a, b = self.a[name], self.b[name]
        return a.is_floating_point() and torch.equal(a, b)

    @cached_property
    def groups_a(self) -> Alignment:
        return alignment_groups(self.network_a, self.constants)

    @cached_property
    def groups_b(self) -> Alignment:
        if all(self.a[name].shape == tensor.shape for name, tensor in self.b.items()):
            return self.groups_a  # finding them takes as long as matching them
        groups = alignment_groups(self.network_b, self.constants)
        check_same_groups(self.groups_a, groups)
        return groups

    @cached_property
    def groups(self) -> list[tuple[Group, Group]]:
        """Each group of A beside that of B."""
        return list(zip(self.groups_a.groups, self.groups_b.groups, strict=True))

    @cached_property
    def learned(self) -> frozenset[str]:
        """Names of parameters that are trained: no running statistics, no counters."""
        return frozenset(name for name, _ in self.network_a.named_parameters())

    def moved(self, name: str, maps: Sequence[Map | None], but: int | None = None) -> Tensor:
        """A's parameter `name` in B's shape (along all axes `but` one); neurons without a map yet: zero."""
        shape = self.b[name].shape
        return move_parameter(self.a[name], name, self.groups_a, self.groups_b, maps, shape, but)

    def groups_beside(self, member: ParameterAxis) -> list[int]:
        """Numbers of the groups along the other axes of a member's parameter."""
        axes = self.groups_a.axes[member.parameter]
        return [number for (axis, _), found in axes.items() if axis != member.axis for number, _ in found]


@dataclass(frozen=True)
class Match:
    """What an alignment found, for each group in the order of `Pair.groups`."""

    couplings: tuple[Tensor, ...]  # (n, m), total mass 1, on the CPU
    maps: tuple[Map, ...]
    costs: tuple[Tensor, ...]  # (n, m), ground costs
    passes: int = 1  # over all groups

    @classmethod
    def of(cls, couplings: Sequence[Tensor], costs: Sequence[Tensor], to_map: ToMap = make_map) -> "Match":
        """From couplings (n, m) and their ground costs (n, m), one each per group."""
        return cls(tuple(couplings), tuple(map(to_map, couplings)), tuple(costs))


class AlignmentStep(Protocol):
    """What a way to align has to be: a class with options as its fields, such as a dataclass."""

    def align(self, pair: Pair, images: Images | None, seed: int) -> Match | None:
        """The neurons of A matched to those of B; None where they all stay where they are.

        `images` are None where the caller gave none; whatever is random is driven by `seed`.
        """


def permutation_map(order: Tensor) -> Map:
    """The map that puts neuron order[j] of A at j."""
    return make_map(torch.eye(len(order), dtype=torch.float64)[:, order])


def changed(items: Sequence[Item], index: int, item: Item) -> list[Item]:
    """A copy of `items` with another one at `index`."""
    return [*items[:index], item, *items[index + 1 :]]
