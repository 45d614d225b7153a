"""Heat maps: numbers as colours, with texts on them, and hatching where there is no number."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.patches import Rectangle

from fusionscope.report.style import GREY, SMALL

CELL_WIDTH, CELL_HEIGHT = 0.52, 0.22  # inches
FAINT = 0.25  # how much of its colour a pale cell keeps


def draw_cells(
    axes: Axes,
    values: np.ndarray,
    texts: Sequence[Sequence[str | None]],
    *,
    colours: str,
    smallest: float,
    dark: float,
    linewidth: float,
    pale: np.ndarray | None = None,
) -> QuadMesh:
    """A cell for each of `values` (rows, columns), from `smallest` to 1; the first row on top.

    `colours` is the name of a colour map; where a value is beyond `dark` in size, the map is dark.
    `texts`, of the same shape: what stands in a cell. A cell without a number is hatched, unless its text is
    None. `pale` (rows, columns): cells in faint colours.
    """
    rows, columns = values.shape
    image = axes.pcolormesh(
        np.arange(columns + 1) - 0.5,
        np.arange(rows + 1) - 0.5,
        np.ma.masked_invalid(values),
        cmap=colours,
        vmin=smallest,
        vmax=1,
        edgecolors="white",
        linewidth=linewidth,
    )
    if pale is not None:
        image.set(alpha=np.where(pale, FAINT, 1.0))
    for (y, x), value in np.ndenumerate(values):
        text = texts[y][x]
        if text is None:
            continue
        if np.isnan(value):
            axes.add_patch(hatched((x - 0.5, y - 0.5)))
        elif text:
            faint = pale is not None and pale[y, x]
            colour = GREY if faint else "white" if abs(value) > dark else "black"
            axes.text(x, y, text, ha="center", va="center", fontsize=SMALL, color=colour)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return image


def hatched(corner: tuple[float, float]) -> Rectangle:
    """A cell without a number, from its upper left corner."""
    return Rectangle(corner, 1, 1, facecolor="0.95", edgecolor="0.75", hatch="////", linewidth=0)
