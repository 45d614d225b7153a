"""Convolutions and linear layers: their outputs are new neurons."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import fx

from fusionscope.alignment.labels.call import Call
from fusionscope.alignment.labels.ledger import Ledger
from fusionscope.alignment.labels.parameters import Named, named
from fusionscope.alignment.labels.places import numbers_of_blocks, spread
from fusionscope.alignment.labels.records import READER, WRITER, Labels, ParameterUse, WeightUse

# What functions may be given by position.
OF_LINEAR = ("input", "weight", "bias")
OF_CONVOLUTION = (*OF_LINEAR, "stride", "padding", "dilation", "groups")


@dataclass(frozen=True)
class Layer:
    """A layer that is called, as a module or as a function."""

    source: Labels  # of what it reads
    read_from: str  # the node that it reads
    weight: Named
    bias: Named | None
    blocks: int = 1  # groups of a convolution


def layer_of_module(call: Call, blocks: int = 1) -> Layer:
    module, name = call.module, call.name
    bias = None if module.bias is None else Named(f"{name}.bias", module.bias)
    node = call.node.all_input_nodes[0]
    return Layer(call.source, node.name, Named(f"{name}.weight", module.weight), bias, blocks)


def layer_of_function(ledger: Ledger, call: Call, names: tuple[str, ...]) -> Layer | None:
    """None unless its weight and bias are the network's own, as they are."""
    given = call.given(*names)
    weight, bias = (named(ledger, call, given.get(part)) for part in ("weight", "bias"))
    if weight is None or (bias is None and given.get("bias") is not None):
        return None
    source = given["input"]
    if not isinstance(source, fx.Node):
        return None
    return Layer(call.labels_of(source), source.name, weight, bias, call.value_of(given.get("groups", 1)))


def label_convolution(ledger: Ledger, call: Call) -> Labels | None:
    return convolution(ledger, call, layer_of_module(call, call.module.groups))


def label_convolution_function(ledger: Ledger, call: Call) -> Labels | None:
    return of_function(ledger, call, OF_CONVOLUTION, convolution)


def label_linear(ledger: Ledger, call: Call) -> Labels:
    return linear(ledger, call, layer_of_module(call))


def label_linear_function(ledger: Ledger, call: Call) -> Labels | None:
    return of_function(ledger, call, OF_LINEAR, linear)


def of_function(
    ledger: Ledger,
    call: Call,
    names: tuple[str, ...],
    label: Callable[[Ledger, Call, Layer], Labels | None],
) -> Labels | None:
    layer = layer_of_function(ledger, call, names)
    return None if layer is None else label(ledger, call, layer)


def convolution(ledger: Ledger, call: Call, layer: Layer) -> Labels | None:
    weight, blocks = layer.weight.tensor, layer.blocks
    if layer.source.neuron.dim() != weight.dim():
        return None  # an image without a batch: channels are not axis 1
    channels, wider = layer.source.neuron.shape[1], len(weight)
    neurons, place_ids = ledger.collapse_onto_axis(layer.source, axis=1)
    if blocks == channels > 1:  # depthwise: an output is a place of its input
        several = wider // channels
        # outputs of one channel lie side by side
        outputs = neurons.repeat(several)
        place_ids = place_ids.repeat(several) * several + np.tile(np.arange(several), channels)
    else:
        seen = numbers_of_blocks(channels, blocks) * (place_ids.max() + 1) + place_ids
        name = layer.weight.name
        use = WeightUse(neurons, seen, name, 1, READER, blocks, node=layer.read_from, dim=1)
        ledger.record_parameter(weight, use)
        outputs, place_ids = ledger.neurons_along(weight, wider), numbers_of_blocks(wider, blocks)
    return written(ledger, call, layer, outputs, place_ids, axis=1)


def linear(ledger: Ledger, call: Call, layer: Layer) -> Labels:
    weight = layer.weight.tensor
    neurons, place_ids = ledger.collapse_onto_axis(layer.source, axis=-1)
    last = layer.source.neuron.dim() - 1
    use = WeightUse(neurons, place_ids, layer.weight.name, 1, READER, node=layer.read_from, dim=last)
    ledger.record_parameter(weight, use)
    outputs = ledger.neurons_along(weight, len(weight))
    return written(ledger, call, layer, outputs, np.zeros(len(weight), np.int64), axis=last)


def written(
    ledger: Ledger, call: Call, layer: Layer, outputs: np.ndarray, place_ids: np.ndarray, *, axis: int
) -> Labels:
    """What a layer puts out along `axis`: `outputs`, made by the rows of its weight."""
    use = WeightUse(outputs, place_ids, layer.weight.name, 0, WRITER, node=call.node.name, dim=axis)
    ledger.record_parameter(layer.weight.tensor, use)
    if layer.bias is not None:
        ledger.record_parameter(layer.bias.tensor, ParameterUse(outputs, place_ids, layer.bias.name))
    return spread(outputs, place_ids, call.value, axis=axis)
