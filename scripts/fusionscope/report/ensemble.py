"""The accuracy of the parents' ensemble, the bar that children are held against, in a plot."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from fusionscope.report.metric_labels import metric_name, shown_values
from fusionscope.report.style import GREY


def draw_ensemble(axes: Axes, measurements: pd.DataFrame, *, level: bool = False) -> list[Line2D]:
    """Line and band for the parents' ensemble, which each fused model of a seed repeats; legend handles.

    Upright, where accuracy is the x axis, or `level`, where it is the y axis.
    """
    values = ensemble_accuracies(measurements)
    if values.empty:
        return []
    mean, std = values.mean(), values.std()
    draw_line, draw_band = (axes.axhline, axes.axhspan) if level else (axes.axvline, axes.axvspan)
    if len(values) > 1:
        draw_band(mean - std, mean + std, color=GREY, alpha=0.25, linewidth=0, zorder=0)
    line = draw_line(mean, color=GREY, linestyle="--", linewidth=1.2, zorder=1)
    line.set_label(f"{metric_name('parents_ensemble_accuracy')} ({mean:.1f} %)")
    return [line]


def ensemble_accuracies(measurements: pd.DataFrame) -> pd.Series:
    """In per cent, one for each seed that has one."""
    rows = shown_values(measurements[measurements.metric == "parents_ensemble_accuracy"])
    return rows.drop_duplicates("seed").value.dropna()
