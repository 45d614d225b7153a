"""The Hessian of the mean loss on a fixed sample: top eigenvalue, trace, spectral density.

Matrix-vector products come from curvlinops; nothing here ever holds the matrix. One Lanczos run serves all
three: its Ritz values give the top eigenvalue and a term of the density, its basis takes the outliers
out of the trace.
"""

import copy
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict

import numpy as np
import torch
from curvlinops import HessianLinearOperator
from scipy.linalg import eigh_tridiagonal
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from fusionscope.errors import InputError
from fusionscope.evaluation import predict
from fusionscope.images import Images
from fusionscope.measurement import NOT_CENSORED, RIGHT, Measurement
from fusionscope.measures.parameter.gauss_newton import gauss_newton_trace, is_piecewise_linear
from fusionscope.seeding import generator

DENSITY_COLUMNS = ("seed", "model", "eigenvalue", "density")
DENSITY_POINTS = 400  # of the grid
DENSITY_MARGIN = 5.0  # beyond the outermost Ritz values, in widths of a bump
BREAKDOWN = 1e-6  # relative: what is left of a product is rounding
FEWEST_DRAWS, MOST_DRAWS = 8, 1000  # of the trace, where an error is asked for instead of a number of draws


@dataclass(frozen=True)
class SpectralDensity:
    """p(lambda) on a grid; integrates to one."""

    eigenvalue: np.ndarray  # (points,)
    density: np.ndarray  # (points,)


@dataclass(frozen=True)
class LanczosRun:
    """What k <= steps matrix-vector products from one random start tell of a symmetric matrix."""

    values: np.ndarray  # (k,) Ritz values, ascending
    weights: np.ndarray  # (k,) their shares of the start, which add to one
    residuals: np.ndarray  # (k,) how far an eigenvalue is from each Ritz value at the most
    basis: Tensor  # (k, omega), orthonormal rows
    diagonal: np.ndarray  # (k,) q^T H q of each row q


# Of one network and its images, with the recipe's options: for a notebook


def hessian_top_eigenvalue(
    network: nn.Module, images: Images, *, seed: int = 0, batch_size: int = 256, **options: Any
) -> Measurement:
    """The largest eigenvalue, signed, of the Hessian of the mean loss on all of `images`.

    RIGHT-censored where the run ends before it has converged. `options` are those of HessianRecipe; defaults
    are the recipe's. Raises InputError for an option that is not right, or where an operation of `network`
    has no second derivative. `network` is put into eval mode and is otherwise left as it was.
    """
    recipe = checked_recipe(options)
    with sdpa_kernel(SDPBackend.MATH):
        hessian = hessian_operator(*at_precision(network, images, recipe["precision"]), batch_size)
        check_second_derivative(hessian)
        run = lanczos(hessian, recipe["lanczos_steps"], seed, 0)
    return top_eigenvalue(run, recipe["eigenvalue_tolerance"])


def hessian_trace(
    network: nn.Module, images: Images, *, seed: int = 0, batch_size: int = 256, **options: Any
) -> Measurement:
    """The trace of the same Hessian, with its standard error. Options and errors as there."""
    recipe = checked_recipe(options)
    network, images = at_precision(network, images, recipe["precision"])
    draws: TraceDraws = {
        "seed": seed,
        "draws": recipe["trace_draws"],
        "target_error": recipe["trace_target_error"],
    }
    with sdpa_kernel(SDPBackend.MATH):
        if is_piecewise_linear(network):
            return gauss_newton_trace(network, images, batch_size, **draws)
        hessian = hessian_operator(network, images, batch_size)
        check_second_derivative(hessian)
        return trace(hessian, lanczos(hessian, recipe["lanczos_steps"], seed, 0), **draws)


def checked_recipe(options: Mapping[str, Any]) -> dict[str, Any]:
    """All options of the Hessian but the number of images."""
    from fusionscope.measures.recipes import HessianRecipe  # here: jobs are told all options
    from fusionscope.options import check

    return check(HessianRecipe, options).model_dump(exclude={"images"})


# All of them


class TraceDraws(TypedDict):
    """How many random vectors the trace is found with, and from which seed."""

    seed: int
    draws: int | None
    target_error: float | None


