"""A panel for each metric of one space, against accuracy or the gap: what plots of this kind share."""

import math
from collections.abc import Callable
from textwrap import fill

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fusionscope.measures.names import PARENTS
from fusionscope.report.metric_labels import shown_values
from fusionscope.report.parents import is_parent
from fusionscope.report.style import (
    LARGE,
    LEGEND_ENTRY,
    MIN_WIDTH,
    NORMAL,
    empty_figure,
    in_order,
    legend_below,
    legend_height,
    look,
    panel_grid,
)

MOST_COLUMNS, PANEL_WIDTH, PANEL_HEIGHT = 5, 1.75, 1.9  # inches, as all sizes here
FRAME_HEIGHT = 0.9  # title and space around the legend
TITLE_WIDTH = 24  # characters over a panel
Looks = dict[str, tuple[str, str]]  # colour and marker of each model, in order
KEYS = ["experiment", "seed", "model"]


def points_of_space(measurements: pd.DataFrame, space: str, accuracy_metric: str) -> pd.DataFrame:
    """The rows of a space's metrics but the outcome, each with its model's outcome as `target`.

    `measurements`: tidy rows (measurement.COLUMNS); values as an axis shows them. What is said of all parents
    of a seed together stands at each of their children.
    """
    shown = shown_values(measurements)
    target = shown[shown.metric == accuracy_metric].set_index(KEYS)["value"].rename("target")
    metrics = shown[(shown.space == space) & (shown.metric != accuracy_metric)]
    of_pairs = metrics[metrics.model == PARENTS].drop(columns="model")
    children = target.index.to_frame(index=False)
    children = children[~children.model.map(is_parent).astype(bool)]
    at_children = of_pairs.merge(children, on=["experiment", "seed"])
    rows = pd.concat([metrics[metrics.model != PARENTS], at_children], ignore_index=True)
    return rows.join(target, on=KEYS)


def metric_figure(
    points: pd.DataFrame,
    draw_metric: Callable[[Axes, str, pd.DataFrame], None],
    *,
    title: str,
    y_label: str,
    handles: list[Line2D],
    sharex: bool = False,
) -> Figure:
    """A panel per metric of `points`, in their order, each made by `draw_metric`; all share their y axis."""
    metrics = list(points.groupby("metric", sort=False))
    columns = balanced(len(metrics))
    rows = math.ceil(len(metrics) / columns)
    width = max(columns * PANEL_WIDTH + 0.5, MIN_WIDTH)
    legend_columns = int(width / LEGEND_ENTRY)
    height = FRAME_HEIGHT + rows * PANEL_HEIGHT + legend_height(handles, legend_columns)
    figure = empty_figure(width, height)
    panels = panel_grid(figure, len(metrics), columns, sharex=sharex, sharey=True)
    for axes, (metric, rows_of_metric) in zip(panels, metrics, strict=True):
        draw_metric(axes, str(metric), rows_of_metric)
        axes.tick_params(labelbottom=True)  # the panel below may be missing
    for row in range(rows):
        panels[row * columns].set_ylabel(y_label, fontsize=NORMAL)
    figure.suptitle(title, fontsize=LARGE)
    legend_below(figure, handles, columns=legend_columns)
    return figure


def balanced(count: int) -> int:
    """Columns of so many panels, so that rows are about equally long."""
    return math.ceil(count / math.ceil(count / MOST_COLUMNS))


def panel_title(name: str, *notes: str) -> str:
    """The metric's name in short lines, 'upper bound' in one of them, and what is to be noted below it."""
    whole = name.replace(" bound)", "\N{NO-BREAK SPACE}bound)")
    return "\n".join([fill(whole, TITLE_WIDTH), *filter(None, notes)])


def draw_model(
    axes: Axes, appearance: tuple[str, str], points: pd.DataFrame, *, hollow: bool = False
) -> None:
    """Columns value and target of one model's `points`, in its colour and marker."""
    colour, shape = appearance
    (line,) = axes.plot(points.value, points.target, shape, color=colour, markersize=4.5, alpha=0.8)
    line.set_markerfacecolor("none" if hollow else colour)


def looks_of(measurements: pd.DataFrame, points: pd.DataFrame) -> Looks:
    """How each model of `points` looks, in order: as in plots that show all models of `measurements`."""
    everyone = in_order(measurements.model[measurements.model != PARENTS])
    return {model: look(model, everyone) for model in in_order(points.model)}
