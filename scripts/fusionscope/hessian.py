"""The Hessian of the mean loss on a fixed sample: top eigenvalue, trace, spectral density.

Matrix-vector products come from curvlinops; nothing here ever holds the matrix.
"""

import logging
import math
from dataclasses import dataclass

import numpy as np
import torch
from curvlinops import HessianLinearOperator
from scipy.linalg import eigh_tridiagonal
from scipy.sparse.linalg import ArpackNoConvergence, eigsh
from torch import nn

from fusionscope.images import Images
from fusionscope.measurement import RIGHT, Measurement
from fusionscope.seeding import generator, seed_for

KRYLOV_DIMENSION = 20  # ARPACK's own default for one eigenvalue
DENSITY_COLUMNS = ("seed", "model", "eigenvalue", "density")
DENSITY_POINTS = 400  # of the grid
DENSITY_MARGIN = 5.0  # beyond the outermost Ritz values, in widths of a bump
BREAKDOWN = 1e-6  # relative: what is left of a product is rounding


@dataclass(frozen=True)
class SpectralDensity:
    """p(lambda) on a grid; integrates to one."""

    eigenvalue: np.ndarray  # (points,)
    density: np.ndarray  # (points,)


def measure_hessian(
    network: nn.Module,
    images: Images,
    batch_size: int,
    *,
    seed: int,
    eigenvalue_tolerance: float,
    max_restarts: int,
    trace_draws: int,
    density_starts: int,
    lanczos_steps: int,
) -> tuple[dict[str, Measurement], SpectralDensity]:
    """Top eigenvalue, trace and spectral density of the Hessian on all of `images`.

    Nothing, and a warning in the log, for a network with an operation of which PyTorch has no second
    derivative (nn.Hardsigmoid, say).
    """
    hessian = hessian_operator(network, images, batch_size)
    try:
        hessian @ torch.zeros(hessian.shape[1], dtype=hessian.dtype, device=hessian.device)
    except NotImplementedError as error:  # its first line names the operation
        reason = str(error).partition("\n")[0]
        logging.getLogger("fusionscope").warning("the Hessian is left out: %s", reason)
        return {}, SpectralDensity(np.empty(0), np.empty(0))
    measurements = {
        "hessian_top_eigenvalue": top_eigenvalue(
            hessian, seed=seed, tolerance=eigenvalue_tolerance, max_restarts=max_restarts
        ),
        "hessian_trace": trace(hessian, seed=seed, draws=trace_draws),
    }
    density = spectral_density(
        hessian, seed=seed, starts=density_starts, lanczos_steps=lanczos_steps, points=DENSITY_POINTS
    )
    return measurements, density


def hessian_operator(network: nn.Module, images: Images, batch_size: int) -> HessianLinearOperator:
    """The Hessian (omega x omega) of the mean cross-entropy on `images`, in eval mode."""
    network.eval()
    batches = list(images.batches(batch_size))
    parameters = [p for p in network.parameters() if p.requires_grad]
    return HessianLinearOperator(
        network, nn.CrossEntropyLoss(), parameters, batches, check_deterministic=False
    )


def top_eigenvalue(
    hessian: HessianLinearOperator, *, seed: int, tolerance: float, max_restarts: int
) -> Measurement:
    """The largest eigenvalue, signed, by implicitly restarted Lanczos (ARPACK through SciPy).

    Stops at relative `tolerance`. If `max_restarts` do not reach it, the largest Ritz value so far: a
    lower bound, and marked as RIGHT-censored.
    """
    start = np.random.default_rng(seed_for(seed, "arpack start")).standard_normal(hessian.shape[1])
    operator = hessian.to_scipy()
    start = start.astype(operator.dtype)
    if not np.any(operator @ start):
        return Measurement(0.0)  # flat: ARPACK refuses a matrix that maps its start to zero
    try:
        (largest,) = eigsh(
            operator,
            k=1,
            which="LA",
            v0=start,
            ncv=min(KRYLOV_DIMENSION, hessian.shape[1]),
            maxiter=max_restarts,
            tol=tolerance,
            return_eigenvectors=False,
        )
    except ArpackNoConvergence:
        values, _ = lanczos(hessian, KRYLOV_DIMENSION, seed, "fallback")
        return Measurement(float(values.max()), None, RIGHT)
    return Measurement(float(largest))


def trace(hessian: HessianLinearOperator, *, seed: int, draws: int) -> Measurement:
    """Hutchinson's estimator: the mean of v^T H v over Rademacher vectors v (Hutchinson 1989).

    Unbiased, since E[v v^T] = I; the standard error is that of the mean over `draws`.
    """
    size, dtype, device = hessian.shape[1], hessian.dtype, hessian.device
    products = []
    for draw in range(draws):
        stream = generator(seed, "hutchinson draw", draw)
        v = torch.randint(0, 2, (size,), generator=stream).to(device, dtype) * 2 - 1
        products.append(torch.dot(v, hessian @ v).double())
    products = torch.stack(products)
    std_error = products.std().item() / math.sqrt(draws) if draws > 1 else None
    return Measurement(products.mean().item(), std_error)


def spectral_density(
    hessian: HessianLinearOperator, *, seed: int, starts: int, lanczos_steps: int, points: int
) -> SpectralDensity:
    """Density of the eigenvalues by stochastic Lanczos quadrature, the mean over random `starts`.

    Each run's Ritz values, weighted by the squared first components of their vectors, under Gaussian
    bumps (Papyan 2020, JMLR 21/20-933, algorithm 2; Ghorbani et al. 2019, arXiv 1901.10159).
    """
    runs = [lanczos(hessian, lanczos_steps, seed, start) for start in range(starts)]
    nodes = np.concatenate([values for values, _ in runs])
    weights = np.concatenate([weights for _, weights in runs]) / starts
    span = np.ptp(nodes) or max(abs(nodes[0]), 1.0)  # all in one place where the Hessian is flat
    width = span / (2 * lanczos_steps)  # half the runs' resolution
    margin = DENSITY_MARGIN * width
    grid = np.linspace(nodes.min() - margin, nodes.max() + margin, points)
    bumps = np.exp(-(((grid[:, None] - nodes) / width) ** 2) / 2)
    bumps /= np.trapezoid(bumps, grid, axis=0)  # on the grid, so that the density adds to one there
    return SpectralDensity(grid, bumps @ weights)


def lanczos(hessian, steps: int, seed: int, *role: str | int) -> tuple[np.ndarray, np.ndarray]:
    """Ritz values (k,), ascending, and their weights (k,), which add to one; k <= `steps`.

    With full reorthogonalisation, so that no value comes twice; ends early where the Krylov space is
    exhausted (curvlinops' own run does neither).
    """
    size = hessian.shape[1]
    v = torch.randn(size, generator=generator(seed, "lanczos run", *role)).to(hessian.device, hessian.dtype)
    basis = [v / v.norm()]
    diagonal, off_diagonal = [], []
    for _ in range(min(steps, size)):
        product = hessian @ basis[-1]
        diagonal.append(torch.dot(basis[-1], product).item())
        scale = product.norm()
        for _ in range(2):  # twice is enough (Kahan & Parlett)
            known = torch.stack(basis)
            product = product - known.T @ (known @ product)
        residual = product.norm()
        if residual <= BREAKDOWN * scale:
            break
        off_diagonal.append(residual.item())
        basis.append(product / residual)
    values, vectors = eigh_tridiagonal(diagonal, off_diagonal[: len(diagonal) - 1])
    return values, vectors[0] ** 2
