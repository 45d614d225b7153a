"""The plot `accuracy`: how good parents and children are."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from fusionscope.report.chance import Chance
from fusionscope.report.chance_line import draw_chance
from fusionscope.report.ensemble import draw_ensemble, ensemble_accuracies
from fusionscope.report.metric_labels import axis_label, metric_name, shown_values
from fusionscope.report.parents import is_parent
from fusionscope.report.style import (
    GREY,
    LARGE,
    LINE_HEIGHT,
    NORMAL,
    PALE,
    WIDE_NAME,
    empty_figure,
    heading,
    in_order,
    legend_below,
    look,
    marker,
    note,
    style_axes,
    wrapped,
)

WIDTH, FRAME_HEIGHT, LANE_HEIGHT = 7.5, 1.4, 0.5  # inches
FAN = 0.22  # half the height over which seeds are spread, as a share of a model's lane
NEAR = 10.0  # points below the parents' mean: what is no farther is enlarged with them
WIDEST_ZOOM = 40.0  # points, beyond which enlarging is of no use
NARROWEST_ZOOM = 2.0  # points


def draw(measurements: pd.DataFrame, chance: Chance) -> Figure:
    """Test accuracy of each model: a dot per seed, their mean and standard deviation.

    `measurements`: tidy rows (measurement.COLUMNS) of one experiment. Where fused models carry
    `parents_ensemble_accuracy`, its mean and standard deviation are a line and a band; `chance` is a line
    too. Where some models are far below the parents, a second panel enlarges the parents and what is near.
    """
    rows = shown_values(measurements[measurements.metric == "accuracy"])
    if rows.empty:
        return note("test accuracy was not measured")
    models = in_order(rows.model)
    names = [wrapped(model, WIDE_NAME) for model in models]
    lane = LANE_HEIGHT + LINE_HEIGHT * max(name.count("\n") for name in names)
    figure = empty_figure(WIDTH, FRAME_HEIGHT + lane * len(models))
    limits = zoom_limits(rows, ensemble_accuracies(measurements))
    panels = [figure.subplots()] if limits is None else list(figure.subplots(1, 2, sharey=True))
    panels[0].set(xlim=(0, 100), ylim=(len(models) - 0.5, -0.5))
    for position, model in enumerate(models):
        mine = rows[rows.model == model]
        for axes in panels:
            draw_seeds(axes, position, mine, look(model, models))
        write_numbers(panels[-1], position, mine)
    handles = seed_handles(rows)
    for axes in panels:
        ensemble = draw_ensemble(axes, measurements)
    handles += ensemble
    handles.append(draw_chance(panels[0], 100 * chance.share, f"chance ({100 * chance.share:.1f} %)"))
    for axes in panels:
        style_axes(axes)
        axes.grid(False, axis="y")
        axes.set_xlabel(axis_label("accuracy"), fontsize=NORMAL)
    panels[0].set_yticks(range(len(models)), names, fontsize=NORMAL)
    if limits is not None:
        enlarge(panels[0], panels[1], limits)
    figure.suptitle(heading(measurements, metric_name("accuracy")), fontsize=LARGE)
    legend_below(figure, handles, columns=2 if len(handles) == 4 else len(handles))
    return figure


def zoom_limits(rows: pd.DataFrame, ensemble: pd.Series) -> tuple[float, float] | None:
    """The range, in per cent, of the parents, their `ensemble` and the models near them; None where all are
    near, or nothing would be gained."""
    means = rows.groupby("model").value.mean().dropna()
    parents = [model for model in means.index if is_parent(model)]
    if not parents:
        return None
    near = means.index[means >= means[parents].mean() - NEAR]
    if len(near) == len(means):
        return None
    values = pd.concat([rows[rows.model.isin([*near, *parents])].value.dropna(), ensemble])
    low, high = values.min(), values.max()
    margin = max(0.1 * (high - low), (NARROWEST_ZOOM - (high - low)) / 2)
    low, high = max(low - margin, 0.0), min(high + margin, 100.0)
    return (low, high) if high - low <= WIDEST_ZOOM else None


def enlarge(whole: Axes, part: Axes, limits: tuple[float, float]) -> None:
    """`part` becomes the enlarged piece of `whole` between `limits`, which is shaded there."""
    part.set_xlim(limits)
    part.xaxis.set_major_locator(MaxNLocator(5))
    part.tick_params(axis="y", length=0)
    whole.axvspan(*limits, color=PALE, linewidth=0, zorder=-1)
    whole.set_title("all models", fontsize=NORMAL)
    part.set_title("shaded part, enlarged", fontsize=NORMAL)


def draw_seeds(axes: Axes, position: int, rows: pd.DataFrame, appearance: tuple[str, str]) -> None:
    """A model's accuracies around the height `position`, fanned out by seed, with mean and deviation."""
    colour, shape = appearance
    values = rows.sort_values("seed").value.dropna()
    n = len(values)
    if n == 0:
        return
    heights = position + (np.linspace(-FAN, FAN, n) if n > 1 else 0 * values)
    axes.plot(values, heights, shape, color=colour, alpha=0.75, markersize=5, markeredgewidth=0)
    if n > 1:
        mean, std = values.mean(), values.std()
        axes.errorbar(mean, position, xerr=std, fmt="|", color="black", markersize=13, capsize=3)


def write_numbers(axes: Axes, position: int, rows: pd.DataFrame) -> None:
    """Mean and deviation of a model's accuracies beside the axes, and how many seeds have none."""
    values = rows.value.dropna()
    mean, std, n = values.mean(), values.std(), len(values)
    text = "no value" if n == 0 else f"{mean:.1f} %" if n == 1 else f"{mean:.1f} ± {std:.1f} %"
    if 0 < n < len(rows):
        text += f"\n{len(rows) - n} of {len(rows)} without a value"
    beside = axes.get_yaxis_transform()  # x in widths of the axes, y in data
    axes.text(1.02, position, text, transform=beside, va="center", fontsize=NORMAL)


def seed_handles(rows: pd.DataFrame) -> list[Line2D]:
    """Of the legend: what a dot is and, of several seeds, what the bar is."""
    handles = [marker(GREY, "o", "one seed")]
    if rows.seed.nunique() > 1:
        handles.append(
            Line2D([], [], color="black", marker="|", markersize=11, label="mean ± std of the seeds")
        )
    return handles
