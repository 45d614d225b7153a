"""What is known of PyTorch's operations, in one table: what each does to neurons, how steep it is.

Alignment, REPAIR, Lipschitz bounds and the trace of Gauss and Newton read it. An operation that is in none
of its entries is unknown: what it reads cannot move, it has no bound, and it is not taken for piecewise
linear. A new operation is one entry.
"""

import inspect
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

Spelling = type[nn.Module] | Callable | str  # a class of modules, a function, a name


class Kind(Enum):
    """What an operation does to the neurons that it reads."""

    CONVOLUTION = auto()  # channels are axis 1
    LINEAR = auto()  # neurons are the last axis
    BATCH_NORM = auto()
    INSTANCE_NORM = auto()
    GROUP_NORM = auto()
    LAST_AXIS_NORM = auto()
    CHANNEL_SLOPE = auto()  # PReLU
    AVERAGE_POOL = auto()
    MAX_POOL = auto()
    PADDING = auto()  # by a constant
    ELEMENTWISE = auto()
    ADDITION = auto()  # element by element, or a subtraction
    PRODUCT = auto()  # element by element
    MOVEMENT = auto()  # puts elements elsewhere, drops some or repeats them
    SHAPED_AS = auto()  # a movement; of its second tensor only the shape counts
    JOIN = auto()
    REDUCTION = auto()  # over some axes
    MEAN = auto()
    SIZE = auto()  # no tensor, but a number that depends on the shape or type of one
    TYPED_AS = auto()  # the same in another type; of other tensors only the type counts


@dataclass(frozen=True)
class Operation:
    """What is known of one operation, under all the `spellings` that it has.

    A name is that of a tensor's method. Functions of PyTorch's, torchvision's and Python's `operator` that
    go by such a name, or by that of a function listed, are of the same `kind` (not where `exact`); nothing
    else is known of them, as a name does not say what the arguments do.
    """

    kind: Kind
    spellings: tuple[Spelling, ...]
    slope: float | None = None  # its Lipschitz constant in eval mode, if the same at every size
    piecewise_linear: bool = False  # in what it reads and in each of its weights, in eval mode
    exact: bool = False


# The largest slopes of activations.
SILU_SLOPE = 1.0998393194337135  # at x tanh(x/2) = 2, where the second derivative vanishes
GELU_SLOPE = 0.5 * (1 + math.erf(1)) + math.exp(-1) / math.sqrt(math.pi)  # at x = sqrt(2), likewise
HARDSWISH_SLOPE = 1.5  # (2x + 3) / 6 at x = 3

