"""Fusing networks of one architecture: align each parent to a reference, merge, repair, train on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fusionscope.alignment.groups import Alignment, Frozen
from fusionscope.alignment.move import move
from fusionscope.errors import InputError
from fusionscope.fusion.options import check_fusion
from fusionscope.fusion.pair import Match, Pair
from fusionscope.fusion.steps import alignment_step, check_match, check_merged, merge_step
from fusionscope.images import FUSED_AT_ONCE, Images
from fusionscope.state import copy_of
from fusionscope.weights import Weights, set_weights

if TYPE_CHECKING:
    from fusionscope.fusion.finetune import TrainingData

WHERE = "fuse"  # in sentences about options


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
    aligned: tuple[Weights, ...]  # every parent as it was merged; the reference as it is
    shares: tuple[float, ...]  # of each parent in the child
    couplings: tuple[tuple[Tensor, ...], ...]  # per parent and group, (n, m), total mass 1
    records: tuple[GroupRecord, ...]
    reference: int  # its number, from 0
    template: nn.Module  # the reference's network, as it was given
    groups: Alignment | None = None  # of the reference; None where the method aligns nothing
    gained_biases: tuple[str, ...] = ()  # parameters that repair gave to layers that had none

    @property
    def share_that_moves(self) -> float:
        """Of the hidden neurons, those that the alignment may move, from 0 to 1."""
        return 0.0 if self.groups is None else self.groups.share_that_moves

    @property
    def frozen(self) -> tuple[Frozen, ...]:
        """The layers with neurons that stay where they are, how many these are, and why."""
        return () if self.groups is None else self.groups.frozen

    @cached_property
    def network(self) -> nn.Module:
        """A network with the child's weights, in eval mode."""
        network = copy_of(self.template)
        if self.gained_biases:
            from fusionscope.networks.biases import give_biases

            give_biases(network)
        set_weights(network, self.child)
        return network.eval()


def fuse(
    networks: Sequence[nn.Module],
    parents: Sequence[Weights],
    *,
    method: str,
    images: Images | None = None,
    seed: int = 0,
    training: TrainingData | None = None,
    images_at_once: int = FUSED_AT_ONCE,
    **options: Any,
) -> Fusion:
    """One child of `parents`, state dicts of `networks`, which are left as they are.

    The neurons of every parent are matched to those of number `reference` (from 1, default 2), which
    stays as it is, by `method`: 'average' (not at all), 'optimal_transport', 'weight_matching', or a class
    of one's own, 'module:Class'. Then the parents are merged (`merge`, default 'mean'), with share `weight`
    for the reference and equal shares for the others, or equal shares for all. The child has the
    reference's shape. With `repair` its channels get the mean and spread that they have in the parents,
    and with `finetune` (epochs, learning_rate) it is trained on with `training`. All other `options` are
    those of the method: fusion/options.py has them.

    `images` are needed to align by activations and to repair (all of them are used), `images_at_once` in a
    batch of one network and fewer where two answer together; `seed` drives what is random. Raises
    InputError, in one sentence, for options that are unknown or do not go together, for parents that do
    not fit the method, and where torch.fx cannot trace a network that is to be aligned.
    """
    definition = check_fusion({"method": method, **options}, WHERE)
    check_given(definition, networks, parents, images=images, training=training)
    fusion = align_and_merge(
        networks, parents, definition, images=images, seed=seed, images_at_once=images_at_once
    )
    if definition["repair"]:
        assert images is not None  # by check_given
        fusion = with_repair(fusion, images, images_at_once)
    if "finetune" in definition:
        from fusionscope.fusion.finetune import Finetune  # here: most fusions do without

        assert training is not None
        step, network = Finetune(**definition["finetune"]), copy_of(fusion.network)
        fusion = replace(fusion, child=step.tune(network, fusion.child, training))
    return fusion


def check_given(
    definition: Mapping[str, Any],
    networks: Sequence[nn.Module],
    parents: Sequence[Weights],
    *,
    images: Images | None,
    training: TrainingData | None,
) -> None:
    """Raise InputError unless all is there that a fusion by `definition` needs."""
    if len(networks) != len(parents) or len(parents) < 2:
        raise InputError(
            f"{WHERE}: {len(networks)} networks and the weights of {len(parents)}; give two or more, and as "
            "many of one as of the other"
        )
    if definition["reference"] > len(parents):
        raise InputError(
            f"{WHERE}.reference: there is no parent {definition['reference']}; name one of the {len(parents)}"
        )
    if definition["repair"] and images is None:
        raise InputError(f"{WHERE}: 'repair' needs images; give 'images', or leave 'repair' out")
    if "finetune" in definition and training is None:
        raise InputError(f"{WHERE}: 'finetune' needs data; give 'training', or leave 'finetune' out")


def align_and_merge(
    networks: Sequence[nn.Module],
    parents: Sequence[Weights],
    definition: Mapping[str, Any],
    *,
    images: Images | None,
    seed: int,
    images_at_once: int,
) -> Fusion:
    """The child before it is repaired or trained."""
    step, merge = alignment_step(definition), merge_step(definition["merge"])
    target = definition["reference"] - 1
    shares = shares_of(len(parents), target, definition.get("weight"))
    aligned: list[Weights] = []
    couplings: list[tuple[Tensor, ...]] = []
    records: list[GroupRecord] = []
    groups: Alignment | None = None
    for number, (network, parent) in enumerate(zip(networks, parents, strict=True)):
        pair = Pair(network, networks[target], parent, parents[target], images_at_once)
        match = None if number == target else step.align(pair, images, seed)
        if match is None:
            aligned.append(dict(parent))
            couplings.append(())
            continue
        check_match(match, pair, definition["method"])
        moved = move(parent, pair.groups_a, pair.groups_b, match.maps, like=pair.b)
        aligned.append(moved | pair.constants)  # a soft map would give them back with rounding
        couplings.append(match.couplings)
        records += records_of(number + 1, pair, match)
        groups = pair.groups_b
    child = merge.merge(aligned, shares)
    check_merged(child, parents[target], definition["merge"])
    return Fusion(
        child=child,
        aligned=tuple(aligned),
        shares=shares,
        couplings=tuple(couplings),
        records=tuple(records),
        reference=target,
        template=networks[target],
        groups=groups,
    )


def with_repair(fusion: Fusion, images: Images, batch_size: int) -> Fusion:
    """The same fusion with a repaired child."""
    from fusionscope.fusion.repair import blend, goals_of, repaired  # here: many fusions do without

    goal = blend(goals_of(fusion.template, fusion.aligned, images, batch_size), fusion.shares)
    child = repaired(fusion.template, fusion.child, goal, images, batch_size)
    gained = tuple(name for name in child if name not in fusion.child)
    return replace(fusion, child=child, gained_biases=gained)


def shares_of(count: int, reference: int, weight: float | None) -> tuple[float, ...]:
    """Each parent's share of the child: `weight` for parent `reference` (from 0), the rest in equal parts."""
    if weight is None:
        return (1 / count,) * count
    return tuple(weight if number == reference else (1 - weight) / (count - 1) for number in range(count))


def records_of(parent: int, pair: Pair, match: Match) -> list[GroupRecord]:
    """How each group of a pair was matched, of which A is parent number `parent` (from 1)."""
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
