"""Input space: how fast a network's logits can change with its input, from below and from above.

Inputs are what the network sees, i.e. normalised images, and f(x) are its logits; norms are Euclidean.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

from fusionscope.evaluation import check_finite, predict
from fusionscope.graph.trace import input_shape, reference_tensor
from fusionscope.images import Images
from fusionscope.measurement import Measurement, undefined
from fusionscope.measures.input.operator_norms import NoBound, lipschitz_upper_bound
from fusionscope.measures.undefined import NotDefined, check_has_gradient, refusals_as_undefined
from fusionscope.seeding import generator
from fusionscope.state import left_as_it_was

LOWER_BOUNDS = ("lipschitz_constant", "local_lipschitz_max", "local_lipschitz_mean")
NUMBERS_AT_ONCE = 2**25  # of Jacobians that are held: 256 MiB in double precision
ROUNDING = 1e-5  # relative, of a forward pass in single precision
GAIN = 0.01  # relative, of the Lipschitz constant: the ascent ends where twice the iterations add less


def lipschitz(
    network: nn.Module, images: Images | None = None, *, seed: int = 0, **options: Any
) -> Measurement:
    """The Lipschitz constant from below, as `lipschitz_constant` finds it, with the recipe's options.

    With `images`, their directions are among those that it starts from.
    `options`: `starts` and `power_iterations` of InputRecipe; defaults are the recipe's. Raises InputError
    for an option that is not right. `network` is in eval mode, and knows its `input_shape` or takes images
    of 3 x 32 x 32.
    """
    from fusionscope.measures.recipes import InputRecipe  # here: jobs are told all options
    from fusionscope.options import check

    recipe = check(InputRecipe, options).model_dump(exclude={"images"})
    x = None if images is None else images.normalised()
    with sdpa_kernel(SDPBackend.MATH):  # the only kind of attention with a forward derivative
        return Measurement(lipschitz_constant(network, x, seed=seed, **recipe))


def measure_input_space(
    network: nn.Module, images: Images, *, seed: int, starts: int, power_iterations: int
) -> dict[str, Measurement]:
    """All metrics of the input space; local ones at `images` (normalised, all in one batch).

    Undefined, with the reason, where the logits have no derivative by the image. Without the upper bound
    where an operation of the network has none; the log says which.
    """
    predict(network, images, len(images))  # raises InputError where the outputs are not finite
    try:
        measurements = lower_bounds(
            network, images, seed=seed, starts=starts, power_iterations=power_iterations
        )
    except NotDefined as error:
        measurements = dict.fromkeys(LOWER_BOUNDS, undefined(str(error)))
    try:
        upper = lipschitz_upper_bound(network)
        measurements = {name: without_rounding(number, upper) for name, number in measurements.items()}
        measurements["lipschitz_upper_bound"] = Measurement(upper)
    except NoBound as error:
        logging.getLogger("fusionscope").warning("no lipschitz_upper_bound: %s", error)
    return measurements


def lower_bounds(
    network: nn.Module, images: Images, *, seed: int, starts: int, power_iterations: int
) -> dict[str, Measurement]:
    """The metrics that are found by derivatives. Raises NotDefined where there are none."""
    with sdpa_kernel(SDPBackend.MATH), refusals_as_undefined():  # only this attention has forward derivatives
        x = images.normalised()
        local = local_lipschitz(network, x, seed=seed, power_iterations=power_iterations)
        constant = lipschitz_constant(network, x, seed=seed, starts=starts, power_iterations=power_iterations)
    std_error = local.std().item() / math.sqrt(len(local)) if len(local) > 1 else None
    found = (
        Measurement(constant),
        Measurement(local.max().item()),
        Measurement(local.mean().item(), std_error),
    )
    return dict(zip(LOWER_BOUNDS, found, strict=True))


def without_rounding(lower: Measurement, upper: float) -> Measurement:
    """`lower`, which only rounding can put above `upper`, as in an affine network, where both are equal."""
    if lower.value is None:
        return lower
    above = upper < lower.value <= (1 + ROUNDING) * upper
    return replace(lower, value=upper) if above else lower


def lipschitz_constant(
    network: nn.Module, x: Tensor | None = None, *, seed: int, starts: int, power_iterations: int
) -> float:
    """The study's number: the largest norm(f(v) - f(0)) over unit vectors v that is found.

    A lower bound of the supremum over the unit sphere, and so of the Lipschitz constant; for affine f it is
    the operator norm. `ascend` goes up from `starts` directions, up to half of them those of the images `x`
    (n, 3, h, w), the others random. The better half goes up again in twice the iterations, as often as that
    adds more than GAIN to the largest value.
    """
    reference = reference_tensor(network)
    shape = input_shape(network)
    v = random_directions((starts, *shape), reference, seed, "lipschitz_constant")
    if x is not None:
        along = x[: starts // 2]
        v[: len(along)] = unit(along, otherwise=v[: len(along)])
    largest = 0.0
    while len(v):
        reached = ascend(network, v, power_iterations)
        before, largest = largest, max(largest, reached.max().item())
        if largest <= (1 + GAIN) * before or len(v) == 1:
            break
        v = v[reached.topk(len(v) // 2).indices]
        power_iterations *= 2
    return largest


def ascend(network: nn.Module, v: Tensor, iterations: int) -> Tensor:
    """The largest norm(f(v) - f(0)) (n,) met on the way up from each of the unit vectors `v` (n, 3, h, w).

    A power method with a step that shrinks: v <- (1 - a) v + a u, normalised, where u is J(v)^T (f(v) - f(0))
    normalised and a falls from 1 to 0. With a = 1 throughout, the power method proper, v leaps between the
    linear pieces of a ReLU network to and fro, and the value does not rise.
    """
    with torch.no_grad():
        origin = network(v.new_zeros(1, *v.shape[1:]))
    check_finite(origin, network)
    largest = v.new_zeros(len(v))
    for done in range(iterations + 1):
        logits, pullback = with_pullback(network, v)
        change = logits - origin
        largest = torch.maximum(largest, change.flatten(1).norm(dim=1))
        uphill = unit(pullback(change), otherwise=v)
        v = unit(torch.lerp(v, uphill, 1 - done / iterations), otherwise=uphill)
    return largest


def local_lipschitz(network: nn.Module, x: Tensor, *, seed: int, power_iterations: int) -> Tensor:
    """Spectral norm (n,) of the Jacobian df/dx at each image of `x` (n, 3, h, w), in eval mode.

    Exact where that costs no more than so many iterations, i.e. where there are at most twice as many
    classes; else from below. Each is a lower bound of the Lipschitz constant.
    """
    with torch.no_grad():
        classes = network(x[:1]).shape[1]
    if classes > 2 * power_iterations:  # of a pushforward and a pullback each
        return power_iterated_norms(network, x, seed=seed, power_iterations=power_iterations)
    at_once = max(1, NUMBERS_AT_ONCE // (classes * x[0].numel()))
    return torch.cat([exact_norms(network, part, classes) for part in x.split(at_once)])


def exact_norms(network: nn.Module, x: Tensor, classes: int) -> Tensor:
    """Spectral norm (n,) of each image's Jacobian J, from all its rows: that of J J^T, by eigenvalues."""
    logits, pullback = with_pullback(network, x)
    units = torch.eye(classes, dtype=logits.dtype, device=x.device)
    rows = [pullback(unit.expand_as(logits)).flatten(1) for unit in units]
    jacobians = torch.stack(rows, 1).double()
    return torch.linalg.eigvalsh(jacobians @ jacobians.mT)[:, -1].clamp_min(0).sqrt().to(x.dtype)


