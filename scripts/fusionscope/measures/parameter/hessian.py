"""The Hessian of the mean loss on a fixed sample: top eigenvalue, trace, spectral density.

Matrix-vector products come from curvlinops; nothing here ever holds the matrix. One Lanczos run serves all
three: its Ritz values give the top eigenvalue and a term of the density, its basis takes the outliers
out of the trace.
"""

import logging
import math
from collections.abc import Mapping
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
from fusionscope.measurement import NOT_CENSORED, RIGHT, Measurement, undefined
from fusionscope.measures.parameter.density import SpectralDensity, spectral_density
from fusionscope.measures.parameter.gauss_newton import gauss_newton_trace, is_piecewise_linear
from fusionscope.measures.undefined import (
    NotDefined,
    check_has_gradient,
    check_perturbable,
    refusals_as_undefined,
)
from fusionscope.seeding import generator
from fusionscope.state import copy_of

METRICS = ("hessian_top_eigenvalue", "hessian_trace")
DENSITY_COLUMNS = ("seed", "model", "eigenvalue", "density", "ritz_weight")
OUTLIER_TOLERANCE = 0.01  # relative residual of an eigenvalue that the density counts as one of omega
BREAKDOWN = 1e-6  # relative: what is left of a product is rounding
FEWEST_DRAWS, MOST_DRAWS = 8, 1000  # of the trace, where an error is asked for instead of a number of draws


@dataclass(frozen=True)
class LanczosRun:
    """What k <= steps matrix-vector products from one random start tell of a symmetric matrix."""

    values: np.ndarray  # (k,) Ritz values, ascending
    vectors: np.ndarray  # (k, k), columns: the Ritz vectors by the rows of the basis; the first is the start
    residuals: np.ndarray  # (k,) how far an eigenvalue is from each Ritz value at the most
    basis: Tensor  # (k, omega), orthonormal rows
    diagonal: np.ndarray  # (k,) q^T H q of each row q

    @property
    def weights(self) -> np.ndarray:
        """(k,) The Ritz vectors' shares of the start, which add to one."""
        return self.vectors[0] ** 2


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
    try:
        *_, hessian = checked_hessian(network, images, batch_size, recipe["precision"])
    except NotDefined as error:
        raise InputError(f"this network has no Hessian: {error}") from error
    with sdpa_kernel(SDPBackend.MATH):
        run = lanczos(hessian, recipe["lanczos_steps"], seed, 0)
    return top_eigenvalue(run, recipe["eigenvalue_tolerance"])


