"""The plot of predictors: what goes with one outcome, ranked, with intervals."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fusionscope.report.metric_labels import predictor_name
from fusionscope.report.style import (
    GREY,
    LARGE,
    NORMAL,
    SMALL,
    empty_figure,
    legend_below,
    marker,
    note,
    style_axes,
    wrapped,
)
from fusionscope.statistics.verdicts import NOT_SHOWN

MOST = 12  # predictors of a fusion
MOST_PANELS = 3  # side by side; further fusions begin a new row
PANEL_WIDTH, ROW_HEIGHT, FRAME = 4.6, 0.21, 1.1  # inches
SHOWN_COLOUR = "#0072B2"
OUTCOMES = {
    "accuracy": "the child's test accuracy",
    "relative_accuracy": "the child's accuracy less its parents' mean",
    "loss_barrier": "a lower loss barrier",
}


def draw(table: pd.DataFrame, outcome: str) -> Figure:
    """Of each fusion the predictors with the largest coefficients, and their intervals at 95 %.

    `table`: as predictor_table gives, of one study. Over a sweep granulated Kendall over settings, else
    Kendall's tau over seeds; what is shown to go with the outcome, all predictors considered, is filled.
    """
    rows = table[(table.outcome == outcome) & ~table.restates.astype(bool)]
    swept = bool(rows.granulated_tau.notna().any())
    columns = ("granulated_tau", "granulated_low", "granulated_high") if swept else ("tau", "low", "high")
    rows = rows[rows[columns[0]].notna()]
    if rows.empty:
        return note(f"nothing can be said with these seeds about {OUTCOMES[outcome]}")
    models = list(dict.fromkeys(rows.model))
    across = min(len(models), MOST_PANELS)
    down = -(-len(models) // across)
    most = min(MOST, int(rows.groupby("model").size().max()))
    figure = empty_figure(PANEL_WIDTH * across, down * (0.6 + ROW_HEIGHT * most) + FRAME)
    panels = figure.subplots(down, across, squeeze=False, sharex=True).ravel()
    for unused in panels[len(models) :]:
        unused.remove()
    for panel, model in zip(panels, models, strict=False):
        draw_ranking(panel, rows[rows.model == model].head(MOST), columns, swept=swept)
        panel.set_title(wrapped(str(model)), fontsize=NORMAL)
    what = "granulated Kendall τ" if swept else "Kendall τ over seeds"
    for panel in panels[: len(models)][-across:]:
        panel.set_xlabel(what, fontsize=NORMAL)
        panel.tick_params(axis="x", labelbottom=True)  # also of those above a place that is empty
    figure.suptitle(f"{rows.study.iloc[0]}: what goes with {OUTCOMES[outcome]}", fontsize=LARGE)
    legend_below(figure, handles(), columns=2)
    return figure


def draw_ranking(panel: Axes, rows: pd.DataFrame, columns: tuple[str, str, str], *, swept: bool) -> None:
    """A dot and its interval for each predictor, the largest coefficient on top."""
    value, low, high = columns
    for place, row in enumerate(rows.to_dict("records")):
        known = is_shown(str(row["settings_verdict" if swept else "verdict"]))
        colour = SHOWN_COLOUR if known else GREY
        panel.plot([row[low], row[high]], [place, place], color=colour, linewidth=1.4)
        panel.plot(
            row[value], place, "o", color=colour, markerfacecolor=colour if known else "white", markersize=5
        )
    panel.axvline(0, color="black", linewidth=0.8)
    panel.set_yticks(range(len(rows)), [predictor_name(row) for row in rows.to_dict("records")])
    panel.set(xlim=(-1.03, 1.03), ylim=(len(rows) - 0.5, -0.5))
    style_axes(panel)
    panel.tick_params(axis="y", labelsize=SMALL)


def is_shown(verdict: str) -> bool:
    """Whether a verdict says which way a predictor goes with the outcome."""
    return verdict.startswith(("higher", "lower")) and verdict != NOT_SHOWN


def handles() -> list[Line2D]:
    return [
        marker(SHOWN_COLOUR, "o", "shown, all predictors considered"),
        marker(GREY, "o", "not shown", face="white"),
    ]
