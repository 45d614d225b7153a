"""Input space: how fast a network's logits can change with its input, from below and from above.

Inputs are what the network sees, i.e. normalised images, and f(x) are its logits; norms are Euclidean.
"""

import copy
import math

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, fx, nn
from torch.func import jvp, vjp
from torch.fx.experimental.optimization import fuse as fold_batch_norm
from torch.nn import functional as F

from fusionscope.alignment import ADDITIONS
from fusionscope.errors import InputError
from fusionscope.graph import operation, shape, trace
from fusionscope.images import Images
from fusionscope.measurement import Measurement
from fusionscope.networks import INPUT_SHAPE
from fusionscope.seeding import generator

ONE_LIPSCHITZ_MODULES = nn.ReLU | nn.Identity | nn.Dropout  # the last is the identity in eval mode


def measure_input_space(
    network: nn.Module, images: Images, *, seed: int, starts: int, power_iterations: int
) -> dict[str, Measurement]:
    """All metrics of the input space; local ones at `images` (normalised, all in one batch)."""
    local = local_lipschitz(network, images.normalised(), seed=seed, power_iterations=power_iterations)
    constant = lipschitz_constant(network, seed=seed, starts=starts, power_iterations=power_iterations)
    std_error = local.std().item() / math.sqrt(len(local)) if len(local) > 1 else None
    return {
        "lipschitz_constant": Measurement(constant),
        "local_lipschitz_max": Measurement(local.max().item()),
        "local_lipschitz_mean": Measurement(local.mean().item(), std_error),
        "lipschitz_upper_bound": Measurement(lipschitz_upper_bound(network)),
    }


def lipschitz_constant(network: nn.Module, *, seed: int, starts: int, power_iterations: int) -> float:
    """The study's number: the largest norm(f(v) - f(0)) over unit vectors v that is found.

    Power method v <- J(v)^T (f(v) - f(0)), normalised, from `starts` random directions; the largest
    value met on the way is kept. For affine f this is the operator norm; in general it is a lower
    bound of the supremum over the unit sphere, and so of the Lipschitz constant.
    """
    reference = next(network.parameters())
    origin = network(reference.new_zeros(1, *INPUT_SHAPE)).detach()
    v = random_directions(starts, reference, seed, "lipschitz_constant")
    largest = 0.0
    for _ in range(power_iterations):
        logits, pullback = vjp(network, v)
        change = logits - origin
        largest = max(largest, change.flatten(1).norm(dim=1).max().item())
        (direction,) = pullback(change)
        v = unit(direction, otherwise=v)
    with torch.no_grad():
        return max(largest, (network(v) - origin).flatten(1).norm(dim=1).max().item())


def local_lipschitz(network: nn.Module, x: Tensor, *, seed: int, power_iterations: int) -> Tensor:
    """Spectral norm (n,) of the Jacobian df/dx at each image of `x` (n, 3, h, w), in eval mode.

    Power iteration on J^T J, all images at once: jvp gives J v, vjp gives J^T u. From below: each
    value is norm(J v) at a unit v. Each is a lower bound of the Lipschitz constant.
    """
    _, pullback = vjp(network, x)
    v = random_directions(len(x), x, seed, "local_lipschitz")
    norms = x.new_zeros(len(x))
    for _ in range(power_iterations):
        _, stretched = jvp(network, (x,), (v,))
        norms = torch.maximum(norms, stretched.norm(dim=1))
        (direction,) = pullback(stretched)
        v = unit(direction, otherwise=v)
    return norms.detach()


def random_directions(count: int, like: Tensor, seed: int, role: str) -> Tensor:
    """Unit vectors (count, 3, 32, 32), drawn on the CPU so that every device gets the same."""
    directions = torch.randn(count, *INPUT_SHAPE, generator=generator(seed, role))
    return unit(directions, otherwise=directions).to(like)


def unit(vectors: Tensor, otherwise: Tensor) -> Tensor:
    """Each of `vectors` (n, ...) scaled to norm one; where it is zero, the one in `otherwise`."""
    norms = vectors.flatten(1).norm(dim=1).view(-1, *[1] * (vectors.dim() - 1))
    return torch.where(norms > 0, vectors / norms, otherwise)


def lipschitz_upper_bound(network: nn.Module) -> float:
    """The product over layers of their exact operator norms: f is at most this steep anywhere.

    In float64 with batch norm folded into the convolutions, along the traced graph: a chain multiplies,
    an addition adds (a residual block: branch + shortcut).
    """
    double = copy.deepcopy(network).cpu().double().eval().requires_grad_(False)
    traced = trace(fold_batch_norm(double))
    bound: dict[fx.Node, float] = {}
    for node in traced.graph.nodes:
        if node.op == "placeholder":
            bound[node] = 1.0
        elif node.op == "output":
            return bound[node.args[0]]
        else:
            # not all_input_nodes, which has x + x once
            inherited = sum(bound[source] for source in node.args if isinstance(source, fx.Node))
            bound[node] = inherited * operator_norm(node, operation(node, traced))
    raise AssertionError("a traced graph ends in an output")


def operator_norm(node: fx.Node, done: object) -> float:
    """The Lipschitz constant of one operation at the size of input that it has in this network."""
    if isinstance(done, nn.Conv2d):
        return convolution_norm(done, shape(node.all_input_nodes[0])[1:])
    if isinstance(done, nn.Linear):
        return torch.linalg.matrix_norm(done.weight, 2).item()
    if isinstance(done, ONE_LIPSCHITZ_MODULES) or done in (F.relu, torch.relu, torch.flatten):
        return 1.0
    if done in ADDITIONS and not node.kwargs:  # torch.add(..., alpha=2) scales
        return 1.0
    if isinstance(done, nn.MaxPool2d) and done.kernel_size == done.stride and done.dilation == 1:
        return 1.0  # disjoint windows: each input enters at most one maximum
    if done is F.avg_pool2d and len(node.args) == 2 and not node.kwargs:
        return 1 / node.args[1]  # the mean of k x k values has norm 1 / k, windows are disjoint
    raise InputError(
        f"no Lipschitz constant is known for operation '{node.name}': switch the input space off"
    )


def convolution_norm(convolution: nn.Conv2d, input_shape: torch.Size) -> float:
    """The largest singular value of a convolution as a matrix on inputs of `input_shape` (c, h, w).

    Stride, padding, dilation and groups as they are. Lanczos (ARPACK) on A^T A to machine precision, so
    exact to rounding; A^T is the transposed convolution. Sedghi et al. 2019 (arXiv 1805.10408) treat the
    periodic case, which at small images differs.
    """

    def normal_product(x: np.ndarray) -> np.ndarray:
        image = torch.from_numpy(x.astype(np.float64)).view(1, *input_shape)
        image.requires_grad_()
        with torch.enable_grad():
            output = convolution._conv_forward(image, convolution.weight, None)  # linear: without bias
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
