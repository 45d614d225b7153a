"""The density of a matrix's eigenvalues, from the nodes and weights of a quadrature."""

import math
from dataclasses import dataclass

import numpy as np

SMOOTHING = 0.1  # width of the density's bumps, relative to the eigenvalue and the root mean square of all
GRID_STEP = 0.4  # between points of the density, in widths of the bumps there
DENSITY_MARGIN = 5.0  # beyond the outermost Ritz values, in widths of a bump


@dataclass(frozen=True)
class SpectralDensity:
    """p(lambda) on a grid; integrates to one."""

    eigenvalue: np.ndarray  # (points,), ascending; closer together where the bumps are narrower
    density: np.ndarray  # (points,)
    ritz_weight: (
        np.ndarray
    )  # (points,) the share of all eigenvalues that a Ritz value here stands for; or zero


def root_mean_square(nodes: np.ndarray, weights: np.ndarray) -> float:
    """Of the eigenvalues, from a quadrature's `nodes` (k,) and `weights` (k,); 1 where all are zero."""
    return math.sqrt(weights @ nodes**2) or 1.0


def spectral_density(nodes: np.ndarray, weights: np.ndarray, r: float | None = None) -> SpectralDensity:
    """Density of the eigenvalues from a quadrature's `nodes` (k,) and `weights` (k,), which add to one.

    Stochastic Lanczos quadrature: Ritz values, weighted by the squared first components of their vectors,
    under Gaussian bumps (Papyan 2020, JMLR 21/20-933, algorithm 2; Ghorbani et al. 2019, arXiv 1901.10159).
    The bump at lambda is SMOOTHING sqrt(lambda^2 + r^2) wide, r the root mean square of the eigenvalues if it
    is not given. That leaves their mean as it is and adds SMOOTHING^2 (s + r^2) to their mean square s. The
    grid is as fine everywhere as the bumps are there, and has all nodes on it.
    """
    r = root_mean_square(nodes, weights) if r is None else r
    widths = SMOOTHING * np.hypot(nodes, r)
    margin = DENSITY_MARGIN * widths
    low, high = math.asinh((nodes - margin).min() / r), math.asinh((nodes + margin).max() / r)
    points = math.ceil((high - low) / (GRID_STEP * SMOOTHING)) + 1
    grid = np.union1d(r * np.sinh(np.linspace(low, high, points)), nodes)
    bumps = np.exp(-(((grid[:, None] - nodes) / widths) ** 2) / 2)
    bumps /= np.trapezoid(bumps, grid, axis=0)  # on the grid, so that the density adds to one there
    ritz_weight = np.zeros_like(grid)
    np.add.at(ritz_weight, np.searchsorted(grid, nodes), weights)
    return SpectralDensity(grid, bumps @ weights, ritz_weight)
