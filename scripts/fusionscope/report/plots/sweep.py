"""The plot of a sweep: outcomes along one axis, a line per fusion."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fusionscope.measures.names import PARENTS
from fusionscope.report.style import (
    GREY,
    LARGE,
    NORMAL,
    empty_figure,
    legend_below,
    legend_height,
    look,
    note,
    style_axes,
    wrapped,
)
from fusionscope.report.sweep_table import ENSEMBLE

PANEL_WIDTH, PANEL_HEIGHT, FRAME = 3.4, 2.5, 0.9  # inches
MOST_COLUMNS = 4  # panels side by side; of more settings the other axes are pooled
COLUMNS_OF_LEGEND = 3
SHOWN = {"accuracy": "test accuracy (%)", "loss_barrier": "loss barrier (nats)"}
PERCENT = ("accuracy",)
BESIDE = {PARENTS: ("#0072B2", "o"), ENSEMBLE: (GREY, "")}  # not fused: colour and marker


def draw(table: pd.DataFrame, axis: str, values: Mapping[str, Sequence[str]], name: str) -> Figure:
    """Accuracy and loss barrier along `axis`: median and range over seeds, a line per fusion.

    `table`: as sweep_table gives; `values`: every axis's, in order, as the table has them; `name`: of the
    sweep. A column of panels for each combination of the other axes' values or, where these are many, one in
    which they are pooled.
    """
    outcomes = [outcome for outcome in SHOWN if table[outcome].notna().any()]
    if not outcomes:
        return note("neither accuracy nor barrier was measured")
    others = [other for other in values if other != axis and table[other].notna().any()]
    groups = columns_of(table, others)
    figure = empty_figure(
        max(6.0, FRAME + PANEL_WIDTH * len(groups)), FRAME + PANEL_HEIGHT * len(outcomes) + 0.4
    )
    panels = figure.subplots(len(outcomes), len(groups), squeeze=False, sharex=True, sharey="row")
    lines = drawn_models(table)
    for row, outcome in enumerate(outcomes):
        for column, (title, part) in enumerate(groups):
            axes = panels[row][column]
            draw_lines(axes, part, axis, values[axis], outcome, lines)
            if row == 0:
                axes.set_title(title, fontsize=NORMAL)
            if column == 0:
                axes.set_ylabel(SHOWN[outcome], fontsize=NORMAL)
            if row == len(outcomes) - 1:
                axes.set_xlabel(axis.replace("_", " "), fontsize=NORMAL)
    handles = [handle(model, lines) for model in lines]
    figure.set_figheight(figure.get_figheight() + legend_height(handles, COLUMNS_OF_LEGEND))
    legend_below(figure, handles, columns=COLUMNS_OF_LEGEND)
    figure.suptitle(f"{name}: along {axis.replace('_', ' ')}{seeds_told(table)}", fontsize=LARGE)
    return figure


def seeds_told(table: pd.DataFrame) -> str:
    seeds = table.seed.nunique()
    return f", median and range of {seeds} seeds" if seeds > 1 else ", one seed"


def columns_of(table: pd.DataFrame, others: list[str]) -> list[tuple[str, pd.DataFrame]]:
    """What each column of panels shows, by its title.

    Rows without a value of one of the `others`, an option of another fusion, are in every column.
    """
    if not others:
        return [("", table)]
    combinations = table[others].dropna().drop_duplicates()
    if len(combinations) > MOST_COLUMNS:
        pooled = " and ".join(other.replace("_", " ") for other in others)
        return [(f"all values of {pooled}", table)]
    found = []
    for combination in combinations.to_dict("records"):
        inside = pd.Series(True, index=table.index)
        for other, value in combination.items():
            inside &= table[other].isna() | (table[other] == value)
        title = ", ".join(f"{str(other).replace('_', ' ')} {value}" for other, value in combination.items())
        found.append((title, table[inside]))
    return found


def drawn_models(table: pd.DataFrame) -> list[str]:
    """Fusions in their order, then what is beside them."""
    fusions = [name for name in dict.fromkeys(table.fusion) if name not in BESIDE]
    return [*fusions, *(name for name in BESIDE if name in set(table.fusion))]


def draw_lines(
    panel: Axes, table: pd.DataFrame, axis: str, values: Sequence[str], outcome: str, models: list[str]
) -> None:
    """A line per model over the places of `values`, which lie equally far apart.

    A model that the axis does not concern has the same values at all places.
    """
    factor = 100 if outcome in PERCENT else 1
    for model in models:
        rows = table[(table.fusion == model) & table[outcome].notna()]
        if rows.empty:
            continue
        colour, shape = appearance(model, models)
        if rows[axis].isna().all():
            rows = pd.concat([rows.assign(**{axis: value}) for value in values])
        found = factor * rows.groupby(axis)[outcome].agg(["median", "min", "max"]).reindex(list(values))
        places = range(len(values))
        dashed = "--" if model == ENSEMBLE else "-"
        panel.plot(places, found["median"], dashed, marker=shape, color=colour, markersize=5)
        panel.fill_between(places, found["min"], found["max"], color=colour, alpha=0.15, linewidth=0)
    panel.set_xticks(range(len(values)), list(values))
    style_axes(panel)


def appearance(model: str, models: Sequence[str]) -> tuple[str, str]:
    """Colour and marker of a model's line."""
    if model in BESIDE:
        return BESIDE[model]
    return look(model, [name for name in models if name not in BESIDE])


def handle(model: str, models: Sequence[str]) -> Line2D:
    """What the legend says of a model's line."""
    colour, shape = appearance(model, models)
    label = {PARENTS: "parents, mean", ENSEMBLE: "ensemble of the parents"}.get(model, wrapped(model))
    line = Line2D([], [], color=colour, marker=shape, label=label, markersize=5)
    if model == ENSEMBLE:
        line.set_linestyle("--")
    return line
