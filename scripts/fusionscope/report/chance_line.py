"""Chance, the bar that every network has to be above, as a line in a plot."""

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from fusionscope.report.style import GREY

DASHES = "-."  # the ensemble's line is dashed, straight lines between parents are dotted


def draw_chance(axes: Axes, value: float, label: str, *, level: bool = False) -> Line2D:
    """A line at `value`, and its handle in the legend; upright, or `level` where `value` is on the y axis."""
    draw_line = axes.axhline if level else axes.axvline
    return draw_line(value, color=GREY, linestyle=DASHES, linewidth=1.2, zorder=1, label=label)
