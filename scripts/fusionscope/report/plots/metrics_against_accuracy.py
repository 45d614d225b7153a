"""The plots `metrics_against_accuracy_...`: which metric of a space goes with how good a model is."""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import offset_copy

from fusionscope.measurement import LEFT, NOT_CENSORED, RIGHT
from fusionscope.report.metric_labels import axis_label, metric_name, space_name
from fusionscope.report.metric_panels import (
    Looks,
    draw_model,
    looks_of,
    metric_figure,
    panel_title,
    points_of_space,
)
from fusionscope.report.style import (
    GREY,
    NORMAL,
    SMALL,
    WIDE_SPAN,
    heading,
    marker,
    note,
    style_axes,
    wrapped,
)

SMALLEST_MARGIN = 0.005  # on each side of an axis, as a share of the largest size on it
SYMLOG_SPAN = 1e3  # largest size to the end of the linear part
ARROWS = {LEFT: (r"$\leftarrow$", -8), RIGHT: (r"$\rightarrow$", 8)}  # and how far from the marker, points


def draw(measurements: pd.DataFrame, accuracy_metric: str, space: str) -> Figure:
    """One panel per metric of `space`: its value (x) and the model's accuracy (y), a point per seed.

    `measurements`: tidy rows (measurement.COLUMNS). `accuracy_metric`: 'accuracy' or
    'generalisation_gap'. Values that are bounds, where a search ended at the end of its range, are hollow,
    with an arrow to the side of the true value. What has no value, or whose model has none of
    `accuracy_metric`, is left out and counted.
    """
    points = points_of_space(measurements, space, accuracy_metric)
    if points.target.isna().all():
        return note(f"{space_name(space)}: no metric to compare with the {metric_name(accuracy_metric)}")
    looks = looks_of(measurements, points)

    def draw_metric(axes: Axes, metric: str, mine: pd.DataFrame) -> None:
        draw_points(axes, metric, mine, looks)
        axes.set_ylim(padded(points.target))

    return metric_figure(
        points,
        draw_metric,
        title=heading(points, f"{space_name(space)} and {metric_name(accuracy_metric)}"),
        y_label=wrapped(axis_label(accuracy_metric)),
        handles=model_handles(looks, bounds=bool((points.censored != NOT_CENSORED).any())),
    )


def draw_points(axes: Axes, metric: str, points: pd.DataFrame, looks: Looks) -> None:
    """One panel: columns model, value, target and censored of `points`."""
    usable = points.dropna(subset=["value", "target"])
    for model, mine in usable.groupby("model"):
        bound = mine.censored != NOT_CENSORED
        draw_model(axes, looks[str(model)], mine[~bound])
        draw_model(axes, looks[str(model)], mine[bound], hollow=True)
        draw_arrows(axes, mine[bound], looks[str(model)][0])
    style_axes(axes)
    lost = len(points) - len(usable)
    told = f"{lost} of {len(points)} without a number" if lost else ""
    axes.set_title(panel_title(axis_label(metric), told), fontsize=NORMAL)
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


def model_handles(looks: Looks, *, bounds: bool) -> list[Line2D]:
    """Of the legend: how each model looks and, with `bounds`, what a hollow marker is."""
    handles = [marker(*appearance, wrapped(model)) for model, appearance in looks.items()]
    if bounds:
        handles.append(marker(GREY, "o", "hollow: a bound, the true\nvalue is at the arrow's side", "none"))
    return handles
