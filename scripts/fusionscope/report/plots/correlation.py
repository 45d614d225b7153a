"""The plot `correlation`: how each metric goes with accuracy over the seeds."""
# ruff: noqa: RUF001, RUF002  (Greek letters and minus signs are meant)

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fusionscope.report.heatmap import CELL_HEIGHT, CELL_WIDTH, draw_cells
from fusionscope.report.metric_labels import capitalised, metric_name, space_name
from fusionscope.report.pooled import ALL_MODELS
from fusionscope.report.style import (
    LARGE,
    NORMAL,
    SMALL,
    WIDE_NAME,
    empty_figure,
    heading,
    in_order,
    note,
    wrapped,
)
from fusionscope.statistics.verdicts import CANNOT, LEVEL, RESTATES

SHOWN = "kendall"  # the coefficient that decides
FEWEST_SEEDS = 2
DARK = 0.65  # colours of coefficients beyond it need white text
LABEL_WIDTH, FRAME_HEIGHT = 4.2, 3.2  # inches around the cells
FEWEST_COLUMNS = 5  # of models, for the width of the title


def draw(correlation: pd.DataFrame, accuracy_metric: str) -> Figure:
    """Kendall's tau of each metric with accuracy as a heat map, metrics down, models across.

    Strong colour and a star where the adjusted p-value is below 0.05, else pale. Metrics that restate the
    outcome, which are not tested, stand apart below the others.

    `correlation`: rows of one experiment in correlations.CORRELATION_COLUMNS. `accuracy_metric`: what was
    correlated with; of the gap, as in correlations.correlation_table, the sign is turned.
    """
    cells = correlation[correlation.coefficient == SHOWN]
    if cells.empty:
        return note("no metric to correlate")
    if cells.n_seeds.max() < FEWEST_SEEDS:
        return note(heading(correlation, "one seed gives no correlation over seeds"))
    models, rows = columns_in_order(cells.model), heatmap_rows(cells)
    cells_width = CELL_WIDTH * max(len(models), FEWEST_COLUMNS)
    figure = empty_figure(LABEL_WIDTH + cells_width, FRAME_HEIGHT + CELL_HEIGHT * len(rows))
    axes = figure.subplots()
    values, p_values = (cell_numbers(cells, column, rows, models) for column in ("value", "p_adjusted"))
    image = draw_cells(
        axes,
        values,
        cell_texts(values, p_values, rows),
        colours="RdBu",
        smallest=-1,
        dark=DARK,
        linewidth=1,
        pale=~(p_values < LEVEL),
    )
    labels = [column_label(model, cells[cells.model == model]) for model in models]
    axes.set_xticks(range(len(models)), labels, fontsize=SMALL, rotation=90)
    axes.set_yticks(range(len(rows)), [row.label for row in rows], fontsize=NORMAL)
    for text, row in zip(axes.get_yticklabels(), rows, strict=True):
        text.set_fontweight("bold" if row.is_header else "normal")
    bar = figure.colorbar(image, ax=axes, aspect=40, pad=0.02, ticks=[-1, -0.5, 0, 0.5, 1])
    bar.set_label("Kendall τ", fontsize=NORMAL)
    bar.ax.tick_params(labelsize=SMALL)
    figure.suptitle(heading(correlation, title(accuracy_metric)), fontsize=LARGE)
    figure.supxlabel(explanation(cells), fontsize=SMALL)
    return figure


def title(accuracy_metric: str) -> str:
    sign = "minus the " if accuracy_metric == "generalisation_gap" else ""
    return f"correlation with\n{sign}{metric_name(accuracy_metric)}, over seeds"


def columns_in_order(models: pd.Series) -> list[str]:
    """All models pooled first, as they say most; then each."""
    return sorted(in_order(models), key=lambda model: model != ALL_MODELS)


@dataclass(frozen=True)
class Row:
    """A line of the heat map: a metric, or the heading of those that follow."""

    label: str
    space: str
    metric: str = ""

    @property
    def is_header(self) -> bool:
        return not self.metric


def heatmap_rows(cells: pd.DataFrame) -> list[Row]:
    """The metrics in their order, under the names of their spaces; last those that restate the outcome."""
    restating = cells.verdict == RESTATES
    spaces = cells[~restating].groupby("space", sort=False)
    parts = [(capitalised(space_name(str(space))), group) for space, group in spaces]
    parts += [("Restate the outcome (not tested)", cells[restating])] if restating.any() else []
    rows = []
    for heading_of_part, group in parts:
        keys = group[["space", "metric"]].drop_duplicates()
        rows.append(Row(heading_of_part, ""))
        rows += [
            Row(capitalised(metric_name(metric)), space, metric)
            for space, metric in keys.itertuples(index=False)
        ]
    return rows


def cell_numbers(cells: pd.DataFrame, column: str, rows: list[Row], models: list[str]) -> np.ndarray:
    """`column` of `cells` by row and model (rows, models); NaN where there is none."""
    keys = pd.MultiIndex.from_tuples([(row.space, row.metric) for row in rows])
    table = cells.pivot(index=["space", "metric"], columns="model", values=column)
    return table.reindex(index=keys, columns=models).to_numpy(dtype=float)


def cell_texts(values: np.ndarray, p_values: np.ndarray, rows: list[Row]) -> list[list[str | None]]:
    return [
        [None if row.is_header else cell_text(*cell) for cell in zip(*numbers, strict=True)]
        for row, *numbers in zip(rows, values, p_values, strict=True)
    ]


def cell_text(coefficient: float, p_adjusted: float) -> str:
    """-0.75, 0.01 -> '−0.75*'"""
    star = "*" if p_adjusted < LEVEL else ""
    return f"{coefficient:z.2f}{star}".replace("-", "−")


def column_label(model: str, cells: pd.DataFrame) -> str:
    """'naive fused (5 seeds)', or (3 to 5 seeds) where metrics differ in how many could be used."""
    fewest, most = cells.n_seeds.min(), cells.n_seeds.max()
    used = f"{most}" if fewest == most else f"{fewest}–{most}"
    return wrapped(f"{model} ({used}\N{NO-BREAK SPACE}seeds)", WIDE_NAME)


def explanation(cells: pd.DataFrame) -> str:
    """What stars, pale cells and hatching mean, what cannot be shown, and why coefficients are missing."""
    reasons = cells.reason[cells.value.isna()].dropna().unique()
    why = ", ".join(["not measured", *(reason for reason in reasons if reason)])
    lines = [
        f"* and strong colour: p < {LEVEL}, seeds permuted, adjusted for the metrics of the column",
        "pale: not shown, or not tested",
        f"hatched: no coefficient ({why})",
    ]
    impossible = [words for words in cells.verdict.dropna() if words.startswith(CANNOT)]
    if impossible:
        lines.append(f"{Counter(impossible).most_common(1)[0][0]}: {len(impossible)} cells")
    return "\n".join(lines)