def measure_hessian(
    network: nn.Module,
    images: Images,
    batch_size: int,
    *,
    seed: int,
    lanczos_steps: int,
    density_starts: int,
    eigenvalue_tolerance: float,
    trace_draws: int | None = None,
    trace_target_error: float | None = None,
    precision: str = "single",
) -> tuple[dict[str, Measurement], SpectralDensity]:
    """Top eigenvalue, trace and spectral density of the Hessian on all of `images`.

    Holds `lanczos_steps` vectors of the size of the parameters, beside what products need. `precision`:
    'double' for everything in float64, 'single' for the network's own. Nothing, and a warning in the log,
    where PyTorch has no second derivative of an operation of the network (nn.Hardsigmoid, say).
    """
    network, images = at_precision(network, images, precision)
    draws: TraceDraws = {"seed": seed, "draws": trace_draws, "target_error": trace_target_error}
    with sdpa_kernel(SDPBackend.MATH):  # the only kind of attention with second derivatives
        hessian = hessian_operator(network, images, batch_size)
        try:
            check_second_derivative(hessian)
        except InputError as error:
            logging.getLogger("fusionscope").warning("the Hessian is left out: %s", error)
            return {}, SpectralDensity(np.empty(0), np.empty(0))
        run = lanczos(hessian, lanczos_steps, seed, 0)
        if is_piecewise_linear(network):
            trace_found = gauss_newton_trace(network, images, batch_size, **draws)
        else:
            trace_found = trace(hessian, run, **draws)
        measurements = {
            "hessian_top_eigenvalue": top_eigenvalue(run, eigenvalue_tolerance),
            "hessian_trace": trace_found,
        }
        runs = [replace(run, basis=run.basis[:0])]
        del run  # and with it its basis: the other starts need the room
        for start in range(1, density_starts):
            other = lanczos(hessian, lanczos_steps, seed, start)
            runs.append(replace(other, basis=other.basis[:0]))
    return measurements, spectral_density(runs, lanczos_steps, DENSITY_POINTS)


def density_rows(density: SpectralDensity, *, seed: int, model: str) -> list[dict[str, object]]:
    """One row, with DENSITY_COLUMNS as keys, per point of the grid."""
    points = zip(density.eigenvalue, density.density, strict=True)
    return [
        {"seed": seed, "model": model, "eigenvalue": eigenvalue, "density": value}
        for eigenvalue, value in points
    ]


def at_precision(network: nn.Module, images: Images, precision: str) -> tuple[nn.Module, Images]:
    """Copies in float64 for 'double'; as they are for 'single'."""
    if precision != "double":
        return network, images
    double = replace(images, mean=images.mean.double(), std=images.std.double())
    return copy.deepcopy(network).double(), double


def hessian_operator(network: nn.Module, images: Images, batch_size: int) -> HessianLinearOperator:
    """The Hessian (omega x omega) of the mean cross-entropy on `images`, in eval mode."""
    predict(network, images, batch_size)  # raises InputError where the outputs are not finite
    batches = list(images.batches(batch_size))
    parameters = [p for p in network.parameters() if p.requires_grad]
    return HessianLinearOperator(
        network, nn.CrossEntropyLoss(), parameters, batches, check_deterministic=False
    )


def check_second_derivative(hessian: HessianLinearOperator) -> None:
    """Raise InputError where PyTorch has no second derivative of an operation of the network."""
    try:
        hessian @ torch.zeros(hessian.shape[1], dtype=hessian.dtype, device=hessian.device)
    except NotImplementedError as error:  # its first line names the operation
        raise InputError(str(error).partition("\n")[0]) from error