def hessian_trace(
    network: nn.Module, images: Images, *, seed: int = 0, batch_size: int = 256, **options: Any
) -> Measurement:
    """The trace of the same Hessian, with its standard error. Options and errors as there."""
    recipe = checked_recipe(options)
    draws: TraceDraws = {
        "seed": seed,
        "draws": recipe["trace_draws"],
        "target_error": recipe["trace_target_error"],
    }
    try:
        network, images, hessian = checked_hessian(network, images, batch_size, recipe["precision"])
    except NotDefined as error:
        raise InputError(f"this network has no Hessian: {error}") from error
    with sdpa_kernel(SDPBackend.MATH):
        if is_piecewise_linear(network):
            return gauss_newton_trace(network, images, batch_size, **draws)
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
    'double' for everything in float64, 'single' for the network's own. Undefined, with the reason, which the
    log says too, where the network has no second derivative that PyTorch knows (nn.Hardsigmoid, say).
    """
    draws: TraceDraws = {"seed": seed, "draws": trace_draws, "target_error": trace_target_error}
    try:
        network, images, hessian = checked_hessian(network, images, batch_size, precision)
    except NotDefined as error:
        logging.getLogger("fusionscope").warning("the Hessian is left out: %s", error)
        return dict.fromkeys(METRICS, undefined(str(error))), SpectralDensity(*np.empty((3, 0)))
    with sdpa_kernel(SDPBackend.MATH):  # the only kind of attention with second derivatives
        run = lanczos(hessian, lanczos_steps, seed, 0)
        if is_piecewise_linear(network):
            trace_found = gauss_newton_trace(network, images, batch_size, **draws)
        else:
            trace_found = trace(hessian, run, **draws)
        measurements = {
            "hessian_top_eigenvalue": top_eigenvalue(run, eigenvalue_tolerance),
            "hessian_trace": trace_found,
        }
        quadrature = run.values, run.weights
        if density_starts > 1:
            outliers = converged(run)
            del run  # and with it its basis: the other runs need the room
            quadrature = deflated_quadrature(hessian, *outliers, lanczos_steps, density_starts - 1, seed)
    return measurements, spectral_density(*quadrature)


def density_rows(density: SpectralDensity, *, seed: int, model: str) -> list[dict[str, object]]:
    """One row, with DENSITY_COLUMNS as keys, per point of the grid."""
    points = zip(density.eigenvalue, density.density, density.ritz_weight, strict=True)
    return [
        {"seed": seed, "model": model, "eigenvalue": eigenvalue, "density": value, "ritz_weight": weight}
        for eigenvalue, value, weight in points
    ]


def checked_hessian(
    network: nn.Module, images: Images, batch_size: int, precision: str
) -> tuple[nn.Module, Images, HessianLinearOperator]:
    """The network and images at `precision`, and the Hessian, of which one product has been tried.

    Raises NotDefined where there is none: no parameters, all of them frozen, or an operation without a second
    derivative.
    """
    parameters = list(network.parameters())
    check_perturbable(parameters)
    if not any(p.requires_grad for p in parameters):
        raise NotDefined("all its parameters are frozen (requires_grad is False)")
    network, images = at_precision(network, images, precision)
    with sdpa_kernel(SDPBackend.MATH), refusals_as_undefined():
        hessian = hessian_operator(network, images, batch_size)
        hessian @ torch.zeros(hessian.shape[1], dtype=hessian.dtype, device=hessian.device)
    return network, images, hessian


def at_precision(network: nn.Module, images: Images, precision: str) -> tuple[nn.Module, Images]:
    """Copies in float64 for 'double'; as they are for 'single'."""
    if precision != "double":
        return network, images
    double = replace(images, mean=images.mean.double(), std=images.std.double())
    return copy_of(network).double(), double


class TwiceBackward(HessianLinearOperator):
    """The Hessian by going back through the graph of the gradient, which is kept where there is one batch."""

    kept: tuple[Tensor, ...] | None = None

    def gradient(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        """Of the loss on one batch, by each parameter."""
        if self.kept is not None:
            return self.kept
        with torch.enable_grad():
            logits = self._model_func(x)
            check_has_gradient(logits)
            loss = self._loss_func(logits, y)
            gradient = torch.autograd.grad(loss, self._params, create_graph=True, materialize_grads=True)
        if len(self._data) == 1:
            self.kept = gradient
        return gradient

    def _matmat_batch(self, x: Tensor, y: Tensor, matrix: list[Tensor]) -> list[Tensor]:
        """H M of one batch; M's columns are the last axes, the others are those of the parameters."""
        gradient = self.gradient(x, y)
        outputs = [g for g in gradient if g.requires_grad]
        columns = []
        for k in range(matrix[0].shape[-1]):
            v = [m[..., k] for m, g in zip(matrix, gradient, strict=True) if g.requires_grad]
            columns.append(
                torch.autograd.grad(outputs, self._params, v, retain_graph=True, materialize_grads=True)
            )
        return [torch.stack(parts, -1) for parts in zip(*columns, strict=True)]


def hessian_operator(network: nn.Module, images: Images, batch_size: int) -> HessianLinearOperator:
    """The Hessian (omega x omega) of the mean cross-entropy on `images`, in eval mode."""
    predict(network, images, batch_size)  # raises InputError where the outputs are not finite
    batches = list(images.batches(batch_size))
    parameters = [p for p in network.parameters() if p.requires_grad]
    return TwiceBackward(network, nn.CrossEntropyLoss(), parameters, batches, check_deterministic=False)


