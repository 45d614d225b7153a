"""One look for every plot, in which a model keeps its colour and its marker.

Only what several plots share: what belongs to one is in its module, so that a change redraws that plot alone.
"""

import math
from collections.abc import Iterable, Sequence
from textwrap import fill

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from fusionscope.report.parents import is_parent
from fusionscope.report.pooled import ALL_MODELS

PNG_DPI = 160

# Okabe & Ito 2008, "Color universal design": told apart by the colour-blind. Parents are all blue.
PARENT_COLOURS = ("#0072B2", "#56B4E9", "#003A66", "#8FA8D9", "#4B55C4")
PARENT_MARKERS = ("o", "s", "*", "d", "8", "H")  # 30 parents before a look comes twice
CHILD_LOOKS = {
    "naive_fused": ("#D55E00", "^"),
    "geometric_fused": ("#009E73", "D"),
}
OTHER_COLOURS = ("#CC79A7", "#E69F00", "#000000")
OTHER_MARKERS = ("v", "P", "X", "h", "<", "p", ">")  # with 3 colours: 21 models before a look comes twice
GREY, PALE = "0.4", "0.88"

SMALL, NORMAL, LARGE = 8, 9, 11  # font sizes, points
NAME_WIDTH, WIDE_NAME, NOTE_WIDTH = 22, 30, 50  # characters before a text is broken into lines
MIN_WIDTH = 6.6  # inches, as all sizes here
LINE_PLOT_WIDTH, LINE_PLOT_HEIGHT = 9.0, 4.3  # two panels side by side
MARGIN = 0.07
LEGEND_ENTRY = 2.2  # holds a name of NAME_WIDTH
LINE_HEIGHT = 0.16

WIDE_SPAN = 100.0  # largest to smallest (or typical) size beyond which an axis is logarithmic


def in_order(models: Iterable[str]) -> list[str]:
    """Each model once: parents first, then in order of appearance, all models pooled last."""
    unique = list(dict.fromkeys(models))
    parents = sorted(filter(is_parent, unique), key=parent_number)
    pooled = [model for model in unique if model == ALL_MODELS]
    return parents + [model for model in unique if model not in parents + pooled] + pooled


def parent_number(model: str) -> int:
    """parent_3 -> 3"""
    return int(model.removeprefix("parent_"))


def look(model: str, models: Iterable[str] = ()) -> tuple[str, str]:
    """Colour and marker. A child without its own gets them by its place in the alphabet of `models`."""
    colours: Sequence[str]
    markers: Sequence[str]
    if is_parent(model):
        place, colours, markers = parent_number(model) - 1, PARENT_COLOURS, PARENT_MARKERS
    elif model in CHILD_LOOKS:
        return CHILD_LOOKS[model]
    else:
        others = sorted(name for name in set(models) - set(CHILD_LOOKS) if not is_parent(name))
        place, colours, markers = others.index(model), OTHER_COLOURS, OTHER_MARKERS
    return colours[place % len(colours)], markers[place % len(markers)]


def wrapped(name: str, width: int = NAME_WIDTH) -> str:
    """'naive_fused' -> 'naive fused', in lines of at most `width` characters."""
    return fill(name.replace("_", " "), width)


def heading(table: pd.DataFrame, what: str) -> str:
    """`what`, after the experiments of `table`."""
    return f"{', '.join(table.experiment.unique())}: {what}"


def empty_figure(width: float, height: float) -> Figure:
    """The margin keeps texts whole in a PDF too, where they are a little wider than on the pixel grid."""
    layout = ConstrainedLayoutEngine(w_pad=MARGIN, h_pad=MARGIN)
    return Figure(figsize=(width, height), dpi=PNG_DPI, layout=layout)


def note(text: str) -> Figure:
    """A small figure that says why there is nothing to see."""
    figure = Figure(figsize=(MIN_WIDTH, 1))
    lines = fill(text, NOTE_WIDTH)
    figure.text(0.5, 0.5, lines, ha="center", va="center", fontsize=LARGE, color=GREY)
    return figure


def style_axes(axes: Axes) -> None:
    """A pale grid behind the data, no frame above and to the right, small numbers."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color=PALE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", labelsize=SMALL)


def panel_grid(
    figure: FigureBase, count: int, columns: int, *, sharex: bool = False, sharey: bool = False
) -> list[Axes]:
    """`count` panels in rows of `columns`; the places left over stay empty."""
    rows = math.ceil(count / columns)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey).ravel()
    for unused in panels[count:]:
        unused.remove()
    return list(panels[:count])


def legend_below(figure: Figure, handles: list[Line2D], *, columns: int) -> None:
    """A legend of `handles` outside the panels, in so many columns."""
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=NORMAL)


def legend_height(handles: Sequence[Line2D], columns: int) -> float:
    """Inches that `legend_below` takes for handles in so many columns."""
    lines = max(str(handle.get_label()).count("\n") + 1 for handle in handles)
    return LINE_HEIGHT * lines * math.ceil(len(handles) / columns)


def marker(colour: str, shape: str, label: str, face: str | None = None) -> Line2D:
    """A legend's handle without a line."""
    return Line2D(
        [], [], linestyle="", marker=shape, color=colour, markerfacecolor=face or colour, label=label
    )
