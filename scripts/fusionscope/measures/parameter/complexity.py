"""Complexity measures that cost little: norms of the weights, margins, gradients at the end of training.

Definitions: Jiang et al. 2019, "Fantastic Generalization Measures" (arXiv 1912.02178), appendix C, and
Dziugaite et al. 2020, "In Search of Robust Measures of Generalization" (arXiv 2010.11924). As there, norms
are those of the weights of convolutions and linear layers after batch norm has been folded into them.
"""

import copy
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fusionscope.evaluation import predict
from fusionscope.graph.trace import operation, shape
from fusionscope.images import Images
from fusionscope.measurement import Measurement
from fusionscope.measures.input.operator_norms import NoBound, convolution_norm, folded_into, traced_in_double
from fusionscope.measures.parameter.gauss_newton import squared_vjp_norms
from fusionscope.measures.parameter.landscape import Landscape

MARGIN_QUANTILE = 0.1


class NotDefined(Exception):
    """A measure that a network does not have; the message says why."""


def measure_complexity(
    names: Sequence[str],
    landscape: Landscape,
    train_images: Images,
    origin: nn.Module | None,
) -> dict[str, Measurement]:
    """The measures `names`, keys of MEASURES, of the network of `landscape`.

    Margins are those of all `train_images`; gradients are of the loss on the sample of `landscape`.
    `origin`: the network with the initial weights, None where they are not known. What a network does not
    have is left out, and the log says why.
    """
    subject = Subject(landscape, train_images, origin)
    measurements = {}
    for name in names:
        try:
            measurements[name] = Measurement(MEASURES[name](subject))
        except (NotDefined, NoBound) as error:
            logging.getLogger("fusionscope").warning("no %s: %s", name, error)
    return measurements


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


def log_product(log_norms: Sequence[float]) -> float:
    """log prod_l norm_l^2 (Jiang et al. 2019, equations 32 and 37)."""
    return 2 * sum(log_norms)


def sum_over_layers(log_norms: Sequence[float]) -> float:
    """d (prod_l norm_l^2)^(1/d) over d layers (Jiang et al. 2019, equations 35 and 39)."""
    return len(log_norms) * math.exp(log_product(log_norms) / len(log_norms))


def distance_from_initialisation(subject: Subject) -> float:
    """sum_l norm(W_l - W0_l)_F^2 (Jiang et al. 2019, equation 40)."""
    if subject.origin is None:
        raise NotDefined("its initial weights are not known")
    origin = layer_weights(fold_batch_norm(subject.origin))
    return sum((w - w0).square().sum().item() for w, w0 in zip(subject.weights, origin, strict=True))


@torch.no_grad()
def path_norm(folded: fx.GraphModule) -> float:
    """The sum of outputs for an input of ones with all weights squared (Jiang et al. 2019, equation 44)."""
    squared = copy.deepcopy(folded)
    for parameter in squared.parameters():
        parameter.square_()
    image = folded.graph.find_nodes(op="placeholder")[0]
    return squared(torch.ones(shape(image), dtype=torch.float64)).sum().item()


def margin_quantile(logits: Tensor, labels: Tensor) -> float:
    """The 10th percentile of the margins f(x)_y - max_{k != y} f(x)_k of logits (n, classes)."""
    own = logits.gather(1, labels.view(-1, 1)).squeeze(1)
    others = logits.scatter(1, labels.view(-1, 1), -math.inf).amax(1)
    return (own - others).double().quantile(MARGIN_QUANTILE).item()


def gradient_square(landscape: Landscape) -> float:
    """norm(g)^2 of the gradient g of the mean loss."""
    gradient, _ = landscape.gradient(torch.arange(len(landscape), device=landscape.device))
    return sum(part.double().square().sum().item() for part in gradient)


def mean_square_of_single_gradients(landscape: Landscape) -> float:
    """The mean over images of norm(g_i)^2, g_i = J_i^T (p_i - y_i)."""
    network, images = landscape.network, landscape.images
    p = predict(network, images, landscape.batch_size).softmax(1)
    residuals = p - F.one_hot(images.labels, p.shape[1])
    try:
        return squared_vjp_norms(network, images, residuals.unsqueeze(1)).mean().item()
    except RuntimeError as error:  # vmap's, say where the way through the network depends on its numbers
        reason = str(error).partition("\n")[0]
        raise NotDefined(f"no gradients of single images can be had ({reason})") from error


MEASURES: dict[str, Callable[[Subject], float]] = {
    # sum_l norm(W_l)_F^2 (equation 42)
    "parameter_norm": lambda s: sum(weight.square().sum().item() for weight in s.weights),
    "distance_from_initialisation": distance_from_initialisation,
    "log_spectral_product": lambda s: log_product(s.log_spectral),
    "spectral_sum": lambda s: sum_over_layers(s.log_spectral),
    "log_frobenius_product": lambda s: log_product(s.log_frobenius),
    "frobenius_sum": lambda s: sum_over_layers(s.log_frobenius),
    "path_norm": lambda s: path_norm(s.folded),
    # 1 / margin^2 (equation 22), and the same of the margin over prod_l norm(W_l)_2 (equation 31)
    "inverse_margin": lambda s: s.margin**-2,
    "log_normalised_inverse_margin": lambda s: log_product(s.log_spectral) - 2 * math.log(s.margin),
    "gradient_norm": lambda s: math.sqrt(s.gradient_square),
    # the mean over images of norm(g_i - g)^2 (Jiang et al. 2019, equation 66)
    "gradient_variance": lambda s: max(0.0, mean_square_of_single_gradients(s.landscape) - s.gradient_square),
}
