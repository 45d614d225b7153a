"""The plot `correlation`: how each metric goes with accuracy over the seeds."""
# ruff: noqa: RUF001, RUF002  (Greek letters and minus signs are meant)

from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from fusionscope.report.heatmap import CELL_HEIGHT, CELL_WIDTH, draw_cells
from fusionscope.report.metric_labels import heading, metric_name, space_name
from fusionscope.report.style import LARGE, NORMAL, SMALL, WIDE_NAME, empty_figure, in_order, note, wrapped

COEFFICIENT_NAMES = {"kendall": "Kendall τ", "pearson": "Pearson r", "spearman": "Spearman ρ"}
SIGNIFICANT = 0.05
DARK = 0.65  # colours of coefficients beyond it need white text
LABEL_WIDTH, FRAME_HEIGHT, FEWEST_COLUMNS = 4.2, 2.8, 3  # inches around the cells; of models, for their width


def draw(correlation: pd.DataFrame, accuracy_metric: str) -> Figure:
    """Each metric's correlation with accuracy: a heat map per coefficient, metrics down, models across.

    `correlation`: rows of one experiment in correlations.CORRELATION_COLUMNS. `accuracy_metric`: what was
    correlated with; of the gap, as in correlations.correlation_table, the sign is turned.
    """
    if correlation.empty:
        return note("no metric to correlate")
    models, rows = in_order(correlation.model), heatmap_rows(correlation)
    cells_width = len(COEFFICIENT_NAMES) * CELL_WIDTH * max(len(models), FEWEST_COLUMNS)
    figure = empty_figure(LABEL_WIDTH + cells_width, FRAME_HEIGHT + CELL_HEIGHT * len(rows))
    panels = figure.subplots(1, len(COEFFICIENT_NAMES), sharey=True)
    for axes, (coefficient, name) in zip(panels, COEFFICIENT_NAMES.items(), strict=True):
        cells = correlation[correlation.coefficient == coefficient]
        image = draw_coefficient(axes, cells, rows, models)
        axes.set_title(name, fontsize=LARGE)
    panels[0].set_yticks(range(len(rows)), [row.label for row in rows], fontsize=NORMAL)
    for text, row in zip(panels[0].get_yticklabels(), rows, strict=True):
        text.set_fontweight("bold" if row.is_header else "normal")
    bar = figure.colorbar(image, ax=panels, aspect=40, pad=0.01, ticks=[-1, -0.5, 0, 0.5, 1])
    bar.set_label("coefficient", fontsize=NORMAL)
    bar.ax.tick_params(labelsize=SMALL)
    figure.suptitle(heading(correlation, title(accuracy_metric)), fontsize=LARGE)
    figure.supxlabel(explanation(correlation), fontsize=SMALL)
    return figure


def title(accuracy_metric: str) -> str:
    sign = "minus the " if accuracy_metric == "generalisation_gap" else ""
    return f"correlation with {sign}{metric_name(accuracy_metric)}, over seeds"


@dataclass(frozen=True)
class Row:
    """A line of the heat map: a metric, or the name of the space that follows."""

    label: str
    space: str
    metric: str = ""

    @property
    def is_header(self) -> bool:
        return not self.metric


def heatmap_rows(correlation: pd.DataFrame) -> list[Row]:
    """The metrics in their order, under the names of their spaces."""
    rows = []
    for space, group in correlation.groupby("space", sort=False):
        rows.append(Row(space_name(str(space)), str(space)))
        rows += [Row(metric_name(metric), str(space), metric) for metric in group.metric.unique()]
    return rows


def draw_coefficient(axes: Axes, cells: pd.DataFrame, rows: list[Row], models: list[str]) -> QuadMesh:
    """One coefficient: colour and number in each cell, hatching where there is no number."""
    keys = pd.MultiIndex.from_tuples([(row.space, row.metric) for row in rows])
    values, p_values = (
        cells.pivot(index=["space", "metric"], columns="model", values=column)
        .reindex(index=keys, columns=models)
        .to_numpy(dtype=float)
        for column in ("value", "p_value")
    )
    texts = [
        [None if row.is_header else cell_text(*cell) for cell in zip(*numbers, strict=True)]
        for row, *numbers in zip(rows, values, p_values, strict=True)
    ]
    image = draw_cells(axes, values, texts, colours="RdBu", smallest=-1, dark=DARK, linewidth=1)
    labels = [column_label(model, cells[cells.model == model].n) for model in models]
    axes.set_xticks(range(len(models)), labels, fontsize=SMALL, rotation=90)
    return image


def cell_text(coefficient: float, p_value: float) -> str:
    """-0.75, 0.01 -> '−0.75*'"""
    star = "*" if p_value < SIGNIFICANT else ""
    return f"{coefficient:z.2f}{star}".replace("-", "−")


def column_label(model: str, n: pd.Series) -> str:
    """'naive fused (n = 5)', or (n = 3 to 5) where metrics differ in how many values could be used."""
    used = f"{n.min()}" if n.min() == n.max() else f"{n.min()}–{n.max()}"
    return wrapped(f"{model} (n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{used})", WIDE_NAME)


def explanation(correlation: pd.DataFrame) -> str:
    """What the stars, the hatching and n mean, and why coefficients are missing."""
    reasons = correlation.reason[correlation.value.isna()].dropna().unique()
    why = ", ".join(["not measured", *(reason for reason in reasons if reason)])
    return f"* p < {SIGNIFICANT}, each cell by itself    hatched: no coefficient ({why})    n: values used"
