"""REPAIR: give the channels of a fused network the mean and the spread that they had in its parents.

Averaged weights of different networks make pre-activations of less variance than either parent's, less
with every layer, until the child answers the same to every image. The cure needs images, no labels
and no gradient (Jordan et al. 2023, "REPAIR: REnormalizing Permuted Activations for Interpolation
Repair", arXiv 2211.08403). Where batch norm follows, new running statistics are all there is to do;
elsewhere a scale and a shift per channel, folded into the layer's weight and bias.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fusionscope.errors import InputError
from fusionscope.graph.trace import reference_tensor
from fusionscope.images import FUSED_AT_ONCE, Images
from fusionscope.moments import ChannelMoments
from fusionscope.networks.biases import give_biases, renormalised_layers
from fusionscope.state import copy_of
from fusionscope.weights import Weights, combine, set_weights, weights_of

Goal = Mapping[str, tuple[Tensor, Tensor]]  # layer -> mean (c,), standard deviation (c,) of its output

# Of what a channel should spread, or of its mean if that is more: with less it is taken for constant.
# A sound child is off by a small factor (sqrt(N) where N parents have nothing in common); one that is off
# by thousands would have nothing but its rounding blown up.
FLAT = 1e-4


@torch.no_grad()
def output_statistics(network: nn.Module, weights: Weights, images: Images, batch_size: int) -> Goal:
    """What each renormalised layer puts out at `weights`, in eval mode: per channel, over all images.

    Means and standard deviations (c,) in float64 over all `images` and positions, on the device of
    `network`, which is not changed; whatever the batches, they are the same up to rounding. Nothing for
    a network whose layers are all followed by batch norm, or one that torch.fx cannot trace but that has
    batch norm: its running statistics can be reset all the same. Raises InputError where neither can be
    done.
    """
    layers = renormalised_layers(network)
    if not layers:
        if not batch_norms(network):
            raise InputError(
                f"{type(network).__name__}: has no batch norm and no hidden layer that torch.fx can find, so "
                "there is nothing to repair; leave out 'repair' or make the network traceable"
            )
        return {}
    network = at(weights, network)
    moments = {name: ChannelMoments() for name in layers}
    for name, of_layer in moments.items():
        network.get_submodule(name).register_forward_hook(partial(observe, of_layer))
    for batch in inputs_of(network, images, batch_size):
        network(batch)
    return {name: (of_layer.mean, of_layer.std) for name, of_layer in moments.items()}


def blend(goals: Sequence[Goal], shares: Sequence[float]) -> Goal:
    """The weighted mean of the parents' means and of their standard deviations (not variances).

    That is what the paper asks of the child at the same point between the parents. `shares` add to one;
    the parents are aligned, so that channel i is the same in all.
    """
    parts = list(zip(shares, goals, strict=True))
    return {
        name: (
            torch.as_tensor(sum(share * goal[name][0] for share, goal in parts)),
            torch.as_tensor(sum(share * goal[name][1] for share, goal in parts)),
        )
        for name in goals[0]
    }


@torch.no_grad()
def repaired(network: nn.Module, weights: Weights, goal: Goal, images: Images, batch_size: int) -> Weights:
    """The child's `weights` with new running statistics and with the layers of `goal` renormalised.

    In forward order, so that each sees what the corrected ones before it send. A batch norm's running
    mean and variance become those of what arrives there, over all images and positions (variance over n,
    as it normalises, not over n - 1). A layer of `goal`, whose output has a mean and a standard deviation
    std per channel, gets the goal's instead:
        weight <- s weight,  bias <- s (bias - mean) + goal mean,  s = goal std / std.
    A channel that is next to constant in the child (see FLAT) is moved to the goal's mean, not scaled.

    Exact: in eval mode the result meets the goal on `images`, and its batch norms see what their
    statistics say. It does not depend on the batches, except for rounding. (The paper's code makes one pass
    in which each batch is normalised by itself. Depth adds up what that leaves out: two batches of 256
    images rather than one of 512 move the logits of an untrained MobileNetV2 by a fifth of their spread.)
    The price: one pass if one batch holds all images, else a pass, as far as there, for about each batch
    norm and layer. So use batches as large as memory allows.

    The affine weight and bias of batch norms, momentum and num_batches_tracked stay; dropout is off. A
    batch norm that is called more than once gets the statistics of its first call. A layer of `goal`
    without bias gains one: the result is for a network that went through `networks.give_biases`. It is in
    the type and on the device of `network`, which is not changed. Raises InputError if batches take
    different ways through the network.
    """
    network = at(weights, network)
    if goal:
        give_biases(network)  # before there are hooks: this traces the network
    batches = math.ceil(len(images) / batch_size)
    statistics = {name: LayerStatistics(name, batches) for name in (*batch_norms(network), *goal)}
    for name in batch_norms(network):
        network.get_submodule(name).register_forward_pre_hook(partial(reset_statistics, statistics[name]))
    for name, (mean, std) in goal.items():
        network.get_submodule(name).register_forward_hook(partial(renormalise, statistics[name], mean, std))
    correct_in_order(network, list(statistics.values()), images, batch_size)
    return weights_of(network)


def repaired_mean(
    network: nn.Module,
    parents: Sequence[Weights],
    shares: Sequence[float],
    images: Images,
    goals: Sequence[Goal] | None = None,
    batch_size: int = FUSED_AT_ONCE,
) -> Weights:
    """The mean of aligned `parents` with `shares` after REPAIR on `images`; `goals`: see `goals_of`."""
    goals = goals_of(network, parents, images, batch_size) if goals is None else goals
    return repaired(network, combine(parents, shares), blend(goals, shares), images, batch_size)


def goals_of(
    network: nn.Module, parents: Sequence[Weights], images: Images, batch_size: int = FUSED_AT_ONCE
) -> list[Goal]:
    """What each parent puts out, by `output_statistics`: the same for all shares."""
    return [output_statistics(network, parent, images, batch_size) for parent in parents]


def correct_in_order(
    network: nn.Module, statistics: Sequence[LayerStatistics], images: Images, batch_size: int
) -> None:
    """Pass after pass over `images`, until each layer with `statistics` that the network uses is corrected.

    A batch ends at the first layer that waits for others; the one that makes the statistics there complete
    goes on. In the next pass, the others come to where it ended before it comes there again.
    """
    ended = True
    while ended:
        ended = False
        for number, batch in enumerate(inputs_of(network, images, batch_size)):
            for each in statistics:
                each.batch = number
            try:
                network(batch)
            except Incomplete:
                ended = True


class LayerStatistics:
    """What is known of the values at one layer, to be used once all batches have come by."""

    def __init__(self, name: str, batches: int) -> None:
        self.name, self.batches = name, batches
        self.batch = 0  # number of the one that is under way
        self.seen: set[int] = set()
        self.moments = ChannelMoments()

    @property
    def done(self) -> bool:
        return len(self.seen) == self.batches

    def complete(self, x: Tensor, axis: int) -> ChannelMoments:
        """The statistics of all batches, the last being `x`; raises Incomplete if there are more to come."""
        if self.batch in self.seen:
            raise InputError(
                f"{self.name}: not all batches come through this layer; repair with all images in one batch"
            )
        self.seen.add(self.batch)
        self.moments.add(x, axis)
        if not self.done:
            raise Incomplete
        return self.moments


class Incomplete(Exception):
    """Ends a forward pass at a layer that has not seen all batches yet."""


# Hooks; `functools.partial` binds what comes before the module


def observe(moments: ChannelMoments, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    """Forward hook: takes in what the layer puts out."""
    moments.add(output, channel_axis(layer))


def reset_statistics(statistics: LayerStatistics, norm: _BatchNorm, inputs: tuple[Tensor, ...]) -> None:
    """Forward pre-hook: the batch norm takes on the statistics of what arrives."""
    if not statistics.done:
        moments = statistics.complete(inputs[0], axis=1)
        norm.get_buffer("running_mean").copy_(moments.mean)
        norm.get_buffer("running_var").copy_(moments.var)


def renormalise(
    statistics: LayerStatistics,
    mean: Tensor,
    std: Tensor,
    layer: nn.Module,
    inputs: tuple[Tensor, ...],
    output: Tensor,
) -> Tensor | None:
    """Forward hook: the layer's channels take on `mean` and `std` (c,), from this output on."""
    if statistics.done:
        return None  # the layer does it by itself
    axis = channel_axis(layer)
    moments = statistics.complete(output, axis)
    scale, shift = correction(moments.mean, moments.std, mean, std)
    fold(layer, scale, shift)
    return along(scale, output, axis) * output + along(shift, output, axis)