OPERATIONS: tuple[Operation, ...] = (
    # with parameters
    Operation(Kind.CONVOLUTION, (nn.Conv1d, nn.Conv2d, nn.Conv3d), piecewise_linear=True),
    Operation(Kind.LINEAR, (nn.Linear,), piecewise_linear=True),
    Operation(Kind.BATCH_NORM, (_BatchNorm,), piecewise_linear=True),  # with running statistics
    Operation(Kind.INSTANCE_NORM, (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)),
    Operation(Kind.GROUP_NORM, (nn.GroupNorm,)),
    Operation(Kind.LAST_AXIS_NORM, (nn.LayerNorm, nn.RMSNorm, F.layer_norm, F.rms_norm), exact=True),
    Operation(Kind.CHANNEL_SLOPE, (nn.PReLU,)),
    # the same as functions, which are given the parameters
    Operation(Kind.CONVOLUTION, (F.conv1d, F.conv2d, F.conv3d), exact=True),
    Operation(Kind.LINEAR, (F.linear,), exact=True),
    Operation(Kind.BATCH_NORM, (F.batch_norm,), exact=True),
    Operation(Kind.INSTANCE_NORM, (F.instance_norm,), exact=True),
    Operation(Kind.GROUP_NORM, (F.group_norm,), exact=True),
    # pools: how steep they are depends on sizes
    Operation(
        Kind.AVERAGE_POOL,
        (nn.AvgPool2d, nn.AdaptiveAvgPool2d, F.avg_pool2d, F.adaptive_avg_pool2d),
        piecewise_linear=True,
    ),
    Operation(
        Kind.AVERAGE_POOL,
        (
            *(nn.AvgPool1d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool3d),
            *("avg_pool1d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool3d"),
        ),
    ),
    Operation(Kind.MAX_POOL, (nn.MaxPool2d, F.max_pool2d), piecewise_linear=True),
    Operation(
        Kind.MAX_POOL,
        (
            *(nn.MaxPool1d, nn.MaxPool3d),
            *(nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
            *("max_pool1d", "max_pool3d"),
            *("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d"),
        ),
    ),
    Operation(
        Kind.PADDING,
        (
            *(nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d),
            *(nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d),
            F.pad,
        ),
        exact=True,
    ),
    # element by element
    Operation(Kind.ELEMENTWISE, (nn.ReLU, F.relu, torch.relu, "relu"), slope=1.0, piecewise_linear=True),
    Operation(Kind.ELEMENTWISE, (torch.relu_, "relu_"), slope=1.0),  # F.relu_ is the same function
    Operation(Kind.ELEMENTWISE, (nn.ReLU6, nn.Hardtanh, F.relu6), slope=1.0, piecewise_linear=True),
    Operation(Kind.ELEMENTWISE, (F.hardtanh, nn.Softplus, F.softplus), slope=1.0),
    Operation(Kind.ELEMENTWISE, (nn.LeakyReLU, F.leaky_relu), piecewise_linear=True),
    Operation(Kind.ELEMENTWISE, (nn.Tanh, torch.tanh, F.tanh, "tanh"), slope=1.0),
    Operation(Kind.ELEMENTWISE, (nn.Sigmoid, torch.sigmoid, F.sigmoid, "sigmoid"), slope=0.25),
    Operation(Kind.ELEMENTWISE, (nn.Hardsigmoid, F.hardsigmoid), slope=1 / 6),
    Operation(Kind.ELEMENTWISE, (nn.SiLU, F.silu), slope=SILU_SLOPE),
    Operation(Kind.ELEMENTWISE, (nn.Hardswish, F.hardswish), slope=HARDSWISH_SLOPE),
    Operation(Kind.ELEMENTWISE, (nn.GELU, F.gelu), slope=GELU_SLOPE),
    Operation(Kind.ELEMENTWISE, (nn.Identity, nn.Dropout, nn.Dropout2d), slope=1.0, piecewise_linear=True),
    Operation(Kind.ELEMENTWISE, (F.dropout,), piecewise_linear=True),  # no slope: it may be told to train
    Operation(Kind.ELEMENTWISE, (operator.neg,), slope=1.0),
    Operation(
        Kind.ELEMENTWISE,
        (
            *(nn.Dropout1d, nn.Dropout3d, nn.AlphaDropout, nn.ELU, nn.CELU, nn.SELU, nn.Mish, nn.LogSigmoid),
            *(nn.Softsign, nn.Tanhshrink, nn.Hardshrink, nn.Softshrink, nn.Threshold),
            *("elu", "celu", "selu", "mish", "logsigmoid", "softsign", "threshold", "sigmoid_", "tanh_"),
            *("dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "stochastic_depth"),
            *("truediv", "itruediv", "div", "div_", "imul", "mul_", "maximum", "minimum"),
            *("abs", "exp", "log", "sqrt", "rsqrt", "square", "pow", "erf", "sin", "cos", "clamp", "clamp_"),
            *("clone", "detach", "float", "double"),
        ),
    ),
    Operation(
        Kind.ADDITION,
        (operator.add, operator.iadd, operator.sub, torch.add, "add"),
        piecewise_linear=True,
    ),
    Operation(Kind.ADDITION, (operator.isub, torch.sub, "sub", "add_", "sub_")),
    Operation(Kind.PRODUCT, (operator.mul, torch.mul, "mul")),
    # what moves elements
    Operation(
        Kind.MOVEMENT,
        (nn.Flatten, torch.flatten, torch.reshape, "flatten", "reshape", "view", "contiguous"),
        slope=1.0,
        piecewise_linear=True,
    ),
    Operation(
        Kind.MOVEMENT,
        (
            *(nn.Unflatten, nn.PixelShuffle, nn.ChannelShuffle),
            *(torch.permute, torch.transpose, torch.squeeze, torch.unsqueeze, torch.chunk, torch.split),
            *("permute", "transpose", "squeeze", "unsqueeze", "chunk", "split"),
        ),
        slope=1.0,
    ),
    # no slope: an index may pick numbers twice
    Operation(Kind.MOVEMENT, (operator.getitem,), piecewise_linear=True),
    Operation(
        Kind.MOVEMENT,
        (
            nn.PixelUnshuffle,
            *("unflatten", "ravel", "swapaxes", "movedim", "t", "expand", "repeat", "unbind", "narrow"),
            *("select", "roll", "flip", "channel_shuffle", "pixel_shuffle", "pixel_unshuffle"),
        ),
    ),
    Operation(Kind.SHAPED_AS, ("expand_as", "view_as", "reshape_as")),
    Operation(Kind.JOIN, (torch.cat,), piecewise_linear=True),
    Operation(Kind.JOIN, (torch.concat, torch.stack, "concatenate")),
    # over axes, and shapes
    Operation(Kind.MEAN, (torch.mean, "mean"), piecewise_linear=True),
    Operation(Kind.REDUCTION, ("sum", "amax", "amin")),
    Operation(Kind.SIZE, (getattr, "size"), piecewise_linear=True),
    Operation(Kind.SIZE, ("dim", "numel", "ndimension", "is_floating_point")),
    Operation(Kind.TYPED_AS, ("to", "type_as")),
)

LAYERS = (Kind.CONVOLUTION, Kind.LINEAR)  # whose weights make neurons out of others
WITH_PARAMETERS = (
    *LAYERS, Kind.BATCH_NORM, Kind.INSTANCE_NORM, Kind.GROUP_NORM, Kind.LAST_AXIS_NORM
)  # fmt: skip
POOLS = (Kind.AVERAGE_POOL, Kind.MAX_POOL)
TENSORS_OF_LAYERS = ("weight", "bias", "running_mean", "running_var")

CHANGES_IN_PLACE = (
    operator.setitem, operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.ifloordiv,
    operator.imod, operator.ipow, operator.imatmul, operator.iand, operator.ior, operator.ixor,
)  # fmt: skip


@cache
def table() -> dict[Spelling, Operation]:
    """Every spelling's operation."""
    return {spelling: operation for operation in OPERATIONS for spelling in operation.spellings}


@cache
def kinds_by_name() -> dict[str, Kind]:
    """The kind of functions that are known by their name alone."""
    found = {}
    for spelling, operation in table().items():
        if not operation.exact and not isinstance(spelling, type):
            found[spelling if isinstance(spelling, str) else spelling.__name__] = operation.kind
    return found


def look_up(done: object) -> Operation | None:
    """What is known of exactly this: a module by its class, a function by itself, a method by its name."""
    spelling = type(done) if isinstance(done, nn.Module) else done
    return table().get(spelling)  # type: ignore[call-overload]  # anything hashable may be asked for


def of_module(module: nn.Module) -> Operation | None:
    """What is known of a module by its class, or by the nearest class that it comes from."""
    return next((table()[cls] for cls in type(module).__mro__ if cls in table()), None)


def kind_of_module(module: nn.Module) -> Kind | None:
    known = of_module(module)
    return known.kind if known else None


def is_batch_norm(done: object) -> bool:
    """Whether an operation is a module that normalises each channel over the batch."""
    return isinstance(done, _BatchNorm)


def kind_of_call(node: fx.Node) -> Kind | None:
    """The kind of a call of a function or method; those of PyTorch's are also known by name."""
    if node.op not in ("call_function", "call_method"):
        return None  # the name of a module or of a parameter
    known = table().get(node.target)
    if known is not None:
        return known.kind
    name = function_name(node)
    return None if name is None else kinds_by_name().get(name)


def function_name(node: fx.Node) -> str | None:
    """The name of a function or method of PyTorch's or Python's operators; None for anybody else's."""
    if node.op == "call_method":
        return str(node.target)
    if node.op != "call_function":
        return None
    if node.target is getattr:
        return "getattr"
    origin = getattr(node.target, "__module__", None) or "torch"  # PyTorch's built-in ones say None
    if origin.split(".")[0] not in ("torch", "torchvision", "_operator"):
        return None
    return getattr(node.target, "__name__", None)


def is_own(module: nn.Module) -> bool:
    """Whether a module is PyTorch's own, not somebody's that comes from it or computes its weights."""
    return type(module).__module__.startswith("torch.nn.modules.")


def is_plain(module: nn.Module, known: Mapping[int, object]) -> bool:
    """Whether a layer is PyTorch's own, unchanged, and all its tensors are `known` by their address.

    A layer with hooks, a replaced forward or a parametrised weight does something else than its class says.
    """
    changed = module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module)
    tensors = [getattr(module, part, None) for part in TENSORS_OF_LAYERS]
    return (
        not changed
        and is_own(module)
        and all(tensor.data_ptr() in known for tensor in tensors if isinstance(tensor, Tensor))
    )


def works_in_place(node: fx.Node, done: object) -> bool:
    """Whether an operation overwrites the first tensor that it reads; `done`: its module or function."""
    if isinstance(done, nn.Module):
        return bool(getattr(done, "inplace", False))
    if done in CHANGES_IN_PLACE or bool(node.kwargs.get("inplace", False)):
        return True
    name = getattr(done, "__name__", str(done))
    if name.endswith("_") and not name.endswith("__"):
        return True
    return inspect.isfunction(done) and len(node.args) > 1 and positional_inplace(done, node)


def positional_inplace(function: Callable, node: fx.Node) -> bool:
    """Whether a call says `inplace` without its name, as F.relu(x, True)."""
    names = list(inspect.signature(function).parameters)
    return "inplace" in names[: len(node.args)] and bool(node.args[names.index("inplace")])


def spatial_rank(name: str) -> int:
    """Of an operation that has it in its name, as AvgPool2d and max_pool2d."""
    return int(name[-2])


def describe(node: fx.Node, traced: fx.GraphModule | nn.Module) -> str:
    """A node as a user knows it."""
    if node.op == "call_module":
        return f"{type(traced.get_submodule(str(node.target))).__name__} '{node.target}'"
    return getattr(node.target, "__name__", str(node.target))