def lanczos(hessian: HessianLinearOperator, steps: int, seed: int, *role: str | int) -> LanczosRun:
    """A Lanczos run with full reorthogonalisation, so that no Ritz value comes twice.

    From random signs; ends early where the Krylov space is exhausted (curvlinops' own run does neither).
    Residuals are beta_k |s_k| (Parlett 1998, The Symmetric Eigenvalue Problem, theorem 13.2.1).
    """
    size = hessian.shape[1]
    steps = min(steps, size)
    basis = torch.empty(steps, size, dtype=hessian.dtype, device=hessian.device)
    basis[0] = random_signs(hessian, seed, "lanczos run", *role) / math.sqrt(size)
    diagonal, off_diagonal = [], []
    for step in range(steps):
        product = hessian @ basis[step]
        diagonal.append(torch.dot(basis[step], product).item())
        scale, known = product.norm(), basis[: step + 1]
        for _ in range(2):  # twice is enough (Kahan & Parlett)
            product -= known.T @ (known @ product)
        residual = product.norm()
        exhausted = bool(residual <= BREAKDOWN * scale)
        off_diagonal.append(0.0 if exhausted else residual.item())
        if exhausted:
            break
        if step + 1 < steps:
            basis[step + 1] = product / residual
    k = len(diagonal)
    values, vectors = eigh_tridiagonal(diagonal, off_diagonal[: k - 1])
    residuals = off_diagonal[k - 1] * np.abs(vectors[-1])
    return LanczosRun(values, vectors[0] ** 2, residuals, basis[:k], np.array(diagonal))


def random_signs(hessian: HessianLinearOperator, *role: str | int) -> Tensor:
    """A Rademacher vector (omega,), drawn on the CPU so that every device gets the same."""
    signs = torch.randint(0, 2, (hessian.shape[1],), generator=generator(*role)) * 2 - 1
    return signs.to(hessian.device, hessian.dtype)


def top_eigenvalue(run: LanczosRun, tolerance: float) -> Measurement:
    """The largest eigenvalue, signed: the largest Ritz value.

    If its residual is not within the relative `tolerance` it is a lower bound, and marked as RIGHT-censored.
    """
    largest, residual = run.values[-1], run.residuals[-1]
    converged = residual <= tolerance * abs(largest)
    return Measurement(float(largest), None, NOT_CENSORED if converged else RIGHT)


def trace(
    hessian: HessianLinearOperator,
    run: LanczosRun,
    *,
    seed: int,
    draws: int | None = None,
    target_error: float | None = None,
) -> Measurement:
    """Hutch++'s estimator: exact on the span of the run's basis Q, Hutchinson's on what is orthogonal to it.

    tr H = tr Q H Q^T + E[v^T P H P v], P = I - Q^T Q, over Rademacher vectors v (Meyer et al. 2021, arXiv
    2010.09649; with a Krylov space as Q: Chen & Hallman 2023, arXiv 2205.01736). Unbiased, since v is
    independent of Q; the largest eigenvalues, which make much of Hutchinson's variance, are in Q. The
    standard error is that of the mean over `draws`, or over as many as bring it to `target_error` of the
    trace.
    """
    known = float(run.diagonal.sum())
    products: list[float] = []
    while len(products) < (draws or MOST_DRAWS):
        v = random_signs(hessian, seed, "hutchinson draw", len(products))
        v -= run.basis.T @ (run.basis @ v)
        products.append(torch.dot(v, hessian @ v).item())
        value, std_error = float(known + np.mean(products)), mean_error(products)
        enough = len(products) >= FEWEST_DRAWS
        if target_error and enough and std_error is not None and std_error <= target_error * abs(value):
            break
    return Measurement(value, std_error)


def mean_error(samples: Sequence[float]) -> float | None:
    """The standard error of the mean; of a single sample there is none."""
    return float(np.std(samples, ddof=1) / math.sqrt(len(samples))) if len(samples) > 1 else None


def spectral_density(runs: Sequence[LanczosRun], lanczos_steps: int, points: int) -> SpectralDensity:
    """Density of the eigenvalues by stochastic Lanczos quadrature, the mean over runs of so many steps.

    Each run's Ritz values, weighted by the squared first components of their vectors, under Gaussian
    bumps (Papyan 2020, JMLR 21/20-933, algorithm 2; Ghorbani et al. 2019, arXiv 1901.10159).
    """
    nodes = np.concatenate([run.values for run in runs])
    weights = np.concatenate([run.weights for run in runs]) / len(runs)
    span = np.ptp(nodes) or max(abs(nodes[0]), 1.0)  # all in one place where the Hessian is flat
    width = span / (2 * lanczos_steps)  # half the runs' resolution
    margin = DENSITY_MARGIN * width
    grid = np.linspace(nodes.min() - margin, nodes.max() + margin, points)
    bumps = np.exp(-(((grid[:, None] - nodes) / width) ** 2) / 2)
    bumps /= np.trapezoid(bumps, grid, axis=0)  # on the grid, so that the density adds to one there
    return SpectralDensity(grid, bumps @ weights)