def lanczos(
    hessian: HessianLinearOperator, steps: int, seed: int, *role: str | int, outside_of: Tensor | None = None
) -> LanczosRun:
    """A Lanczos run with full reorthogonalisation, so that no Ritz value comes twice.

    From random signs; ends early where the Krylov space is exhausted (curvlinops' own run does neither).
    Residuals are beta_k |s_k| (Parlett 1998, The Symmetric Eigenvalue Problem, theorem 13.2.1). With
    `outside_of` (c, omega), orthonormal eigenvectors, the run is on what is orthogonal to them.
    """
    size = hessian.shape[1]
    start = random_signs(hessian, seed, "lanczos run", *role)
    apart = start.new_empty(0, size) if outside_of is None else outside_of
    steps = min(steps, size - len(apart))
    known = torch.empty(len(apart) + steps, size, dtype=hessian.dtype, device=hessian.device)
    known[: len(apart)] = apart
    basis = known[len(apart) :]
    start = outside(apart, start)
    basis[0] = start / start.norm()
    diagonal, off_diagonal = [], []
    for step in range(steps):
        product = hessian @ basis[step]
        diagonal.append(torch.dot(basis[step], product).item())
        scale = product.norm()
        for _ in range(2):  # twice is enough (Kahan & Parlett)
            product = outside(known[: len(apart) + step + 1], product)
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
    return LanczosRun(values, vectors, residuals, basis[:k], np.array(diagonal))


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

    tr H = tr Q H Q^T + E[s^T A s], A = P H P, P = I - Q^T Q, over Rademacher vectors s (Meyer et al. 2021,
    arXiv 2010.09649; with a Krylov space as Q: Chen & Hallman 2023, arXiv 2205.01736). Unbiased, since s is
    independent of Q; the largest eigenvalues, which make much of Hutchinson's variance, are in Q.

    The standard error is that of the mean over `draws`, or over as many as bring it to `target_error` of the
    trace. s^T A s is the sum of the entries of d = s * (A s); two of them have the covariance a_ij^2, and
    one has the variance sum_{j != i} a_ij^2, so the variance of the sum is twice the sum of the variances.
    Those are estimated from the omega entries of each draw: a few draws know them well.
    """
    known = float(run.diagonal.sum())
    total, squares, done = torch.zeros_like(run.basis[0]), 0.0, 0
    while done < (draws or MOST_DRAWS):
        signs = random_signs(hessian, seed, "hutchinson draw", done)
        product = hessian @ outside(run.basis, signs)
        products = signs * outside(run.basis, product)
        total += products
        squares += products.double().square().sum().item()
        done += 1
        value = known + total.double().sum().item() / done
        std_error = hutchinson_error(total, squares, done)
        enough = done >= FEWEST_DRAWS
        if target_error and enough and std_error is not None and std_error <= target_error * abs(value):
            break
    return Measurement(value, std_error)


def outside(basis: Tensor, v: Tensor) -> Tensor:
    """The part of `v` that is orthogonal to the orthonormal rows of `basis`."""
    return v - basis.T @ (basis @ v)


def hutchinson_error(total: Tensor, squares: float, draws: int) -> float | None:
    """The standard error of the trace from the sum (omega,) and the summed squares of its draws' entries.

    Of a single draw there is none.
    """
    if draws == 1:
        return None
    variances = (squares - total.double().square().sum().item() / draws) / (draws - 1)
    return math.sqrt(2 * max(variances, 0.0) / draws)


def converged(run: LanczosRun) -> tuple[np.ndarray, Tensor]:
    """The eigenvalues (c,) that a run has found to within OUTLIER_TOLERANCE, and their vectors (c, omega)."""
    found = run.residuals <= OUTLIER_TOLERANCE * np.abs(run.values)
    mixture = torch.from_numpy(run.vectors[:, found].T.copy()).to(run.basis)
    return run.values[found], mixture @ run.basis


def deflated_quadrature(
    hessian: HessianLinearOperator,
    eigenvalues: np.ndarray,
    eigenvectors: Tensor,
    lanczos_steps: int,
    starts: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights for the mean of a function over all omega eigenvalues.

    Each of the `eigenvalues` (c,) whose `eigenvectors` (c, omega) are known counts as one of omega. Lanczos
    runs on what is orthogonal to them, from so many `starts`, give the rest. A run's own weight of an outlier
    is 1/omega on average, and anything from nothing to some times that in a single run: hence the two parts,
    which are those of Hutch++ (see `trace`).
    """
    size = hessian.shape[1]
    nodes, weights = [eigenvalues], [np.full(len(eigenvalues), 1 / size)]
    for start in range(1, starts + 1 if len(eigenvalues) < size else 1):
        run = lanczos(hessian, lanczos_steps, seed, start, outside_of=eigenvectors)
        nodes.append(run.values)
        weights.append(run.weights * (1 - len(eigenvalues) / size) / starts)
    return np.concatenate(nodes), np.concatenate(weights)
