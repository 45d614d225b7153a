"""How steep a network can be anywhere: the Lipschitz constants of its operations, along its graph.

A chain multiplies, an addition adds, a concatenation adds squares. Norms are Euclidean.
"""

import copy
import math
import operator
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fusionscope.graph.trace import operation, shape, trace_network

# The largest slopes of activations; modules by type.
SILU_SLOPE = 1.0998393194337135  # at x tanh(x/2) = 2, where the second derivative vanishes
GELU_SLOPE = 0.5 * (1 + math.erf(1)) + math.exp(-1) / math.sqrt(math.pi)  # at x = sqrt(2), likewise
HARDSWISH_SLOPE = 1.5  # (2x + 3) / 6 at x = 3
SLOPES: dict[object, float] = {
    **dict.fromkeys((nn.ReLU, F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_"), 1.0),
    **dict.fromkeys((nn.ReLU6, F.relu6, nn.Hardtanh, F.hardtanh, nn.Softplus, F.softplus), 1.0),
    **dict.fromkeys((nn.Tanh, torch.tanh, F.tanh, "tanh"), 1.0),
    **dict.fromkeys((nn.Sigmoid, torch.sigmoid, F.sigmoid, "sigmoid"), 0.25),
    **dict.fromkeys((nn.Hardsigmoid, F.hardsigmoid), 1 / 6),
    **dict.fromkeys((nn.SiLU, F.silu), SILU_SLOPE),
    **dict.fromkeys((nn.Hardswish, F.hardswish), HARDSWISH_SLOPE),
    **dict.fromkeys((nn.GELU, F.gelu), GELU_SLOPE),
}
# What moves numbers or drops some, and what does nothing in eval mode.
REARRANGEMENTS = {
    *(nn.Identity, nn.Dropout, nn.Dropout2d, nn.Flatten, nn.Unflatten, nn.PixelShuffle, nn.ChannelShuffle),
    *(torch.flatten, torch.reshape, torch.permute, torch.transpose, torch.squeeze, torch.unsqueeze),
    *("flatten", "view", "reshape", "permute", "transpose", "squeeze", "unsqueeze", "contiguous"),
    *(torch.chunk, torch.split, "chunk", "split", operator.neg),
}
IN_PLACE_ADDITIONS = (operator.iadd, operator.isub, "add_", "sub_")
ADDITIONS = (operator.add, operator.sub, torch.add, torch.sub, "add", "sub", *IN_PLACE_ADDITIONS)
PRODUCTS = (operator.mul, torch.mul, "mul")
CONCATENATIONS = (torch.cat, torch.concat, torch.stack)
AVERAGES = (nn.AvgPool2d, nn.AdaptiveAvgPool2d, F.avg_pool2d, F.adaptive_avg_pool2d)
DENSE_SIZE = 256  # inputs of a matrix that is built
SIZES = (getattr, "size", "dim", "numel")


class NoBound(Exception):
    """No Lipschitz constant is known for an operation; the message names it."""


def lipschitz_upper_bound(network: nn.Module) -> float:
    """The product over layers of their operator norms: f is at most this steep anywhere.

    In float64 with batch norm folded into the convolution before it, along the traced graph: a chain
    multiplies, an addition adds (a residual block: branch + shortcut). Norms of linear operations are
    exact. Raises NoBound for an operation without a known constant, such as a product of two
    activations (squeeze-and-excitation, attention), which has none.
    """
    traced = traced_in_double(network)
    bound: dict[fx.Node, float] = {}  # of what a node gives, as a function of the network's input
    for node in traced.graph.nodes:
        if node.op == "output":
            return bound[node.args[0]]
        bound[node] = 1.0 if node.op == "placeholder" else node_bound(node, traced, bound)
    raise AssertionError("a traced graph ends in an output")


def traced_in_double(network: nn.Module) -> fx.GraphModule:
    """A copy of the network in float64 and eval mode as a graph. Raises NoBound where torch.fx fails."""
    double = copy.deepcopy(network).cpu().double().eval().requires_grad_(False)
    try:
        return trace_network(double)
    except Exception as error:  # whatever the network's own code raises when it meets a proxy
        raise NoBound(f"torch.fx cannot trace the network ({error})") from error


def node_bound(node: fx.Node, traced: fx.GraphModule, bound: Mapping[fx.Node, float]) -> float:
    """The Lipschitz constant of what `node` gives, from those of what it reads."""
    if not node.all_input_nodes or is_size(node):
        return 0.0  # the same for every input
    done = operation(node, traced)
    check_not_overwritten(node, done)
    kind = done if node.op != "call_module" else type(done)
    if kind in ADDITIONS and len(node.args) == 2 and not node.kwargs:  # torch.add(..., alpha=2) scales
        return sum_bound(node, bound)
    if kind in CONCATENATIONS and isinstance(node.args[0], list | tuple):
        return math.sqrt(sum(bound[source] ** 2 for source in node.args[0]))
    if kind in PRODUCTS and len(node.args) == 2 and not node.kwargs:
        return product_bound(node, traced, bound)
    if not all(is_size(source) for source in node.all_input_nodes[1:]):
        raise unknown(node, "reads several tensors")
    return bound[node.all_input_nodes[0]] * operator_norm(node, done, kind, traced)


def operator_norm(node: fx.Node, done: object, kind: object, traced: fx.GraphModule) -> float:
    """The Lipschitz constant of one operation at the size of input that it has in this network."""
    source = node.all_input_nodes[0]
    if kind is nn.Conv2d:
        # with a batch norm behind it, both together are counted there
        return 1.0 if folded_into(node, traced) else convolution_norm(done, shape(source)[1:])
    if isinstance(done, _BatchNorm):
        if source.op == "call_module" and folded_into(source, traced) is done:
            folded = fuse_conv_bn_eval(operation(source, traced), done)
            return convolution_norm(folded, shape(source.all_input_nodes[0])[1:])
        return batch_norm_norm(node, done)
    if isinstance(done, nn.Linear):
        return torch.linalg.matrix_norm(done.weight, 2).item()
    if kind in SLOPES and getattr(done, "approximate", "none") == node.kwargs.get("approximate", "none"):
        return SLOPES[kind]
    if kind in REARRANGEMENTS or (kind is operator.getitem and selects(node.args[1])):
        return 1.0
    if kind is nn.MaxPool2d and not done.return_indices:
        return max_pool_norm(done, shape(source), shape(node))
    if kind is F.max_pool2d:
        options = dict(zip(("kernel_size", "stride", "padding", "dilation"), node.args[1:], strict=False))
        return max_pool_norm(nn.MaxPool2d(**options | node.kwargs), shape(source), shape(node))
    if kind in AVERAGES:
        return average_norm(node, done)
    if kind in (torch.mean, "mean"):  # k numbers that become their mean: norm 1 / sqrt(k)
        return math.sqrt(shape(node).numel() / shape(source).numel())
    raise unknown(node, f"no Lipschitz constant is known for {getattr(kind, '__name__', kind)}")


def unknown(node: fx.Node, why: str) -> NoBound:
    return NoBound(f"operation '{node.name}': {why}")


def is_size(node: fx.Node) -> bool:
    """Whether `node` gives no tensor but numbers that depend on the shapes of tensors alone."""
    if "shape" in node.meta:
        return False
    return node.target in SIZES or (bool(node.all_input_nodes) and all(map(is_size, node.all_input_nodes)))


def selects(index: object) -> bool:
    """Whether `index` picks numbers of a tensor, none twice."""
    return all(
        isinstance(part, int | slice | None) or part is ...
        for part in (index if isinstance(index, tuple) else (index,))
    )


def check_not_overwritten(node: fx.Node, done: object) -> None:
    """Refuse an operation in place whose input is read again: by then it is not what its bound says."""
    in_place = done in IN_PLACE_ADDITIONS if node.op != "call_module" else getattr(done, "inplace", False)
    in_place = in_place or node.kwargs.get("inplace", False) or str(node.target).endswith("_")
    if not in_place or not node.all_input_nodes:
        return
    order = {other: number for number, other in enumerate(node.graph.nodes)}
    if any(order[user] > order[node] for user in node.all_input_nodes[0].users):
        raise unknown(node, "overwrites what is read again later")


def sum_bound(node: fx.Node, bound: Mapping[fx.Node, float]) -> float:
    # not all_input_nodes, which has x + x once
    terms = [source for source in node.args if isinstance(source, fx.Node) and bound[source] > 0]
    if any(shape(term) != shape(node) for term in terms):
        raise unknown(node, "adds tensors of different shapes")
    return sum(bound[term] for term in terms)


def product_bound(node: fx.Node, traced: fx.GraphModule, bound: Mapping[fx.Node, float]) -> float:
    """Of a tensor times a number, or times a tensor of constants, element by element."""
    for factor, source in (node.args, node.args[::-1]):
        if isinstance(source, fx.Node) and isinstance(factor, int | float):
            return abs(factor) * bound[source]
        if isinstance(factor, fx.Node) and factor.op == "get_attr" and shape(node) == shape(source):
            return constant(traced, factor.target).abs().max().item() * bound[source]
    raise unknown(node, "a product of two activations is steeper the larger they are")


def constant(traced: fx.GraphModule, target: str) -> Tensor:
    return operator.attrgetter(target)(traced)


def folded_into(node: fx.Node, traced: fx.GraphModule) -> nn.BatchNorm2d | None:
    """The batch norm that alone reads the convolution `node`, if there is one."""
    done = operation(node, traced)
    if type(done) is not nn.Conv2d or len(node.users) != 1:
        return None
    (reader,) = node.users
    norm = operation(reader, traced)
    return norm if isinstance(norm, nn.BatchNorm2d) and norm.track_running_stats else None


def batch_norm_norm(node: fx.Node, norm: _BatchNorm) -> float:
    """Of a batch norm by itself: in eval mode it scales each channel."""
    if not norm.track_running_stats:
        raise unknown(node, "a batch norm without running statistics depends on the batch")
    scale = (norm.running_var + norm.eps).rsqrt()
    return (scale if norm.weight is None else norm.weight * scale).abs().max().item()


def convolution_norm(convolution: nn.Conv2d, input_shape: torch.Size) -> float:
    """The largest singular value of a convolution as a matrix on inputs of `input_shape` (c, h, w).

    Stride, padding, dilation and groups as they are. Sedghi et al. 2019 (arXiv 1805.10408) treat the
    periodic case, which at small images differs. A 1x1 convolution is its matrix at every pixel that it
    sees, and groups do not mix: each has a norm of its own.
    """
    rows = convolution.weight.unflatten(0, (convolution.groups, -1))  # (groups, out, in, k, k)
    if convolution.kernel_size == (1, 1):
        return torch.linalg.matrix_norm(rows.flatten(2), 2).max().item()
    one_group = nn.Conv2d(
        rows.shape[2], rows.shape[1], convolution.kernel_size, convolution.stride, convolution.padding,
        convolution.dilation, bias=False, padding_mode=convolution.padding_mode,
    )  # fmt: skip
    inputs = torch.Size((rows.shape[2], *input_shape[1:]))
    norm = dense_norm if convolution.groups > 1 and inputs.numel() <= DENSE_SIZE else linear_norm
    return max(norm(partial(one_group._conv_forward, weight=weight, bias=None), inputs) for weight in rows)


def dense_norm(apply: Callable[[Tensor], Tensor], input_shape: torch.Size) -> float:
    """As linear_norm, from the whole matrix: faster for the many small ones of a depthwise convolution."""
    units = torch.eye(input_shape.numel(), dtype=torch.float64).view(-1, *input_shape)
    return torch.linalg.matrix_norm(apply(units).flatten(1), 2).item()


def linear_norm(apply: Callable[[Tensor], Tensor], input_shape: torch.Size) -> float:
    """The largest singular value of a linear map A on inputs of `input_shape` (c, h, w).

    Lanczos (ARPACK) on A^T A to machine precision, so exact to rounding; A^T by automatic
    differentiation.
    """

    def normal_product(x: np.ndarray) -> np.ndarray:
        image = torch.from_numpy(x.astype(np.float64)).view(1, *input_shape)
        image.requires_grad_()
        with torch.enable_grad():
            output = apply(image)
            (product,) = torch.autograd.grad(output, image, output.detach())
        return product.flatten().numpy()

    size = math.prod(input_shape)
    start = np.random.default_rng(0).standard_normal(size)  # fixed: the result must not depend on it
    gram = LinearOperator((size, size), matvec=normal_product, dtype=np.float64)
    if size == 1:
        return math.sqrt(normal_product(np.ones(1))[0])
    if not np.any(normal_product(start)):
        return 0.0
    (largest,) = eigsh(gram, k=1, which="LA", v0=start, return_eigenvectors=False)
    return math.sqrt(max(largest, 0.0))


def average_norm(node: fx.Node, done: object) -> float:
    """Of average pooling, exactly. Channels do not mix: one is enough."""

    def apply(image: Tensor) -> Tensor:
        return done(image) if node.op == "call_module" else done(image, *node.args[1:], **node.kwargs)

    input_shape = (1, *shape(node.all_input_nodes[0])[-2:])
    if math.prod(shape(node)[-2:]) > 1:
        return linear_norm(apply, input_shape)
    row = torch.autograd.functional.jacobian(apply, torch.zeros(1, *input_shape, dtype=torch.float64))
    return row.norm().item()


def max_pool_norm(pool: nn.MaxPool2d, before: torch.Size, after: torch.Size) -> float:
    """An upper bound for max pooling: the root of the largest number of windows that share an input.

    Two pictures' maxima over a window differ by no more than some of its inputs do, so the squared
    differences of all maxima sum to no more than the inputs', each counted once for every window.
    """
    options = (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
    sharing = 1
    for axis in (0, 1):
        kernel, stride, padding, dilation = (o[axis] if isinstance(o, tuple) else o for o in options)
        starts = torch.arange(after[axis - 2]) * stride - padding
        inputs = (starts.unsqueeze(1) + torch.arange(kernel) * dilation).flatten()
        inputs = inputs[(inputs >= 0) & (inputs < before[axis - 2])]
        sharing *= int(inputs.bincount().max())
    return math.sqrt(sharing)
