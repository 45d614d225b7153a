"""The axis on which eigenvalues of a Hessian are shown: in a plot, and on the cards of the page."""

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

FIRST_TICK = 5.0  # beside that at zero, in typical eigenvalues: nearer ones would overlap with it
MOST_DECADES = 4  # with a tick on each side


def set_eigenvalue_axis(axes: Axes, densities: pd.DataFrame) -> None:
    """Linear around zero, logarithmic beyond the typical eigenvalue: there all bumps are equally wide."""
    typical, largest = typical_size(densities), densities.eigenvalue.abs().max()
    axes.set_xscale("asinh", linear_width=typical)
    first, last = math.ceil(math.log10(FIRST_TICK * typical)), math.floor(math.log10(largest))
    step = 1 + max(last - first, 0) // MOST_DECADES
    decades = [10.0**k for k in range(last, first - 1, -step)] or [float(f"{largest:.1g}")]
    ticks = [-size for size in decades] + [0.0] + decades
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def typical_size(densities: pd.DataFrame) -> float:
    """The root mean square of the eigenvalues: of smaller ones the bumps of the density say little."""
    ritz = densities[densities.ritz_weight > 0]
    return math.sqrt((ritz.ritz_weight * ritz.eigenvalue**2).sum() / ritz.ritz_weight.sum()) or 1.0
