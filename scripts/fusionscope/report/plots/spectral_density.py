"""The plot `spectral_density`: the eigenvalues of each model's Hessian."""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from fusionscope.report.style import (
    GREY,
    MIN_WIDTH,
    NORMAL,
    WIDE_NAME,
    empty_figure,
    in_order,
    look,
    note,
    panel_grid,
    style_axes,
    wrapped,
)

DENSITY_FLOOR = 1e-9  # of the peak: less than one eigenvalue among 1e8 weighs, so only tails of bumps
DENSITY_HEADROOM = 5.0  # over the peak
COMPARABLE = 10.0  # ratio of the models' eigenvalue ranges up to which they share their axes
RUG_HEIGHT = 0.03  # of the panel
FIRST_TICK = 5.0  # beside that at zero, in typical eigenvalues: nearer ones would overlap with it
MOST_DECADES = 4  # with a tick on each side
PANEL_WIDTH, PANEL_HEIGHT, FRAME_HEIGHT = 3.5, 2.7, 0.6  # inches


def draw(densities: pd.DataFrame) -> Figure:
    """Spectral density of the Hessian: a panel per model, a thin line per seed, a tick per Ritz value.

    `densities`: columns model, seed, eigenvalue, density, ritz_weight. Models share their axes where their
    eigenvalues are of comparable size; otherwise each panel has its own.
    """
    densities = densities[np.isfinite(densities.eigenvalue) & np.isfinite(densities.density)]
    if densities.empty:
        return note("the spectral density was not measured")
    models = in_order(densities.model)
    shared = comparable(densities)
    columns = min(len(models), 2 if len(models) == 4 else 3)
    height = PANEL_HEIGHT * math.ceil(len(models) / columns) + FRAME_HEIGHT
    figure = empty_figure(max(PANEL_WIDTH * columns, MIN_WIDTH), height)
    panels = panel_grid(figure, len(models), columns, sharex=shared, sharey=shared)
    for axes, model in zip(panels, models, strict=True):
        mine = densities[densities.model == model]
        draw_densities(axes, mine, look(model, models)[0])
        peak = (densities if shared else mine).density.max()
        axes.set_ylim(DENSITY_FLOOR * peak, DENSITY_HEADROOM * peak)
        set_eigenvalue_axis(axes, densities if shared else mine)
        axes.set_title(wrapped(model, WIDE_NAME), fontsize=NORMAL)
    ranges = "" if shared else " (each panel has its own range)"
    figure.supxlabel(f"eigenvalue of the Hessian{ranges}", fontsize=NORMAL)
    figure.supylabel("density (1 / eigenvalue)", fontsize=NORMAL)
    return figure


def comparable(densities: pd.DataFrame) -> bool:
    """Whether the models' eigenvalues are within a factor COMPARABLE of each other in size."""
    sizes = densities.eigenvalue.abs().groupby(densities.model).max()
    return sizes.max() <= COMPARABLE * sizes.min()


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


def draw_densities(axes: Axes, densities: pd.DataFrame, colour: str) -> None:
    """One model's densities, a line per seed; what is zero dives below the axis."""
    tiny = np.finfo(float).tiny
    for _, line in densities.sort_values("eigenvalue").groupby("seed"):
        axes.plot(line.eigenvalue, line.density.clip(lower=tiny), color=colour, linewidth=0.9, alpha=0.8)
        ritz = line.eigenvalue[line.ritz_weight > 0]
        axes.plot(ritz, [RUG_HEIGHT] * len(ritz), "|", color=colour, transform=axes.get_xaxis_transform())
    axes.axvline(0, color=GREY, linewidth=0.7, linestyle=":", zorder=0)
    style_axes(axes)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(numticks=6))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.tick_params(labelbottom=True)  # the panel below may be missing
