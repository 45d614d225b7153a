"""REPAIR's diagnostic: how much a child's neurons vary beside those of its parents, layer by layer.

The mean of weights whose neurons have little in common answers much the same to every image: the variance
of its pre-activations collapses, more with every layer (Jordan et al. 2023, REPAIR, arXiv 2211.08403).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from fusionscope.evaluation import check_finite
from fusionscope.fusion.repair import at, batch_norms, channel_axis, inputs_of
from fusionscope.images import Images
from fusionscope.measurement import Measurement, undefined
from fusionscope.moments import ChannelMoments, varies
from fusionscope.networks.biases import renormalised_layers
from fusionscope.weights import Weights

# of a CSV file; `model` is the child, `ratio` is empty where the parents' neurons do not vary
VARIANCE_COLUMNS = ("seed", "model", "layer", "child_variance", "parents_variance", "ratio")

NO_LAYERS = "there is no layer that repair knows and in which the parents' neurons vary"


@dataclass(frozen=True)
class LayerVariance:
    """How much the neurons of one layer vary, on average over them."""

    layer: str
    child: float
    parents: float  # mean over the parents

    @property
    def ratio(self) -> float | None:
        """The child's variance over its parents'; None where theirs is zero."""
        return self.child / self.parents if self.parents > 0 else None


@torch.no_grad()
def layer_variances(
    network: nn.Module, weights: Weights, images: Images, batch_size: int, *, name: str | None = None
) -> dict[str, float]:
    """The mean over a layer's neurons of the variance of what they put out, by layer, in forward order.

    The layers are those that repair sets right: those that it renormalises (see `renormalised_layers`), at
    their output before the activation function, and batch norms, at theirs. A neuron's variance is over
    all `images` and places, in float64, streamed. `network` lends architecture and device and is left
    as it was. Raises InputError, which calls it `name`, where its outputs are not finite.
    """
    network = at(weights, network)
    moments: dict[str, ChannelMoments] = {}
    for layer in (*renormalised_layers(network), *batch_norms(network)):
        network.get_submodule(layer).register_forward_hook(partial(take_in, moments, layer))
    logits = [network(batch) for batch in inputs_of(network, images, batch_size)]
    check_finite(torch.cat(logits), network, name)
    return {layer: mean_variance(of_layer) for layer, of_layer in moments.items()}


def take_in(
    moments: dict[str, ChannelMoments],
    name: str,
    layer: nn.Module,
    inputs: tuple[Tensor, ...],
    output: Tensor,
) -> None:
    """Forward hook: adds what the layer of that `name` puts out to its moments."""
    moments.setdefault(name, ChannelMoments()).add(output, channel_axis(layer))


def mean_variance(moments: ChannelMoments) -> float:
    """Over channels; one that varies by no more than rounding does not vary."""
    return (moments.var * varies(moments.var, moments.mean)).mean().item()


def compare(child: Mapping[str, float], parents: Sequence[Mapping[str, float]]) -> list[LayerVariance]:
    """The `layer_variances` of a child beside those of its parents, for each layer that all have."""
    return [
        LayerVariance(layer, variance, sum(parent[layer] for parent in parents) / len(parents))
        for layer, variance in child.items()
        if all(layer in parent for parent in parents)
    ]


def mean_ratio(layers: Sequence[LayerVariance]) -> dict[str, Measurement]:
    """`activation_variance_ratio`: the geometric mean over layers of the child's variance over its parents'.

    Geometric, as for any ratio: a layer with half the variance and one with twice as much make 1, and one in
    which a thousandth is left counts as much as three with a tenth, where a plain mean would be that of
    the first layers, which are near 1. Zero where the neurons of some layer do not vary at all.
    """
    ratios = [each.ratio for each in layers if each.ratio is not None]
    if not ratios:
        return {"activation_variance_ratio": undefined(NO_LAYERS)}
    mean = 0.0 if 0 in ratios else math.exp(sum(map(math.log, ratios)) / len(ratios))
    return {"activation_variance_ratio": Measurement(mean)}


def variance_rows(layers: Sequence[LayerVariance], *, seed: int, model: str) -> list[dict[str, object]]:
    """One row, with VARIANCE_COLUMNS as keys, per layer in forward order."""
    return [
        {
            "seed": seed,
            "model": model,
            "layer": each.layer,
            "child_variance": each.child,
            "parents_variance": each.parents,
            "ratio": "" if each.ratio is None else each.ratio,
        }
        for each in layers
    ]
