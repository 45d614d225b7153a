"""The traced graph of a network: which operation feeds which, with shapes and modules at hand."""

import operator
import os
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn

from fusionscope.graph.operations import CHANGES_IN_PLACE, Kind, kind_of_call
from fusionscope.memory import is_out_of_memory
from fusionscope.state import left_as_it_was

INPUT_SHAPE = (3, 32, 32)  # of the study's networks
CONSTANT = "_tensor_constant"  # how torch.fx calls a tensor that a forward pass makes
LIBRARY, PYTORCH = Path(__file__).parents[1], Path(torch.__file__).parent
STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib"))
BATCH_SIZES = (1, 2, 500)  # what differs between them depends on how many images there are
UNKNOWN = object()  # a value that cannot be told while tracing
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


class KnownNumber(fx.Proxy):
    """A proxy that has a value where that depends on shapes alone."""

    tracer: "Tracer"

    def __len__(self) -> int:
        length = self.tracer.values.length(self.node)
        return super().__len__() if length is UNKNOWN else length

    def __index__(self) -> int:
        return operator.index(self.value_of_shapes())

    def __int__(self) -> int:
        return int(self.value_of_shapes())

    def __float__(self) -> float:
        return float(self.value_of_shapes())

    def value_of_shapes(self) -> Any:
        """Raises TraceError where it depends on more than shapes, or on how many images there are."""
        value = self.tracer.values.of_shapes(self.node)
        if value is UNKNOWN:
            raise fx.proxy.TraceError("a number that is not known while tracing is needed")
        return value


class Attribute(KnownNumber, fx.proxy.Attribute):
    """What stands for an attribute of a tensor, as its shape, or for a method until it is called."""


class TensorProxy(KnownNumber):
    """What stands for a tensor while a network is traced, or for a number that is made of one.

    It also records work in place: fx.Proxy itself takes x += y for x = x + y, which is another function where
    x goes by two names, and refuses x[:, 0] = y.
    """

    def __getattr__(self, name: str) -> Attribute:
        return Attribute(self, name)

    def __setitem__(self, index: object, value: object) -> None:
        self.tracer.create_proxy("call_function", operator.setitem, (self, index, value), {})


def recorded(function: Callable) -> Callable:
    """The method of a proxy that records a call of `function`."""

    def method(self: TensorProxy, other: object) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", function, (self, other), {})

    return method


for function in CHANGES_IN_PLACE:
    if function is not operator.setitem:
        setattr(TensorProxy, f"__{function.__name__}__", recorded(function))


class Tracer(fx.Tracer):
    """Traces with proxies that see work in place, and with buffers in the graph: they are not constants.

    Where the network's code asks for a number, as in `if h % 2` or `range(n)`, it is told what that is at
    the network's input size, if it depends on shapes alone and is the same for any number of images.
    """

    proxy_buffer_attributes = True

    def __init__(self, image: torch.Tensor):
        super().__init__()
        self.values = Values(self, image)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return TensorProxy(node, self)

    def to_bool(self, obj: fx.Proxy) -> bool:
        value = self.values.of_shapes(obj.node)
        return super().to_bool(obj) if value is UNKNOWN else bool(value)

    def iter(self, obj: fx.Proxy) -> Iterator:
        length = self.values.length(obj.node)
        if length is UNKNOWN:
            return super().iter(obj)
        return iter([operator.getitem(obj, number) for number in range(length)])

    # while values are looked for, modules are called as they are

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if self.values.looking:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def call_module(self, m: nn.Module, forward: Callable, args: tuple, kwargs: dict) -> Any:
        if self.values.looking:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)


