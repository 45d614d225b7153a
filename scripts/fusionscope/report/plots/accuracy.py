"""The plot `accuracy`: how good parents and children are."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fusionscope.report.ensemble import draw_ensemble
from fusionscope.report.metric_labels import heading, metric_name, shown_values, with_unit
from fusionscope.report.style import (
    GREY,
    LARGE,
    LINE_HEIGHT,
    NORMAL,
    WIDE_NAME,
    empty_figure,
    in_order,
    legend_below,
    look,
    marker,
    note,
    style_axes,
    wrapped,
)

WIDTH, FRAME_HEIGHT, LANE_HEIGHT = 7.5, 1.2, 0.5  # inches
FAN = 0.22  # half the height over which seeds are spread, as a share of a model's lane


def draw(measurements: pd.DataFrame) -> Figure:
    """Test accuracy of each model: a dot per seed, their mean and standard deviation.

    `measurements`: tidy rows (measurement.COLUMNS) of one experiment. Where fused models carry
    `parents_ensemble_accuracy`, its mean and standard deviation are a line and a band.
    """
    rows = shown_values(measurements[measurements.metric == "accuracy"])
    if rows.empty:
        return note("test accuracy was not measured")
    models = in_order(rows.model)
    names = [wrapped(model, WIDE_NAME) for model in models]
    lane = LANE_HEIGHT + LINE_HEIGHT * max(name.count("\n") for name in names)
    figure = empty_figure(WIDTH, FRAME_HEIGHT + lane * len(models))
    axes = figure.subplots()
    handles = seed_handles(rows) + draw_ensemble(axes, measurements)
    for position, model in enumerate(models):
        draw_seeds(axes, position, rows[rows.model == model], look(model, models))
    style_axes(axes)
    axes.grid(False, axis="y")
    axes.set(xlim=(0, 100), ylim=(len(models) - 0.5, -0.5))
    axes.set_yticks(range(len(models)), names, fontsize=NORMAL)
    axes.set_xlabel(with_unit("accuracy"), fontsize=NORMAL)
    axes.set_title(heading(measurements, metric_name("accuracy")), fontsize=LARGE)
    legend_below(figure, handles, columns=len(handles))
    return figure


def draw_seeds(axes: Axes, position: int, rows: pd.DataFrame, appearance: tuple[str, str]) -> None:
    """A model's accuracies around the height `position`, fanned out by seed; mean and std in numbers too."""
    colour, shape = appearance
    values = rows.sort_values("seed").value.dropna()
    mean, std, n = values.mean(), values.std(), len(values)
    text = "no value" if n == 0 else f"{mean:.1f} %" if n == 1 else f"{mean:.1f} ± {std:.1f} %"
    if 0 < n < len(rows):
        text += f"\n{len(rows) - n} of {len(rows)} without a value"
    beside = axes.get_yaxis_transform()  # x in widths of the axes, y in data
    axes.text(1.02, position, text, transform=beside, va="center", fontsize=NORMAL)
    if n == 0:
        return
    heights = position + (np.linspace(-FAN, FAN, n) if n > 1 else 0 * values)
    axes.plot(
        values, heights, shape, color=colour, alpha=0.75, markersize=5, markeredgewidth=0, clip_on=False
    )
    if n > 1:
        axes.errorbar(mean, position, xerr=std, fmt="|", color="black", markersize=13, capsize=3)


def seed_handles(rows: pd.DataFrame) -> list[Line2D]:
    """Of the legend: what a dot is and, of several seeds, what the bar is."""
    handles = [marker(GREY, "o", "one seed")]
    if rows.seed.nunique() > 1:
        handles.append(
            Line2D([], [], color="black", marker="|", markersize=11, label="mean ± std of the seeds")
        )
    return handles