def power_iterated_norms(network: nn.Module, x: Tensor, *, seed: int, power_iterations: int) -> Tensor:
    """The same from below, by power iteration on J^T J, all images at once: jvp gives J v, vjp gives J^T u.

    Each value is norm(J v) at a unit v.
    """
    _, pullback = with_pullback(network, x)
    v = random_directions(x.shape, x, seed, "local_lipschitz")
    norms = x.new_zeros(len(x))
    for _ in range(power_iterations):
        with left_as_it_was(network):  # what it keeps inside is of no use outside
            _, stretched = jvp(network, (x,), (v,))  # type: ignore[misc]  # three only with has_aux
        stretched = stretched.detach()
        norms = torch.maximum(norms, stretched.norm(dim=1))
        v = unit(pullback(stretched), otherwise=v)
    return norms


def with_pullback(network: nn.Module, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Logits (n, classes) of `x` (n, 3, h, w), and the map from u (n, classes) to J^T u (n, 3, h, w).

    By automatic differentiation proper, to be called as often as one likes: torch.func's transform refuses
    networks that count in a buffer, compute a weight in a hook, or have a custom autograd.Function. Raises
    NotDefined where the logits have no derivative by the image.
    """
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        logits = network(x)
    check_has_gradient(logits)

    def pullback(u: Tensor) -> Tensor:
        # create_graph takes the formulas of torch.func, which round otherwise than those for a single use
        (product,) = torch.autograd.grad(logits, x, u, create_graph=True, materialize_grads=True)
        return product.detach()

    return logits.detach(), pullback


def random_directions(shape: Sequence[int], like: Tensor, seed: int, role: str) -> Tensor:
    """Unit vectors of `shape` (n, 3, h, w), drawn on the CPU so that every device gets the same."""
    directions = torch.randn(*shape, generator=generator(seed, role))
    return unit(directions, otherwise=directions).to(like)


def unit(vectors: Tensor, otherwise: Tensor) -> Tensor:
    """Each of `vectors` (n, ...) scaled to norm one; where it is zero, the one in `otherwise`."""
    norms = vectors.flatten(1).norm(dim=1).view(-1, *[1] * (vectors.dim() - 1))
    return torch.where(norms > 0, vectors / norms, otherwise)
