"""The plot `learning_curves`: how the parents were trained."""

import math
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from fusionscope.report.style import (
    GREY,
    LARGE,
    LINE_PLOT_HEIGHT,
    LINE_PLOT_WIDTH,
    NORMAL,
    empty_figure,
    heading,
    in_order,
    legend_below,
    look,
    note,
    style_axes,
    wrapped,
)

# dashes, and the marker where one epoch makes no line
SPLITS: dict[str, tuple[Literal["-", "--"], str]] = {"validation": ("-", "o"), "train": ("--", "x")}
RING: dict[str, Any] = {"marker": "o", "markersize": 7, "markerfacecolor": "white", "markeredgewidth": 1.4}
LEGEND_COLUMNS = 6  # of short names on LINE_PLOT_WIDTH


def draw(learning_curves: pd.DataFrame) -> Figure:
    """Loss and accuracy over the epochs: a thin line per seed and, where there are several, their median.

    A ring marks, on the line of a seed, the epoch whose weights were kept.

    `learning_curves`: one row per epoch with seed, parent (1, 2, ...), epoch, train_loss, train_accuracy,
    validation_loss, validation_accuracy; losses in nats, accuracies in [0, 1].
    """
    curves = learning_curves
    if curves.empty:
        return note("no network was trained")
    figure = empty_figure(LINE_PLOT_WIDTH, LINE_PLOT_HEIGHT)
    loss, accuracy = figure.subplots(1, 2)
    for parent, mine in curves.groupby("parent"):
        colour, _ = look(f"parent_{parent}")
        for split in SPLITS:
            draw_curves(loss, mine, split, "loss", colour)
            draw_curves(accuracy, mine, split, "accuracy", colour)
        kept = kept_epochs(mine)
        draw_rings(loss, kept.epoch, kept.validation_loss, colour)
        draw_rings(accuracy, kept.epoch, 100 * kept.validation_accuracy, colour)
    for axes in (loss, accuracy):
        style_axes(axes)
        axes.set_xlabel("Epoch", fontsize=NORMAL)
        axes.set_xlim(curves.epoch.min() - 0.5, curves.epoch.max() + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    loss.set_yscale("log", nonpositive="mask")
    loss.yaxis.set_major_formatter("{x:g}")
    loss.set_ylabel("Loss (nats)", fontsize=NORMAL)
    accuracy.set_ylim(0, 101)
    accuracy.set_ylabel("Accuracy (%)", fontsize=NORMAL)
    figure.suptitle(heading(curves, "learning curves of the parents"), fontsize=LARGE)
    handles = curve_handles(curves)
    lines = math.ceil(len(handles) / LEGEND_COLUMNS)
    legend_below(figure, handles, columns=math.ceil(len(handles) / lines))
    return figure


def draw_curves(axes: Axes, curves: pd.DataFrame, split: str, quantity: str, colour: str) -> None:
    """One parent's loss or accuracy over the epochs, a line per seed and their median."""
    dashes, shape = SPLITS[split]
    factor = 100 if quantity == "accuracy" else 1
    table = curves.pivot(index="epoch", columns="seed", values=f"{split}_{quantity}") * factor
    table = table.where(np.isfinite(table))
    shape = shape if len(table) == 1 else ""
    several = table.shape[1] > 1
    width, alpha = (0.6, 0.45) if several else (1.6, 1.0)
    axes.plot(table.index, table, dashes, color=colour, linewidth=width, alpha=alpha, marker=shape)
    if several:
        axes.plot(table.index, table.median(axis=1), dashes, color=colour, linewidth=2, marker=shape)


def kept_epochs(curves: pd.DataFrame) -> pd.DataFrame:
    """Of each seed of one parent the row that training keeps: the first of the smallest validation loss."""
    finite = curves[np.isfinite(curves.validation_loss)].sort_values("epoch")
    return finite.loc[finite.groupby("seed").validation_loss.idxmin()]


def draw_rings(axes: Axes, epochs: pd.Series, values: pd.Series, colour: str) -> None:
    axes.plot(epochs, values, linestyle="", color=colour, **RING)


def curve_handles(curves: pd.DataFrame) -> list[Line2D]:
    """Of the legend: parents by colour, splits by dashes, and what is thin and thick."""
    parents = in_order(f"parent_{parent}" for parent in curves.parent)
    handles = [
        Line2D([], [], color=look(parent)[0], linewidth=2, label=wrapped(parent)) for parent in parents
    ]
    one_epoch = curves.epoch.nunique() == 1
    handles += [
        Line2D([], [], color=GREY, linestyle=dashes, marker=shape if one_epoch else "", label=split)
        for split, (dashes, shape) in SPLITS.items()
    ]
    if curves.seed.nunique() > 1:
        handles.append(Line2D([], [], color=GREY, linewidth=0.6, alpha=0.8, label="one seed"))
        handles.append(Line2D([], [], color=GREY, linewidth=2, label="median of seeds"))
    handles.append(Line2D([], [], color=GREY, linestyle="", label="kept epoch", **RING))
    return handles
