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

from fusionscope.evaluation import margins, predict
from fusionscope.graph.trace import operation, shape
from fusionscope.images import Images
from fusionscope.measurement import Measurement, undefined
from fusionscope.measures.input.operator_norms import NoBound, convolution_norm, folded_into, traced_in_double
from fusionscope.measures.parameter.landscape import Landscape
from fusionscope.measures.undefined import NotDefined, refusals_as_undefined
from fusionscope.registry import load_own, resolve

MARGIN_QUANTILE = 0.1
LIBRARY = "fusionscope."


@dataclass
class Subject:
    """A network and what several measures need of it, each found once.

    A measure is a function of a Subject that gives a number, or raises NotDefined.
    """

    landscape: Landscape  # the network, and a sample of the train set for its loss and gradients
    train_images: Images  # all of them
    origin: nn.Module | None  # the network with the initial weights; None where they are not known

    @cached_property
    def folded(self) -> fx.GraphModule:
        """The network in float64, with batch norm folded in. Raises NoBound without a graph."""
        return fold_batch_norm(self.landscape.network)

    @cached_property
    def weights(self) -> list[Tensor]:
        """The weights of each convolution and linear layer of the folded network."""
        return layer_weights(self.folded)

    @cached_property
    def log_spectral(self) -> list[float]:
        """The logarithm of each layer's operator norm."""
        return logs(spectral_norms(self.folded))

    @cached_property
    def log_frobenius(self) -> list[float]:
        """The logarithm of the Frobenius norm of each layer's weights."""
        return logs([weight.norm().item() for weight in self.weights])

    @cached_property
    def margin_quantile(self) -> float:
        """The 10th percentile of the margins on the train set."""
        logits = predict(self.landscape.network, self.train_images, self.landscape.batch_size)
        return margin_quantile(logits, self.train_images.labels)

    @property
    def margin(self) -> float:
        """The same; raises NotDefined where it is not above 0."""
        if self.margin_quantile <= 0:
            raise NotDefined(
                f"its margin is {self.margin_quantile:.3g}: a tenth of the train set or more is not correct"
            )
        return self.margin_quantile

    @cached_property
    def gradient_square(self) -> float:
        """norm(g)^2 of the gradient g of the mean loss on the sample."""
        return gradient_square(self.landscape)


def load_measures(entries: Mapping[str, str]) -> dict[str, Callable[[Subject], float]]:
    """The functions that `entries` name, `module:function`, by the name of the measure.

    Those outside the library are the user's own, looked for in the current folder first; raises InputError
    where one is not found.
    """
    return {
        name: resolve(entry) if entry.startswith(LIBRARY) else load_own(entry, "complexity")
        for name, entry in entries.items()
    }


def measure_complexity(
    measures: Mapping[str, Callable[[Subject], float]], subject: Subject
) -> dict[str, Measurement]:
    """Each of `measures` by name, in their order.

    What a network does not have (NotDefined) is undefined; what cannot be found of it (NoBound) is left out,
    and the log says why.
    """
    measurements = {}
    for name, measure in measures.items():
        try:
            with refusals_as_undefined():
                measurements[name] = Measurement(measure(subject))
        except NotDefined as error:
            measurements[name] = undefined(str(error))
        except NoBound as error:
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
        convolution, norm = operation(node, traced), folded_into(node, traced)
        if norm is None or not isinstance(convolution, nn.Conv2d):
            continue
        (reader,) = node.users
        if targets.count(node.target) == targets.count(reader.target) == 1:
            traced.set_submodule(str(node.target), fuse_conv_bn_eval(convolution, norm))
            traced.set_submodule(str(reader.target), nn.Identity())
    for name, module in traced.named_modules():
        own = [*module.parameters(recurse=False)] or isinstance(module, _BatchNorm)
        if own and not isinstance(module, nn.Conv2d | nn.Linear):
            raise NoBound(f"'{name or type(network).__name__}' has weights of another kind than layers have")
    return traced


def layers(folded: fx.GraphModule) -> list[tuple[fx.Node, nn.Conv2d | nn.Linear]]:
    """Each convolution and linear layer once, after the node that calls it. Raises NotDefined without any."""
    found = {}
    for node in folded.graph.nodes:
        layer = operation(node, folded) if node.op == "call_module" else None
        if isinstance(layer, nn.Conv2d | nn.Linear):
            found[node.target] = (node, layer)
    if not found:
        raise NotDefined("it has no convolution and no linear layer")
    return list(found.values())


def layer_weights(folded: fx.GraphModule) -> list[Tensor]:
    return [layer.weight.detach() for _, layer in layers(folded)]


def spectral_norms(folded: fx.GraphModule) -> list[float]:
    """The operator norm of each layer, of convolutions at their size of input in this network."""
    norms = []
    for node, layer in layers(folded):
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
    return margins(logits, labels).double().quantile(MARGIN_QUANTILE).item()


def gradient_square(landscape: Landscape) -> float:
    """norm(g)^2 of the gradient g of the mean loss."""
    gradient, _ = landscape.gradient(torch.arange(len(landscape), device=landscape.device))
    squares = torch.stack([part.double().square().sum() for part in gradient])
    return sum(squares.tolist())  # a GPU is waited for once
