"""The plot `connectivity`: loss and accuracy on the way between the parents."""

import math
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fusionscope.report.chance import Chance
from fusionscope.report.chance_line import draw_chance
from fusionscope.report.ensemble import draw_ensemble
from fusionscope.report.metric_labels import axis_label
from fusionscope.report.style import (
    GREY,
    LARGE,
    LEGEND_ENTRY,
    LINE_HEIGHT,
    LINE_PLOT_HEIGHT,
    LINE_PLOT_WIDTH,
    NORMAL,
    WIDE_SPAN,
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

SHARE_TICKS = ([0, 0.25, 0.5, 0.75, 1], ["0", "¼", "½", "¾", "1"])
STRAIGHT: Literal[":"] = ":"
MOST_MARKERS = 11  # on a mean line
CURVE_POINTS = 101  # of what is straight, and bent on a logarithmic axis


def draw(paths: pd.DataFrame, measurements: pd.DataFrame, chance: Chance) -> Figure:
    """Loss and accuracy on the straight line between (aligned) parents: a line per path, and their mean.

    Dotted is what lies straight between the means at both ends, from which barriers are measured.

    `paths`: columns seed, fusion, parent (whence the path goes to the reference), share (of the reference,
    from 0 to 1), loss in nats, accuracy in [0, 1]. `measurements`: tidy rows (measurement.COLUMNS) of the
    same experiment; where fused models carry `parents_ensemble_accuracy`, it is a dashed line. `chance` is a
    line in both panels.
    """
    if paths.empty:
        return note("connectivity was not measured")
    fusions = in_order(paths.fusion)
    # so that a fusion looks as it does in the other plots
    models = [*fusions, *measurements.model[measurements.metric == "accuracy"]]
    looks = {fusion: look(fusion, models) for fusion in fusions}
    figure = empty_figure(LINE_PLOT_WIDTH, LINE_PLOT_HEIGHT)
    loss, accuracy = figure.subplots(1, 2)
    for fusion in fusions:
        mine = paths[paths.fusion == fusion]
        draw_path(loss, mine, "loss", looks[fusion])
        draw_path(accuracy, mine, "accuracy", looks[fusion])
    set_axes(loss, accuracy, paths.loss[np.isfinite(paths.loss)])
    figure.suptitle(heading(paths, "on the line between the parents"), fontsize=LARGE)
    handles = path_handles(paths, looks) + draw_ensemble(accuracy, measurements, level=True)
    handles.append(draw_both_chances(loss, accuracy, chance))
    legend_columns = int(LINE_PLOT_WIDTH / LEGEND_ENTRY)
    figure.set_figheight(LINE_PLOT_HEIGHT + legend_height(handles, legend_columns) - LINE_HEIGHT)
    legend_below(figure, handles, columns=legend_columns)
    return figure


def set_axes(loss: Axes, accuracy: Axes, losses: pd.Series) -> None:
    """Scales and labels; `losses` are all that `loss` shows."""
    for axes in (loss, accuracy):
        style_axes(axes)
        axes.set_xlim(-0.03, 1.03)
        axes.set_xticks(*SHARE_TICKS)
        axes.set_xlabel("Share of the reference parent (at 0: the other parent)", fontsize=NORMAL)
    if losses.max() > WIDE_SPAN * losses.min():
        loss.set_yscale("log", nonpositive="mask")
        loss.yaxis.set_major_formatter("{x:g}")
    loss.set_ylabel(axis_label("test_loss"), fontsize=NORMAL)
    accuracy.set_ylim(0, 101)
    accuracy.set_ylabel(axis_label("accuracy"), fontsize=NORMAL)


def draw_both_chances(loss: Axes, accuracy: Axes, chance: Chance) -> Line2D:
    """Lines of chance, and their handle; that of the loss is out of sight where all losses are far below."""
    limits = loss.get_ylim()
    draw_chance(loss, chance.loss, "", level=True)
    loss.set_ylim(limits)
    label = f"chance ({100 * chance.share:.1f} %, {chance.loss:.2f} nats)"
    return draw_chance(accuracy, 100 * chance.share, label, level=True)


def draw_path(axes: Axes, path: pd.DataFrame, quantity: str, appearance: tuple[str, str]) -> None:
    """One fusion's loss or accuracy by share, a thin line per seed and parent, their mean with markers."""
    colour, shape = appearance
    factor = 100 if quantity == "accuracy" else 1
    table = path.pivot(index="share", columns=["seed", "parent"], values=quantity) * factor
    table = table.where(np.isfinite(table))
    if table.shape[1] > 1:
        axes.plot(table.index, table, color=colour, linewidth=0.6, alpha=0.45)
    mean = table.mean(axis=1, skipna=False)  # a path that fell out would let the mean jump
    every = math.ceil(len(table) / MOST_MARKERS)
    axes.plot(
        table.index,
        mean,
        color=colour,
        linewidth=2,
        marker=shape,
        markersize=5,
        markevery=every,
        clip_on=False,
    )
    draw_straight(axes, mean)


def draw_straight(axes: Axes, mean: pd.Series) -> None:
    """What lies straight between the first and the last of the values `mean` by share.

    Grey for every fusion: the lines of fusions whose ends are alike are one.
    """
    shares = np.linspace(mean.index[0], mean.index[-1], CURVE_POINTS)
    values = np.interp(shares, mean.index[[0, -1]], mean.iloc[[0, -1]])
    axes.plot(shares, values, STRAIGHT, color=GREY, linewidth=1.2)


def path_handles(paths: pd.DataFrame, looks: dict[str, tuple[str, str]]) -> list[Line2D]:
    """Of the legend: how each fusion looks, and what is thin and thick where it has several paths."""
    handles = [
        Line2D([], [], color=colour, linewidth=2, marker=shape, markersize=5, label=wrapped(fusion))
        for fusion, (colour, shape) in looks.items()
    ]
    if len(paths[["fusion", "seed", "parent"]].drop_duplicates()) > len(looks):
        single, mean = "one seed", "mean of seeds"
        if paths.groupby("fusion").parent.nunique().max() > 1:
            single, mean = "one seed and parent", "mean of all"
        handles.append(Line2D([], [], color=GREY, linewidth=0.6, alpha=0.8, label=single))
        handles.append(Line2D([], [], color=GREY, linewidth=2, label=mean))
    handles.append(
        Line2D([], [], color=GREY, linestyle=STRAIGHT, linewidth=1.2, label="straight between ends")
    )
    return handles
