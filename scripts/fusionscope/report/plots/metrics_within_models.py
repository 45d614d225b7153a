"""The plots `metrics_within_models_...`: which metric of a space goes with accuracy from seed to seed."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fusionscope.measurement import NOT_CENSORED
from fusionscope.report.metric_labels import capitalised, metric_name, space_name
from fusionscope.report.metric_panels import (
    Looks,
    draw_model,
    looks_of,
    metric_figure,
    panel_title,
    points_of_space,
)
from fusionscope.report.pooled import ALL_MODELS
from fusionscope.report.style import (
    GREY,
    NORMAL,
    heading,
    marker,
    note,
    style_axes,
    wrapped,
)
from fusionscope.statistics.describe import FEWEST, standardised, varies
from fusionscope.statistics.verdicts import LEVEL

SIGNS = {"generalisation_gap": -1.0}  # so that better is up, as in the table of correlations
UNITS = "both less their mean over the seeds of a model, in its standard deviations"


def draw(measurements: pd.DataFrame, correlation: pd.DataFrame, accuracy_metric: str, space: str) -> Figure:
    """One panel per metric of `space`, a point per model and seed: what is left within models.

    Metric (x) and outcome (y) less the mean over the seeds of a model, in its standard deviations: the points
    of which Pearson's r is the mean product. `measurements`: tidy rows (measurement.COLUMNS);
    `correlation`: rows in correlations.CORRELATION_COLUMNS, of which those over all models are told.
    Bounds, and models of fewer than three seeds with a number or with the same number in all, are left out
    and counted.
    """
    points = points_of_space(measurements, space, accuracy_metric)
    inside = standardised_within_models(points, SIGNS.get(accuracy_metric, 1.0))
    if inside.empty:
        words = f"no model has {FEWEST} seeds with different numbers to compare within it"
        return note(heading(measurements, f"{space_name(space)}: {words}"))
    looks = looks_of(measurements, inside)
    told = correlation[correlation.model == ALL_MODELS].set_index(["metric", "coefficient"])
    end = 1.1 * max(inside.value.abs().max(), inside.target.abs().max())

    def draw_metric(axes: Axes, metric: str, mine: pd.DataFrame) -> None:
        draw_points(axes, metric, mine, inside[inside.metric == metric], told, looks)
        axes.set(xlim=(-end, end), ylim=(-end, end))

    sign = "minus the " if accuracy_metric in SIGNS else ""
    outcome = f"{sign}{metric_name(accuracy_metric)}"
    return metric_figure(
        points,
        draw_metric,
        title=heading(points, f"{space_name(space)} and {outcome}, within models\n{UNITS}"),
        y_label=wrapped(capitalised(outcome)),
        handles=handles(looks),
        sharex=True,
    )


def standardised_within_models(points: pd.DataFrame, sign: float) -> pd.DataFrame:
    """Columns metric, model, value and target, the last two as z-scores over the seeds of a model.

    `sign`: by which the outcome is multiplied.
    """
    usable = points[points.censored == NOT_CENSORED].dropna(subset=["value", "target"])
    parts = [usable[:0]]
    for _, mine in usable.groupby(["metric", "model"], sort=False):
        value, target = mine.value.to_numpy(), sign * mine.target.to_numpy()
        if len(mine) >= FEWEST and varies(value) and varies(target):
            parts.append(mine.assign(value=standardised(value), target=standardised(target)))
    return pd.concat(parts)


def draw_points(
    axes: Axes,
    metric: str,
    points: pd.DataFrame,
    inside: pd.DataFrame,
    told: pd.DataFrame,
    looks: Looks,
) -> None:
    """One panel: the points `inside`, of all `points`, and what the correlations `told` say of the metric."""
    for model, mine in inside.groupby("model"):
        draw_model(axes, looks[str(model)], mine)
    slope = coefficient(told, metric, "pearson")
    if np.isfinite(slope) and len(inside):
        axes.axline((0, 0), slope=slope, color=GREY, linewidth=1.2, zorder=1)
    style_axes(axes)
    left_out = len(points) - len(inside)
    notes = [kendall_told(told, metric), f"{left_out} of {len(points)} left out" if left_out else ""]
    axes.set_title(panel_title(capitalised(metric_name(metric)), *notes), fontsize=NORMAL)


def coefficient(told: pd.DataFrame, metric: str, name: str, column: str = "value") -> float:
    """NaN where there is none."""
    key = (metric, name)
    return float(told[column].get(key, np.nan)) if key in told.index else np.nan


def kendall_told(told: pd.DataFrame, metric: str) -> str:
    """'τ = 0.32*', with a star where the adjusted p-value is below LEVEL; nothing where there is no τ."""
    tau = coefficient(told, metric, "kendall")
    star = "*" if coefficient(told, metric, "kendall", "p_adjusted") < LEVEL else ""
    return f"τ = {tau:z.2f}{star}".replace("-", "\N{MINUS SIGN}") if np.isfinite(tau) else ""


def handles(looks: Looks) -> list[Line2D]:
    """Of the legend: how each model looks, and what the line is."""
    line = Line2D([], [], color=GREY, linewidth=1.2, label="slope: Pearson's r")
    return [*(marker(*appearance, wrapped(model)) for model, appearance in looks.items()), line]
