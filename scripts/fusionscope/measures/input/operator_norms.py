"""How steep a network can be anywhere: the Lipschitz constants of its operations, along its graph.

A chain multiplies, an addition adds, a concatenation adds squares. Norms are Euclidean.
"""

import math
import operator
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fusionscope.graph.operations import Kind, Operation, describe, look_up, spatial_rank, works_in_place
from fusionscope.graph.trace import NotTraceable, check_is_plain_python, operation, shape, trace_network
from fusionscope.state import copy_of

DENSE_SIZE = 256  # inputs of a matrix that is built


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
    try:
        check_is_plain_python(network)  # TorchScript's cannot be brought to float64
        traced = trace_network(copy_of(network).cpu().double().eval().requires_grad_(False))
    except NotTraceable as error:
        raise NoBound(f"torch.fx cannot trace the network ({error})") from error
    for name, module in traced.named_modules():
        if "weight" in vars(module):  # no parameter: what a hook (pruning, weight_norm) has computed last
            raise NoBound(f"'{name}' computes its weight in a hook")
    return traced


def node_bound(node: fx.Node, traced: fx.GraphModule, bound: Mapping[fx.Node, float]) -> float:
    """The Lipschitz constant of what `node` gives, from those of what it reads."""
    if not node.all_input_nodes or is_size(node):
        return 0.0  # the same for every input
    done = operation(node, traced)
    check_not_overwritten(node, done)
    known = look_up(done)
    kind = known.kind if known else None
    plain = len(node.args) == 2 and not node.kwargs  # torch.add(..., alpha=2) scales
    if kind is Kind.ADDITION and plain:
        return sum_bound(node, bound)
    if kind is Kind.JOIN and isinstance(node.args[0], list | tuple):
        joined = [bound[source] for source in node.args[0] if isinstance(source, fx.Node)]
        return math.sqrt(sum(each**2 for each in joined))
    if kind is Kind.PRODUCT and plain:
        return product_bound(node, traced, bound)
    if not all(is_size(source) for source in node.all_input_nodes[1:]):
        raise unknown(node, "reads several tensors")
    return bound[node.all_input_nodes[0]] * operator_norm(node, done, traced)


def operator_norm(node: fx.Node, done: object, traced: fx.GraphModule) -> float:
    """The Lipschitz constant of one operation at the size of input that it has in this network."""
    source = node.all_input_nodes[0]
    if type(done) is nn.Conv2d:
        # with a batch norm behind it, both together are counted there
        return 1.0 if folded_into(node, traced) else convolution_norm(done, shape(source)[1:])
    if isinstance(done, _BatchNorm):
        convolution, norm = operation(source, traced), folded_into(source, traced)
        if isinstance(convolution, nn.Conv2d) and norm is not None and norm is done:
            folded = fuse_conv_bn_eval(convolution, norm)
            return convolution_norm(folded, shape(source.all_input_nodes[0])[1:])
        return batch_norm_norm(node, done)
    if isinstance(done, nn.Linear):
        return torch.linalg.matrix_norm(done.weight, 2).item()
    known = look_up(done)
    if known is not None:
        found = known_norm(node, done, known, source)
        if found is not None:
            return found
    name = getattr(type(done) if isinstance(done, nn.Module) else done, "__name__", done)
    raise unknown(node, f"no Lipschitz constant is known for {name}")


def known_norm(node: fx.Node, done: object, known: Operation, source: fx.Node) -> float | None:
    """What the table says of an operation without weights, or what follows from its sizes; None: nothing."""
    usual = getattr(done, "approximate", "none") == node.kwargs.get("approximate", "none")  # of GELU
    if known.slope is not None and usual:
        return known.slope
    if done is operator.getitem and selects(node.args[1]):
        return 1.0
    if known.kind is Kind.MAX_POOL:
        pool = max_pool_of(node, done)
        return None if pool is None else max_pool_norm(pool, shape(source), shape(node))
    if known.kind is Kind.AVERAGE_POOL and is_2d(done):
        return average_norm(node, done)
    if known.kind is Kind.MEAN:  # k numbers that become their mean: norm 1 / sqrt(k)
        return math.sqrt(shape(node).numel() / shape(source).numel())
    return None


def max_pool_of(node: fx.Node, done: object) -> nn.MaxPool2d | None:
    """Max pooling in two dimensions as a module; None for other pools."""
    if type(done) is nn.MaxPool2d:
        return None if done.return_indices else done
    if done is not F.max_pool2d:
        return None
    options: dict[str, Any] = dict(
        zip(("kernel_size", "stride", "padding", "dilation"), node.args[1:], strict=False)
    )
    return nn.MaxPool2d(**options | node.kwargs)


def is_2d(pool: object) -> bool:
    name = type(pool).__name__ if isinstance(pool, nn.Module) else getattr(pool, "__name__", "")
    return spatial_rank(name) == 2


def unknown(node: fx.Node, why: str) -> NoBound:
    called = describe(node, node.graph.owning_module or nn.Module())
    return NoBound(f"{called}: {why}" if node.op == "call_module" else f"operation '{called}': {why}")


def is_size(node: fx.Node) -> bool:
    """Whether `node` gives no tensor but numbers that depend on the shapes of tensors alone."""
    if "shape" in node.meta:
        return False
    known = None if node.op == "call_module" else look_up(node.target)
    if known is not None and known.kind is Kind.SIZE:
        return True
    return bool(node.all_input_nodes) and all(map(is_size, node.all_input_nodes))


def selects(index: object) -> bool:
    """Whether `index` picks numbers of a tensor, none twice."""
    return all(
        isinstance(part, int | slice | None) or part is ...
        for part in (index if isinstance(index, tuple) else (index,))
    )


def check_not_overwritten(node: fx.Node, done: object) -> None:
    """Refuse an operation in place whose input is read again: by then it is not what its bound says."""
    if not node.all_input_nodes or not works_in_place(node, done):
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
        if not isinstance(source, fx.Node):
            continue
        if isinstance(factor, int | float):
            return abs(factor) * bound[source]
        if isinstance(factor, fx.Node) and factor.op == "get_attr" and shape(node) == shape(source):
            return largest(constant(traced, str(factor.target))) * bound[source]
    raise unknown(node, "a product of two activations is steeper the larger they are")


def largest(factors: Tensor) -> float:
    """The largest absolute value; masks may be bool."""
    return (factors.double() if factors.dtype is torch.bool else factors).abs().max().item()


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
    scale = (norm.get_buffer("running_var") + norm.eps).rsqrt()
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
    same = ("kernel_size", "stride", "padding", "dilation", "padding_mode")
    options: dict[str, Any] = {name: getattr(convolution, name) for name in same}
    one_group = nn.Conv2d(rows.shape[2], rows.shape[1], bias=False, **options)
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


def average_norm(node: fx.Node, done: Any) -> float:
    """Of average pooling, exactly. Channels do not mix: one is enough."""

    def apply(image: Tensor) -> Tensor:
        return done(image) if node.op == "call_module" else done(image, *node.args[1:], **node.kwargs)

    input_shape = torch.Size((1, *shape(node.all_input_nodes[0])[-2:]))
    if math.prod(shape(node)[-2:]) > 1:
        return linear_norm(apply, input_shape)
    row = torch.autograd.functional.jacobian(apply, torch.zeros(1, *input_shape, dtype=torch.float64))
    return row.norm().item()


def max_pool_norm(pool: nn.MaxPool2d, before: torch.Size, after: torch.Size) -> float:
    """An upper bound for max pooling: the root of the largest number of windows that share an input.

    Two images' maxima over a window differ by no more than some of its inputs do, so the squared
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
