"""A network whose complexity is measured, and what several measures need of it, each found once.

As in Jiang et al. 2019 (arXiv 1912.02178, appendix C) and Dziugaite et al. 2020 (arXiv 2010.11924), norms are
those of the weights of convolutions and linear layers after batch norm has been folded into them.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fusionscope.evaluation import predict
from fusionscope.graph.trace import operation, shape
from fusionscope.images import Images
from fusionscope.measurement import Measurement
from fusionscope.measures.input.operator_norms import NoBound, convolution_norm, folded_into, traced_in_double
from fusionscope.measures.parameter.landscape import Landscape
from fusionscope.registry import resolve

MARGIN_QUANTILE = 0.1


class NotDefined(Exception):
    """A measure that a network does not have; the message says why."""


@dataclass
class Subject:
    """A network and what several measures need of it, each found once."""

    landscape: Landscape
    train_images: Images
    origin: nn.Module | None

    @cached_property
    def folded(self) -> fx.GraphModule:
        return fold_batch_norm(self.landscape.network)

    @cached_property
    def weights(self) -> list[Tensor]:
        return layer_weights(self.folded)

    @cached_property
    def log_spectral(self) -> list[float]:
        return logs(spectral_norms(self.folded))

    @cached_property
    def log_frobenius(self) -> list[float]:
        return logs([weight.norm().item() for weight in self.weights])

    @cached_property
    def margin_quantile(self) -> float:
        logits = predict(self.landscape.network, self.train_images, self.landscape.batch_size)
        return margin_quantile(logits, self.train_images.labels)

    @property
    def margin(self) -> float:
        if self.margin_quantile <= 0:
            raise NotDefined(
                f"its margin is {self.margin_quantile:.3g}: a tenth of the train set or more is not right"
            )
        return self.margin_quantile

    @cached_property
    def gradient_square(self) -> float:
        return gradient_square(self.landscape)


def load_measures(entries: Mapping[str, str]) -> dict[str, Callable[[Subject], float]]:
    """The functions that `entries` name, by the name of the measure; one's own is named by its entry."""
    return {name: resolve(entry) for name, entry in entries.items()}


def measure_complexity(
    measures: Mapping[str, Callable[[Subject], float]], subject: Subject
) -> dict[str, Measurement]:
    """Each of `measures` by name, in their order.

    What a network does not have (NotDefined, NoBound) is left out, and the log says why.
    """
    measurements = {}
    for name, measure in measures.items():
        try:
            measurements[name] = Measurement(measure(subject))
        except (NotDefined, NoBound) as error:
            logging.getLogger("fusionscope").warning("no %s: %s", name, error)
    return measurements


def fold_batch_norm(network: nn.Module) -> fx.GraphModule:
    """The same function in float64, with each batch norm folded into the convolution before it.

    Raises NoBound where torch.fx cannot trace `network`, or where weights are left that are
    neither a convolution's nor a linear layer's.
    """
    traced = traced_in_double(network)
    targets = [node.target for node in traced.graph.nodes if node.op == "call_module"]
    for node in list(traced.graph.nodes):
        norm = folded_into(node, traced)
        if norm is None:
            continue
        (reader,) = node.users
        if targets.count(node.target) == targets.count(reader.target) == 1:
            traced.set_submodule(node.target, fuse_conv_bn_eval(operation(node, traced), norm))
            traced.set_submodule(reader.target, nn.Identity())
    for name, module in traced.named_modules():
        own = [*module.parameters(recurse=False)] or isinstance(module, _BatchNorm)
        if own and not isinstance(module, nn.Conv2d | nn.Linear):
            raise NoBound(f"'{name or type(network).__name__}' has weights of another kind than layers have")
    return traced


def layer_nodes(folded: fx.GraphModule) -> list[fx.Node]:
    """The calls of convolutions and linear layers, each layer once."""
    nodes = {
        node.target: node
        for node in folded.graph.nodes
        if node.op == "call_module" and isinstance(operation(node, folded), nn.Conv2d | nn.Linear)
    }
    return list(nodes.values())


def layer_weights(folded: fx.GraphModule) -> list[Tensor]:
    return [operation(node, folded).weight.detach() for node in layer_nodes(folded)]


def spectral_norms(folded: fx.GraphModule) -> list[float]:
    """The operator norm of each layer, of convolutions at their size of input in this network."""
    norms = []
    for node in layer_nodes(folded):
        layer = operation(node, folded)
        if isinstance(layer, nn.Linear):
            norms.append(torch.linalg.matrix_norm(layer.weight, 2).item())
        else:
            norms.append(convolution_norm(layer, shape(node.all_input_nodes[0])[1:]))
    return norms


def logs(norms: Sequence[float]) -> list[float]:
    if 0.0 in norms:
        raise NotDefined("a layer has no weights other than zero")
    return [math.log(norm) for norm in norms]


def margin_quantile(logits: Tensor, labels: Tensor) -> float:
    """The 10th percentile of the margins f(x)_y - max_{k != y} f(x)_k of logits (n, classes)."""
    own = logits.gather(1, labels.view(-1, 1)).squeeze(1)
    others = logits.scatter(1, labels.view(-1, 1), -math.inf).amax(1)
    return (own - others).double().quantile(MARGIN_QUANTILE).item()


def gradient_square(landscape: Landscape) -> float:
    """norm(g)^2 of the gradient g of the mean loss."""
    gradient, _ = landscape.gradient(torch.arange(len(landscape), device=landscape.device))
    return sum(part.double().square().sum().item() for part in gradient)
