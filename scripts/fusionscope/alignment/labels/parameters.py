"""Parameters that a network uses by itself, outside of layers: scales, embeddings, tokens, masks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from fusionscope.alignment.labels.call import Call
from fusionscope.alignment.labels.ledger import Ledger, anchored
from fusionscope.alignment.labels.memory import overlapping
from fusionscope.alignment.labels.records import Labels, ParameterUse
from fusionscope.graph.operations import WITH_PARAMETERS, Kind, kind_of_call


@dataclass(frozen=True)
class Named:
    """A tensor of the network's own, and its name in the state dict."""

    name: str
    tensor: Tensor


def named(ledger: Ledger, call: Call, argument: object) -> Named | None:
    """An argument that is a tensor of the network's own, just as it is; else None."""
    if not isinstance(argument, fx.Node) or argument.op != "get_attr":
        return None
    tensor = call.value_of(argument)
    names = ledger.names.get(tensor.data_ptr()) if isinstance(tensor, Tensor) else None
    return Named(names[0], tensor) if names else None


def label_parameter(ledger: Ledger, name: str, value: Tensor, constants: Mapping[str, Tensor]) -> Labels:
    """A parameter with one axis has neurons of its own, to be tied to what it meets.

    Where it is one of the `constants`, those of different values there are told apart. Others belong to
    nobody until a layer takes them for its weight; see `fix_parameters`.
    """
    if not has_one_axis(value) or value.data_ptr() not in ledger.names:
        return anchored(value, ledger.anchor(f"used with the tensor {name}"))
    [axis] = long_axes(value)
    neurons = ledger.neurons_along(value, value.numel(), axis)
    place_ids = np.zeros(value.numel(), np.int64)
    if name in constants:
        place_ids = constants[name].flatten().unique(return_inverse=True)[1].cpu().numpy()
    ledger.record_parameter(value, ParameterUse(neurons, place_ids, name, axis))
    return Labels(torch.from_numpy(neurons).view(value.shape), torch.zeros(value.shape, dtype=torch.int64))


def fix_parameters(ledger: Ledger, node: fx.Node, values: Mapping[fx.Node, Any], known: bool) -> None:
    """What has no neurons of its own stays as it is, where `node` reads it.

    Unless it is `known` what the node does, and that is a layer's work with its parameters, or looks at the
    type alone.
    """
    kind = kind_of_call(node)
    taken = known and (kind in WITH_PARAMETERS or kind is Kind.TYPED_AS)
    for source in node.all_input_nodes:
        value = values.get(source)
        if source.op != "get_attr" or not isinstance(value, Tensor):
            continue
        has_neurons = has_one_axis(value) and value.data_ptr() in ledger.names
        if not has_neurons and not (taken and source is not first_argument(node)):
            ledger.fixed |= {value.data_ptr()} | overlapping([*ledger.weights, value])


def first_argument(node: fx.Node) -> object:
    return node.args[0] if node.args else node.kwargs.get("input")


def has_one_axis(value: Tensor) -> bool:
    return len(long_axes(value)) == 1 and value.is_floating_point()


def long_axes(value: Tensor) -> list[int]:
    return [axis for axis, size in enumerate(value.shape) if size > 1]
