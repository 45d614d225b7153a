"""The plot `spectral_density`: the eigenvalues of each model's Hessian."""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from fusionscope.measures.parameter.density import SMOOTHING
from fusionscope.report.eigenvalue_axis import set_eigenvalue_axis
from fusionscope.report.spectra import smoothed_alike
from fusionscope.report.style import (
    GREY,
    LARGE,
    MIN_WIDTH,
    NORMAL,
    WIDE_NAME,
    empty_figure,
    heading,
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
PANEL_WIDTH, PANEL_HEIGHT, FRAME_HEIGHT = 3.0, 2.4, 1.0  # inches


def draw(densities: pd.DataFrame) -> Figure:
    """Spectral density of the Hessian: a panel per model, a thin line per seed, a tick per Ritz value.

    `densities`: columns model, seed, eigenvalue, density, ritz_weight. All are smoothed alike. Models share
    their axes where their eigenvalues are of comparable size; otherwise each panel has its own.
    """
    densities = densities[np.isfinite(densities.eigenvalue) & np.isfinite(densities.density)]
    if densities.empty:
        return note("the spectral density was not measured")
    title = heading(densities, "spectral density of the Hessian")
    densities, r = smoothed_alike(densities)
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
    figure.supxlabel(f"Eigenvalue λ of the Hessian{ranges}\n{smoothing_told(r)}", fontsize=NORMAL)
    figure.supylabel("Density (1 / eigenvalue)", fontsize=NORMAL)
    figure.suptitle(title, fontsize=LARGE)
    return figure


def smoothing_told(r: float) -> str:
    return f"Ritz values (ticks) under Gaussians of width {SMOOTHING:g} √(λ² + r²), in all panels r = {r:.3g}"


def comparable(densities: pd.DataFrame) -> bool:
    """Whether the models' eigenvalues are within a factor COMPARABLE of each other in size."""
    sizes = densities.eigenvalue.abs().groupby(densities.model).max()
    return sizes.max() <= COMPARABLE * sizes.min()


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
