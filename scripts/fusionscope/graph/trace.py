"""The traced graph of a network: which operation feeds which, with shapes and modules at hand."""

import operator
import os
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
from torch import fx, nn

from fusionscope.graph.operations import CHANGES_IN_PLACE
from fusionscope.memory import is_out_of_memory
from fusionscope.state import left_as_it_was

INPUT_SHAPE = (3, 32, 32)  # of the study's networks
CONSTANT = "_tensor_constant"  # how torch.fx calls a tensor that a forward pass makes
LIBRARY, PYTORCH = Path(__file__).parents[1], Path(torch.__file__).parent
STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib"))
SITE_PACKAGES = "site-packages"  # a folder of others' packages, which may lie in that of the standard library


class NotTraceable(Exception):
    """torch.fx cannot trace a network; the message says why, and where in the network's code."""


def input_shape(network: nn.Module) -> tuple[int, int, int]:
    """Channels, height and width of one image as `network` takes it."""
    return getattr(network, "input_shape", INPUT_SHAPE)


def reference_tensor(network: nn.Module) -> torch.Tensor:
    """A tensor in the type, and on the device, in which `network` takes images.

    Its first real parameter, or else its first real buffer; without any, one in single precision.
    """
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.is_floating_point():
            return tensor
    return torch.zeros(())


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

    The graph has those of its tensors that the forward pass reads: for weights other than the network's own,
    set them before. `network` itself is left as it was. Raises NotTraceable where torch.fx fails.
    """
    check_is_plain_python(network)
    try:
        with left_as_it_was(network):
            graph = Tracer().trace(network)
            constants = {name: each for name, each in vars(network).items() if name.startswith(CONSTANT)}
    except Exception as error:  # torch.fx raises half a dozen kinds, and the network's own code any
        if is_of_the_machine(error):
            raise
        raise NotTraceable(explain(error)) from error
    with left_as_it_was(network):  # which has its own tensors again where forward assigned to them
        vars(network).update(constants)
        return fx.GraphModule(network, graph)


def check_is_plain_python(network: nn.Module) -> None:
    """Raise NotTraceable for a network that is wrapped or compiled, and whose own code cannot be seen."""
    if isinstance(network, nn.DataParallel):
        raise NotTraceable("it is wrapped in DataParallel: make the network inside, without the wrapper")
    if isinstance(network, torch.jit.ScriptModule):
        raise NotTraceable("it is compiled by TorchScript: make the network that was compiled, in Python")


def trace_network(network: nn.Module) -> fx.GraphModule:
    """As `trace_operations`; nodes carry the shape of their output for one image, see `shape`."""
    traced = trace_operations(network)
    image = reference_tensor(network).new_zeros(1, *input_shape(network))
    try:
        with left_as_it_was(network), torch.no_grad():
            ShapeRecorder(traced).run(image)
    except Exception as error:
        if is_of_the_machine(error):
            raise
        raise NotTraceable(explain(error)) from error
    return traced


def is_of_the_machine(error: Exception) -> bool:
    """Whether an error says that memory ran out or a GPU failed: nothing about the network."""
    return isinstance(error, torch.OutOfMemoryError | torch.AcceleratorError) or is_out_of_memory(error)


def explain(error: Exception) -> str:
    """What an error says, in a few words for a sentence, after the line of one's own code that led to it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    words = lines[0].partition(". ")[0].rstrip(".")
    for name in (f"'{InPlaceProxy.__name__}'", InPlaceProxy.__name__):
        words = words.replace(name, "a tensor that is being traced")
    place = place_in_own_code(error)
    return f"{place}: {words}" if place else words


def place_in_own_code(error: Exception) -> str | None:
    """File and line where somebody's own network, not PyTorch or this library, raised an error."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path == Path(__file__):
            continue  # a proxy, called by the network
        if path.is_relative_to(LIBRARY):
            return None  # what called the network
        in_packages = SITE_PACKAGES in path.parts or not path.is_relative_to(STANDARD_LIBRARY)
        if path.exists() and in_packages and not path.is_relative_to(PYTORCH):
            here = path.is_relative_to(os.getcwd())
            return f"{os.path.relpath(path) if here else Path(*path.parts[-2:])}:{frame.lineno}"
    return None


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
