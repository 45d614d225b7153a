"""The plot `activation_variance`: how much children vary beside their parents, from layer to layer."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from fusionscope.report.style import (
    GREY,
    LARGE,
    LEGEND_ENTRY,
    LINE_PLOT_HEIGHT,
    LINE_PLOT_WIDTH,
    NORMAL,
    SMALL,
    empty_figure,
    heading,
    in_order,
    legend_below,
    legend_height,
    look,
    note,
    style_axes,
    wrapped,
)

LAYER_PITCH = 0.16  # inches from one layer's name to the next, just legible
FRAME_WIDTH = 1.2  # beside the axes
NAME_HEIGHT = 0.07  # of a character of a layer's name, which stands upright
WIDEST = 16.0
SMALLEST_RATIO = 1e-9  # where nothing varies; a logarithmic axis has no zero
NEAREST_ENDS = (0.5, 1.5)  # of the axis of ratios, however near 1 they are
TWO_DECADES = 100.0
TITLE = "variance of the children's activations"


def draw(variances: pd.DataFrame) -> Figure:
    """Variance of pre-activations over that of the parents: layers across, a line per child.

    `variances`: columns seed, model (the child), layer, ratio, and others. A line is the geometric mean over
    seeds, the band around it goes from the smallest to the largest. At 1, dashed, a child varies as its
    parents do. Layers keep their order; NaN, where the parents do not vary, is left out.
    """
    variances = variances[np.isfinite(variances.ratio.astype(float))]
    if variances.empty:
        return note("the variance of activations was not measured")
    children, layers = in_order(variances.model), list(variances.layer.unique())
    every = max(1, math.ceil(len(layers) * LAYER_PITCH / (WIDEST - FRAME_WIDTH)))
    width = min(max(LINE_PLOT_WIDTH, FRAME_WIDTH + LAYER_PITCH * len(layers)), WIDEST)
    handles = legend_handles(children, several_seeds=variances.seed.nunique() > 1)
    columns = int(width / LEGEND_ENTRY)
    names = NAME_HEIGHT * max(map(len, layers))
    figure = empty_figure(width, LINE_PLOT_HEIGHT + names + legend_height(handles, columns))
    axes = figure.subplots()
    for child in children:
        mine = variances[variances.model == child]
        table = mine.pivot(index="layer", columns="seed", values="ratio").reindex(layers).astype(float)
        draw_child(axes, table.clip(lower=SMALLEST_RATIO), look(child, children))
    axes.set_xticks(range(0, len(layers), every), layers[::every], rotation=90)
    set_ratio_axis(axes, variances.ratio.astype(float).clip(lower=SMALLEST_RATIO))
    figure.suptitle(heading(variances, TITLE), fontsize=LARGE)
    legend_below(figure, handles, columns=columns)
    return figure


def draw_child(axes: Axes, ratios: pd.DataFrame, appearance: tuple[str, str]) -> None:
    """One child's `ratios` (layers, seeds)."""
    colour, shape = appearance
    places = np.arange(len(ratios))
    mean = np.exp(np.log(ratios).mean(axis=1))
    if ratios.shape[1] > 1:
        axes.fill_between(
            places, ratios.min(axis=1), ratios.max(axis=1), color=colour, alpha=0.18, linewidth=0
        )
    axes.plot(places, mean, color=colour, linewidth=1.8, marker=shape, markersize=5)


def set_ratio_axis(axes: Axes, ratios: pd.Series) -> None:
    """A logarithmic axis that holds all `ratios`, and 1 with a dashed line."""
    style_axes(axes)
    axes.axhline(1, color=GREY, linewidth=1, linestyle="--", zorder=1)
    low, high = min(NEAREST_ENDS[0], ratios.min() / 1.2), max(NEAREST_ENDS[1], ratios.max() * 1.2)
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(
        LogLocator(subs=(1, 2, 5) if high < TWO_DECADES * low else (1,), numticks=12)
    )
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_ylabel("Variance over that of the parents", fontsize=NORMAL)
    axes.set_xlabel("Layer, from input to output", fontsize=NORMAL)
    axes.tick_params(axis="x", labelsize=SMALL)


def legend_handles(children: Sequence[str], *, several_seeds: bool) -> list[Line2D]:
    """How each child looks; what line and band are where there are several seeds."""
    handles = []
    for child in children:
        colour, shape = look(child, children)
        handles.append(
            Line2D([], [], color=colour, linewidth=1.8, marker=shape, markersize=5, label=wrapped(child))
        )
    if several_seeds:
        handles.append(Line2D([], [], color=GREY, linewidth=1.8, label="geometric mean of seeds"))
        handles.append(Line2D([], [], color=GREY, linewidth=7, alpha=0.3, label="smallest to largest"))
    return handles
