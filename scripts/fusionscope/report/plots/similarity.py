"""The plot `similarity`: what children have in common with their parents."""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from fusionscope.report.heatmap import CELL_HEIGHT, CELL_WIDTH, draw_cells
from fusionscope.report.style import LARGE, LINE_HEIGHT, SMALL, empty_figure, heading, in_order, note, wrapped

LABEL_WIDTH, FRAME_HEIGHT = 2.6, 1.4  # inches around the cells: left and right; above and below
MIN_WIDTH = 4.6
NARROWEST_BLOCK = 1.2
TALLEST_MAP = 8.0  # of rows of cells; more rows make them flatter
TEXT_PITCH = 0.135  # from one line of SMALL text to the next, just legible
CHARACTER_WIDTH = 0.075  # of SMALL text, on average
DARK = 0.7  # colours of similarities beyond it need white text
MINUS = "\N{MINUS SIGN}"
UNDER = "#F5C49B"  # of what is below zero
BELOW = "orange: below zero, as estimates of a similarity near zero may be"


def draw(similarities: pd.DataFrame) -> Figure:
    """Debiased CKA of each child with each parent: a block per child, alignment groups down, parents across.

    `similarities`: columns seed, model (the child), parent, group, cka, at most 1; shown is the mean over
    seeds, to two places. Groups keep their order. NaN, where it is undefined, is left out of the mean. Means
    below zero, estimates of similarities near it, have a colour of their own.
    """
    if similarities.empty:
        return note("the similarity of representations was not measured")
    means = similarity_means(similarities).round(2) + 0.0  # no -0.00
    groups, children, parents = means.index, means.columns.unique(0), means.columns.unique(1)
    block = max(CELL_WIDTH * len(parents), NARROWEST_BLOCK)
    titles = [wrapped(child, int(block / CHARACTER_WIDTH)) for child in children]
    width = max(LABEL_WIDTH + block * len(children), MIN_WIDTH)
    height = min(CELL_HEIGHT * len(groups), TALLEST_MAP)
    title_height = LINE_HEIGHT * max(title.count("\n") + 1 for title in titles)
    figure = empty_figure(width, FRAME_HEIGHT + title_height + height)
    panels = figure.subplots(1, len(children), sharey=True, squeeze=False)[0]
    below = (means < 0).any(axis=None)
    every = math.ceil(TEXT_PITCH * len(groups) / height)  # rows from one text to the next
    for axes, child, title in zip(panels, children, titles, strict=True):
        image = draw_similarity(axes, means[child].to_numpy(), numbers=every == 1)
        axes.set_xticks(range(len(parents)), [wrapped(parent) for parent in parents], rotation=90)
        axes.set_title(title, fontsize=SMALL)
    panels[0].set_yticks(range(0, len(groups), every), groups[::every])
    bar = figure.colorbar(
        image, ax=panels, aspect=25, pad=0.01, ticks=[0, 0.5, 1], extend="min" if below else "neither"
    )
    bar.set_label(bar_label(similarities.seed.nunique()), fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    figure.suptitle(heading(similarities, "similarity of children to their parents"), fontsize=LARGE)
    notes = [BELOW] if below else []
    if means.isna().any(axis=None):
        notes.append("hatched: no number (constant, or not measured)")
    figure.supxlabel("\n".join(notes), fontsize=SMALL)
    return figure


def bar_label(seeds: int) -> str:
    return "Debiased CKA" + (f", mean of {seeds} seeds" if seeds > 1 else "")


def similarity_means(cka: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds: groups down, in their order; (child, parent) across; NaN where there is none."""
    columns = pd.MultiIndex.from_product([in_order(cka.model), in_order(cka.parent)])
    means = cka.groupby(["group", "model", "parent"]).cka.mean().unstack(["model", "parent"])
    return means.reindex(index=cka.group.unique(), columns=columns)


def draw_similarity(axes: Axes, values: np.ndarray, *, numbers: bool) -> QuadMesh:
    """One child: colour for each group (row) and parent (column), hatching where there is no number."""
    texts = [[f"{value:.2f}".replace("-", MINUS) if numbers else "" for value in row] for row in values]
    linewidth = 0.5 if numbers else 0.2
    image = draw_cells(axes, values, texts, colours="Blues", smallest=0, dark=DARK, linewidth=linewidth)
    image.set_cmap(image.get_cmap().with_extremes(under=UNDER))
    axes.tick_params(labelsize=SMALL)
    return image
