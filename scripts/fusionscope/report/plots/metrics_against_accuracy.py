"""The plot `metrics_against_accuracy`: which metric goes with how good a model is."""

import math
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import offset_copy

from fusionscope.measurement import LEFT, NOT_CENSORED, RIGHT
from fusionscope.measures.names import PARENTS
from fusionscope.report.metric_labels import metric_name, shown_values, space_name, with_unit
from fusionscope.report.style import (
    GREY,
    LARGE,
    LEGEND_ENTRY,
    MIN_WIDTH,
    NORMAL,
    SMALL,
    WIDE_NAME,
    WIDE_SPAN,
    empty_figure,
    in_order,
    legend_below,
    look,
    marker,
    note,
    panel_grid,
    style_axes,
    wrapped,
)

PANEL_COLUMNS, PANEL_WIDTH, PANEL_HEIGHT = 6, 2.3, 2.0  # inches, as all sizes here
HEADER_HEIGHT, LEGEND_HEIGHT = 0.4, 0.5
SMALLEST_MARGIN = 0.005  # on each side of an axis, as a share of the largest size on it
SYMLOG_SPAN = 1e3  # largest size to the end of the linear part
ARROWS = {LEFT: (r"$\leftarrow$", -8), RIGHT: (r"$\rightarrow$", 8)}  # and how far from the marker, points


def draw(measurements: pd.DataFrame, accuracy_metric: str) -> Figure:
    """One panel per metric, by space: its value (x) and the model's accuracy (y), a point per seed.

    `measurements`: tidy rows (measurement.COLUMNS). `accuracy_metric`: 'accuracy' or
    'generalisation_gap'. Values that are bounds, where a search ended at the end of its range, are hollow,
    with an arrow to the side of the true value. What has no value, or whose model has none of
    `accuracy_metric`, is left out and counted; what is said of all parents together is left out.
    """
    keys = ["experiment", "seed", "model"]
    shown = shown_values(measurements)
    target = shown[shown.metric == accuracy_metric].set_index(keys)["value"].rename("target")
    points = shown[(shown.metric != accuracy_metric) & (shown.model != PARENTS)].join(target, on=keys)
    if points.target.isna().all():
        return note(f"no metric to compare with the {metric_name(accuracy_metric)}")
    models = in_order(points.model)
    counts = points.groupby("space", sort=False).metric.nunique()
    columns = min(PANEL_COLUMNS, counts.max())
    heights = [math.ceil(count / columns) * PANEL_HEIGHT + HEADER_HEIGHT for count in counts]
    handles = model_handles(models, bounds=bool((points.censored != NOT_CENSORED).any()))
    width = max(columns * PANEL_WIDTH, MIN_WIDTH)
    legend_columns = int(width / LEGEND_ENTRY)
    legend_height = LEGEND_HEIGHT * math.ceil(len(handles) / legend_columns)
    figure = empty_figure(width, sum(heights) + legend_height)
    parts = figure.subfigures(len(counts), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, (space, group) in zip(parts, points.groupby("space", sort=False), strict=True):
        part.suptitle(space_name(str(space)), fontsize=LARGE, fontweight="bold", x=0.01, ha="left")
        part.supylabel(wrapped(with_unit(accuracy_metric)), fontsize=NORMAL)
        panels = panel_grid(part, counts[space], columns, sharey=True)
        for axes, (metric, mine) in zip(panels, group.groupby("metric", sort=False), strict=True):
            draw_metric(axes, str(metric), mine, models)
            axes.set_ylim(padded(points.target))
    legend_below(figure, handles, columns=legend_columns)
    return figure


def draw_metric(axes: Axes, metric: str, points: pd.DataFrame, models: list[str]) -> None:
    """One panel: columns model, value, target and censored of `points`."""
    usable = points.dropna(subset=["value", "target"])
    for model, mine in usable.groupby("model"):
        colour, shape = look(str(model), models)
        bound = mine.censored != NOT_CENSORED
        for some, face in ((mine[~bound], colour), (mine[bound], "none")):
            axes.plot(
                some.value, some.target, shape, color=colour, markerfacecolor=face, markersize=5, alpha=0.8
            )
        draw_arrows(axes, mine[bound], colour)
    style_axes(axes)
    title = fill(with_unit(metric), WIDE_NAME)
    lost = len(points) - len(usable)
    axes.set_title(title + (f"\n{lost} of {len(points)} without a number" if lost else ""), fontsize=NORMAL)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    set_scale(axes, usable.value)


def draw_arrows(axes: Axes, bounds: pd.DataFrame, colour: str) -> None:
    """Beside each bound, to the side where the true value lies."""
    for side, (arrow, distance) in ARROWS.items():
        mine = bounds[bounds.censored == side]
        beside = offset_copy(axes.transData, axes.get_figure(root=True), x=distance, units="points")
        if mine.empty:  # a line of no points, not clipped, would take the layout's room
            continue
        (line,) = axes.plot(mine.value, mine.target, transform=beside, clip_on=False)
        line.set(marker=arrow, linestyle="", color=colour)


def set_scale(axes: Axes, values: pd.Series) -> None:
    """x axis: logarithmic where positive values span decades, symlog where others do, else plain."""
    if values.empty:
        axes.set_xticks([])
        return
    sizes = values.abs()
    if values.min() > 0 and values.max() > WIDE_SPAN * values.min():
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(numticks=5))
    elif values.min() <= 0 and sizes.max() > WIDE_SPAN * sizes.median():
        threshold = 10 ** math.floor(math.log10(sizes.max() / SYMLOG_SPAN))
        axes.set_xscale("symlog", linthresh=threshold)
        top = 10.0 ** math.floor(math.log10(sizes.max()))
        ticks = np.array([-top, -top / WIDE_SPAN, 0, top / WIDE_SPAN, top])
        axes.set_xticks(ticks[(ticks >= values.min()) & (ticks <= values.max())])
    else:
        axes.set_xlim(padded(values))
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.ticklabel_format(axis="x", style="sci", scilimits=(-3, 4), useMathText=True, useOffset=False)
        axes.xaxis.get_offset_text().set_fontsize(SMALL)
    axes.xaxis.set_minor_locator(NullLocator())


def padded(values: pd.Series) -> tuple[float, float]:
    """Limits of a plain axis: the outermost markers stay whole, a tiny range is not blown up."""
    low, high = values.min(), values.max()
    margin = max(0.08 * (high - low), SMALLEST_MARGIN * max(abs(low), abs(high))) or 1.0
    return low - margin, high + margin


def model_handles(models: list[str], *, bounds: bool) -> list[Line2D]:
    """Of the legend: how each model looks and, with `bounds`, what a hollow marker is."""
    handles = [marker(*look(model, models), wrapped(model)) for model in models]
    if bounds:
        handles.append(marker(GREY, "o", "hollow: a bound, the true\nvalue is at the arrow's side", "none"))
    return handles
