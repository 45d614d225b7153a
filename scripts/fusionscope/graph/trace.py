"""The traced graph of a network: which operation feeds which, with shapes and modules at hand."""

import operator
from collections.abc import Callable

import torch
from torch import fx, nn

from fusionscope.graph.operations import CHANGES_IN_PLACE

INPUT_SHAPE = (3, 32, 32)  # of the study's networks


def input_shape(network: nn.Module) -> tuple[int, int, int]:
    """Channels, height and width of one image as `network` takes it."""
    return getattr(network, "input_shape", INPUT_SHAPE)


class InPlaceProxy(fx.Proxy):
    """What stands for a tensor while a network is traced, and also records work in place.

    fx.Proxy itself takes x += y for x = x + y, which is another function where x goes by two names, and
    refuses x[:, 0] = y.
    """

    def __setitem__(self, index: object, value: object) -> None:
        self.tracer.create_proxy("call_function", operator.setitem, (self, index, value), {})


def recorded(function: Callable) -> Callable:
    """The method of a proxy that records a call of `function`."""

    def method(self: InPlaceProxy, other: object) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", function, (self, other), {})

    return method


for function in CHANGES_IN_PLACE:
    if function is not operator.setitem:
        setattr(InPlaceProxy, f"__{function.__name__}__", recorded(function))


class Tracer(fx.Tracer):
    """Traces with proxies that see work in place, and with buffers in the graph: they are not constants."""

    proxy_buffer_attributes = True

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return InPlaceProxy(node, self)


def trace_operations(network: nn.Module) -> fx.GraphModule:
    """`network` as a graph of operations; nothing is computed. It shares the network's modules and tensors.

    Raises what torch.fx raises, half a dozen kinds, where the network cannot be traced.
    """
    return fx.GraphModule(network, Tracer().trace(network))


def trace_network(network: nn.Module) -> fx.GraphModule:
    """As `trace_operations`; nodes carry the shape of their output for one image, see `shape`."""
    traced = trace_operations(network)
    reference = next(network.parameters())
    with torch.no_grad():
        ShapeRecorder(traced).run(reference.new_zeros(1, *input_shape(network)))
    return traced


def first_line(error: Exception) -> str:
    """What an error says, for a sentence."""
    return (str(error).splitlines() or [type(error).__name__])[0]


class ShapeRecorder(fx.Interpreter):
    """Notes the shape of each node's output; PyTorch's own ShapeProp takes a second to import."""

    def run_node(self, node: fx.Node) -> object:
        value = super().run_node(node)
        if isinstance(value, torch.Tensor):
            node.meta["shape"] = value.shape
        return value


def operation(node: fx.Node, traced: fx.GraphModule) -> object:
    """What a node does: the module it calls, or the function (torch.flatten, operator.add, ...)."""
    return traced.get_submodule(str(node.target)) if node.op == "call_module" else node.target


def shape(node: fx.Node) -> torch.Size:
    """The shape of a node's output for one image: (1, channels, ...)."""
    return node.meta["shape"]