class Values:
    """What the nodes of a graph under construction give, for batches of several sizes, found when asked for.

    Nothing is computed: tensors are PyTorch's fake ones, which have shapes and types and no numbers.
    """

    def __init__(self, tracer: Tracer, image: torch.Tensor):
        self.tracer, self.image = tracer, image
        self.found: dict[fx.Node, list[Any]] = {}  # one value for each batch
        self.looking = False

    def of_shapes(self, node: fx.Node) -> Any:
        """The value of a node if it depends on shapes alone and is the same for all batches, else UNKNOWN."""
        self.find()
        first, *others = self.found[node]
        if not self.depends_on_shapes(node) or any(other != first for other in others):
            return UNKNOWN
        return first

    def length(self, node: fx.Node) -> Any:
        """How many values a node gives, a tuple or list, if as many for all batches; else UNKNOWN."""
        self.find()
        lengths = {len(value) if isinstance(value, tuple | list) else None for value in self.found[node]}
        return UNKNOWN if len(lengths) > 1 or None in lengths else lengths.pop()

    def depends_on_shapes(self, node: fx.Node) -> bool:
        """Whether it gives numbers that are made of shapes and types of tensors, and of nothing else."""
        waiting = [node]
        while waiting:
            each = waiting.pop()
            if any(isinstance(value, torch.Tensor) or value is UNKNOWN for value in self.found[each]):
                return False
            if kind_of_call(each) is not Kind.SIZE:
                if not each.all_input_nodes:
                    return False
                waiting += each.all_input_nodes
        return True

    @cached_property
    def fake(self) -> Any:
        """PyTorch's mode in which new tensors are fake; the network's own may be real."""
        from torch._subclasses.fake_tensor import FakeTensorMode  # here: most networks ask for no number

        return FakeTensorMode(allow_non_fake_inputs=True)

    @cached_property
    def batches(self) -> list[torch.Tensor]:
        with self.fake:
            return [self.image.new_zeros(count, *self.image.shape[1:]) for count in BATCH_SIZES]

    def find(self) -> None:
        """The values of all nodes so far that are not known yet, in their order."""
        self.looking = True
        try:
            with self.fake, torch.no_grad():
                for node in self.tracer.graph.nodes:
                    if node not in self.found:
                        self.found[node] = [self.value(node, number) for number in range(len(BATCH_SIZES))]
        finally:
            self.looking = False

    def value(self, node: fx.Node, number: int) -> Any:
        """For one of the batches; UNKNOWN where it cannot be told."""
        if node.op == "placeholder":
            return self.of_placeholder(node, number)
        given = [self.found[source][number] for source in node.all_input_nodes]
        if any(value is UNKNOWN for value in given):
            return UNKNOWN
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda source: self.found[source][number])
        try:
            value = called(self.tracer.root, node, args, kwargs)
            # a buffer that forward has assigned to
            return UNKNOWN if isinstance(value, fx.Proxy) else value
        except Exception as error:  # of any kind; what is wrong with the network shows when it is run
            if is_of_the_machine(error):
                raise
            return UNKNOWN

    def of_placeholder(self, node: fx.Node, number: int) -> Any:
        """The images, or the default of another argument of forward."""
        if node is next(iter(self.tracer.graph.nodes)):
            return self.batches[number]
        return node.args[0] if node.args else UNKNOWN


def called(root: nn.Module, node: fx.Node, args: tuple, kwargs: dict) -> Any:
    """What a node gives when it is called with these arguments."""
    target = str(node.target)
    if node.op == "get_attr":
        return operator.attrgetter(target)(root)
    if node.op == "call_module":
        return root.get_submodule(target).forward(*args, **kwargs)
    if node.op == "call_method":
        return getattr(args[0], target)(*args[1:], **kwargs)
    return node.target(*args, **kwargs)  # type: ignore[operator]  # a function


def trace_operations(network: nn.Module) -> fx.GraphModule:
    """`network` as a graph of operations; nothing is computed. It shares the network's modules and tensors.

    The graph has those of its tensors that the forward pass reads: for weights other than the network's own,
    set them before. `network` itself is left as it was. Raises NotTraceable where torch.fx fails.
    """
    check_is_plain_python(network)
    image = reference_tensor(network).new_zeros(1, *input_shape(network))
    try:
        with left_as_it_was(network):
            graph = Tracer(image).trace(network)
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
    for name in (f"'{TensorProxy.__name__}'", TensorProxy.__name__):
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
