"""The plot of predictors: what is drawn, in which order, and what is filled."""

import pandas as pd

from fusionscope.report.plots.predictors import MOST, SHOWN_COLOUR, draw
from fusionscope.report.predictors import PREDICTOR_COLUMNS


def table(count: int = 15, **columns) -> pd.DataFrame:
    shared = {
        "study": "mine",
        "outcome": "accuracy",
        "of": "pair",
        "low": -0.2,
        "high": 0.9,
        "restates": False,
    }
    rows = [
        shared
        | {"model": model, "metric": f"number_{place}", "tau": 0.9 - 0.05 * place, "verdict": "not shown"}
        for model in ("naive_fused", "geometric_fused")
        for place in range(count)
    ]
    return pd.DataFrame(rows, columns=PREDICTOR_COLUMNS).assign(**columns)


def test_each_fusion_has_its_most_telling_predictors_first():
    figure = draw(table(), "accuracy")
    first, second = figure.axes
    assert [panel.get_title() for panel in (first, second)] == ["naive fused", "geometric fused"]
    labels = [tick.get_text() for tick in first.get_yticklabels()]
    assert labels == [f"number {place}" for place in range(MOST)]
    assert first.get_xlabel() == "Kendall τ over seeds"
    dots = [line for line in first.lines if line.get_marker() == "o"]
    assert [dot.get_xdata()[0] for dot in dots] == [0.9 - 0.05 * place for place in range(MOST)]


def test_what_is_shown_is_filled_and_what_restates_is_left_out():
    rows = table(3)
    rows.loc[0, "verdict"] = "higher goes with better (adjusted p 0.01)"
    rows.loc[1, "restates"] = True
    dots = [line for line in draw(rows, "accuracy").axes[0].lines if line.get_marker() == "o"]
    assert [dot.get_markerfacecolor() for dot in dots] == [SHOWN_COLOUR, "white"]


def test_over_a_sweep_granulated_kendall_is_drawn():
    rows = table(2, granulated_tau=-0.5, granulated_low=-0.7, granulated_high=-0.1)
    panel = draw(rows, "accuracy").axes[0]
    assert panel.get_xlabel() == "granulated Kendall τ"
    assert next(line for line in panel.lines if line.get_marker() == "o").get_xdata()[0] == -0.5


def test_the_lowest_panel_of_each_column_has_numbers_at_its_axis():
    rows = pd.concat([table(1, model=f"child_{number}") for number in range(4)])
    figure = draw(rows, "accuracy")
    figure.draw_without_rendering()
    numbered = [any(tick.get_text() for tick in panel.get_xticklabels()) for panel in figure.axes]
    assert numbered == [False, True, True, True]


def test_nothing_to_draw_is_said():
    assert "nothing can be said" in draw(table(1, tau=None), "accuracy").texts[0].get_text()