# Parts


def batch_norms(network: nn.Module) -> list[str]:
    """Names of the batch norms that keep running statistics."""
    return [
        name
        for name, module in network.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    ]


def at(weights: Weights, network: nn.Module) -> nn.Module:
    """A copy of `network`, in eval mode, at `weights`."""
    network = copy_of(network)
    set_weights(network, weights)
    return network.eval()


def inputs_of(network: nn.Module, images: Images, batch_size: int) -> Iterator[Tensor]:
    """Batches of `images` in the network's own type and on its device."""
    reference = reference_tensor(network)
    return (batch.to(reference) for batch, _ in images.batches(batch_size))


def correction(mean: Tensor, std: Tensor, goal_mean: Tensor, goal_std: Tensor) -> tuple[Tensor, Tensor]:
    """The scale and shift (c,) that take channels of `mean` and `std` to those of the goal."""
    goal_mean, goal_std = goal_mean.to(mean), goal_std.to(mean)
    spreads = std > FLAT * torch.maximum(goal_std, mean.abs())
    scale = torch.where(spreads, goal_std / torch.where(spreads, std, 1.0), 1.0)
    return scale, goal_mean - scale * mean


def fold(layer: nn.Module, scale: Tensor, shift: Tensor) -> None:
    """Make `scale` * output + `shift` (c,) the layer's own output."""
    weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
    weight.copy_(weight * along(scale, weight, axis=0))
    bias.copy_(bias * scale + shift)


def channel_axis(layer: nn.Module) -> int:
    """Where a layer puts its output channels: last if linear, else after the images."""
    return -1 if isinstance(layer, nn.Linear) else 1


def along(values: Tensor, like: Tensor, axis: int) -> Tensor:
    """`values` (c,) in the type of `like`, shaped to broadcast along its `axis`."""
    shape = [1] * like.dim()
    shape[axis] = len(values)
    return values.to(like.dtype).view(shape)
