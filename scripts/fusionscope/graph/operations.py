"""What is known of PyTorch's operations: which of them treat all neurons alike, and how.

Tables for `labels`. An operation that is in none of them is unknown: what it reads cannot move.
"""

from collections.abc import Mapping

from torch import Tensor, fx, nn

CONVOLUTIONS = nn.Conv1d | nn.Conv2d | nn.Conv3d
BATCH_NORMS = nn.modules.batchnorm._BatchNorm  # channels are axis 1
INSTANCE_NORMS = nn.InstanceNorm1d | nn.InstanceNorm2d | nn.InstanceNorm3d
LAST_AXIS_NORMS = nn.LayerNorm | nn.RMSNorm
POOLS = (
    nn.MaxPool1d | nn.MaxPool2d | nn.MaxPool3d | nn.AvgPool1d | nn.AvgPool2d | nn.AvgPool3d
    | nn.AdaptiveAvgPool1d | nn.AdaptiveAvgPool2d | nn.AdaptiveAvgPool3d
    | nn.AdaptiveMaxPool1d | nn.AdaptiveMaxPool2d | nn.AdaptiveMaxPool3d
)  # fmt: skip
PADDINGS = nn.ZeroPad1d | nn.ZeroPad2d | nn.ZeroPad3d | nn.ConstantPad1d | nn.ConstantPad2d | nn.ConstantPad3d
ELEMENTWISE_MODULES = (
    nn.Identity | nn.Dropout | nn.Dropout1d | nn.Dropout2d | nn.Dropout3d | nn.AlphaDropout
    | nn.ReLU | nn.ReLU6 | nn.LeakyReLU | nn.ELU | nn.CELU | nn.SELU | nn.GELU | nn.SiLU | nn.Mish
    | nn.Sigmoid | nn.LogSigmoid | nn.Tanh | nn.Hardtanh | nn.Hardsigmoid | nn.Hardswish
    | nn.Softplus | nn.Softsign | nn.Tanhshrink | nn.Hardshrink | nn.Softshrink | nn.Threshold
)  # fmt: skip
MOVING_MODULES = nn.Flatten | nn.Unflatten | nn.ChannelShuffle | nn.PixelShuffle | nn.PixelUnshuffle

# functions and methods, by name
POOL_FUNCTIONS = {
    f"{kind}_pool{rank}d" for kind in ("max", "avg", "adaptive_avg", "adaptive_max") for rank in (1, 2, 3)
}
ELEMENTWISE_FUNCTIONS = {
    "relu", "relu_", "relu6", "leaky_relu", "elu", "celu", "selu", "gelu", "silu", "mish", "sigmoid",
    "logsigmoid", "tanh", "hardtanh", "hardswish", "hardsigmoid", "softplus", "softsign", "threshold",
    "sigmoid_", "tanh_", "dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout",
    "stochastic_depth",
    "add", "iadd", "sub", "isub", "mul", "imul", "truediv", "itruediv", "div", "neg", "maximum", "minimum",
    "add_", "sub_", "mul_", "div_", "abs", "exp", "log", "sqrt", "rsqrt", "square", "pow", "erf", "sin",
    "cos", "clamp", "clamp_", "clone", "detach", "float", "double", "to",
}  # fmt: skip
MOVING_FUNCTIONS = {
    "view", "reshape", "flatten", "unflatten", "ravel", "permute", "transpose", "swapaxes", "movedim", "t",
    "squeeze", "unsqueeze", "expand", "repeat", "chunk", "split", "unbind", "getitem", "narrow", "select",
    "roll", "flip", "channel_shuffle", "pixel_shuffle", "pixel_unshuffle", "contiguous",
}  # fmt: skip
SHAPED_AS_FUNCTIONS = {"expand_as", "view_as", "reshape_as"}  # of the other tensor only the shape counts
JOINING_FUNCTIONS = {"cat", "concat", "concatenate", "stack"}
REDUCING_FUNCTIONS = {"mean", "sum", "amax", "amin"}
SHAPE_FUNCTIONS = {"getattr", "size", "dim", "numel", "ndimension", "is_floating_point"}

TENSORS_OF_LAYERS = ("weight", "bias", "running_mean", "running_var")


def function_name(node: fx.Node) -> str | None:
    """The name of a function or method of PyTorch's or Python's operators; None for anybody else's."""
    if node.op == "call_method":
        return node.target
    if node.op != "call_function":
        return None
    if node.target is getattr:
        return "getattr"
    origin = getattr(node.target, "__module__", None) or "torch"  # PyTorch's built-in ones say None
    if origin.split(".")[0] not in ("torch", "torchvision", "_operator"):
        return None
    return getattr(node.target, "__name__", None)


def is_plain(module: nn.Module, known: Mapping[int, object]) -> bool:
    """Whether a layer is PyTorch's own, unchanged, and all its tensors are `known` by their address.

    A layer with hooks, a replaced forward or a parametrised weight does something else than its class says.
    """
    changed = module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module)
    tensors = [getattr(module, part, None) for part in TENSORS_OF_LAYERS]
    return (
        not changed
        and type(module).__module__.startswith("torch.nn.modules.")
        and all(tensor.data_ptr() in known for tensor in tensors if isinstance(tensor, Tensor))
    )


def spatial_rank(name: str) -> int:
    """Of an operation that has it in its name, as AvgPool2d and max_pool2d."""
    return int(name[-2])


def describe(node: fx.Node, traced: fx.GraphModule) -> str:
    """A node as a user knows it."""
    if node.op == "call_module":
        return f"{type(traced.get_submodule(node.target)).__name__} '{node.target}'"
    return getattr(node.target, "__name__", str(node.target))
