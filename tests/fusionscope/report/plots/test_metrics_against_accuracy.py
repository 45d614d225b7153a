"""A panel for each metric."""
# ruff: noqa: RUF001  (Greek letters and minus signs are meant)

import math
from textwrap import fill

import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from plot_cases import FOUR, NAMES, SIX, legend_texts, measured, panels, render, titles

from fusionscope.measures.names import PAIR, PARENTS
from fusionscope.report.metric_labels import with_unit
from fusionscope.report.plots.metrics_against_accuracy import draw
from fusionscope.report.style import WIDE_NAME, wrapped

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize(
    ("models", "seeds", "accuracy_metric"),
    [(FOUR[:2], 1, "accuracy"), (SIX, 20, "accuracy"), (FOUR, 3, "generalisation_gap")],
)
def test_every_metric_but_the_accuracy_has_a_panel(models, seeds, accuracy_metric):
    figure = render(draw(measured(models, seeds), accuracy_metric))
    shown = NAMES | {"accuracy"} | ({"parents_ensemble_accuracy"} if len(models) > 2 else set())
    shown -= {accuracy_metric}
    assert set(titles(figure)) == {fill(with_unit(metric), WIDE_NAME) for metric in shown}
    assert len(figure.axes) == len(shown)
    assert legend_texts(figure) == [wrapped(model) for model in models]
    headers = {part.get_suptitle() for part in figure.subfigs}
    assert headers == {"prediction space", "input space", "parameter space"}


def test_what_is_said_of_all_parents_together_has_no_accuracy_and_no_panel():
    data = measured()
    of_one = data[(data.metric == "hessian_trace") & (data.model == FOUR[2])]
    pairs = [
        of_one.assign(space=PAIR, metric="parents_cka", model=PARENTS),
        of_one.assign(space=PAIR, metric="matching_cost_after"),
    ]
    figure = render(draw(pd.concat([data, *pairs]), "accuracy"))
    assert "matching cost after alignment" in titles(figure)
    assert len(titles(figure)) == len(titles(render(draw(data, "accuracy")))) + 1
    assert PARENTS not in legend_texts(figure)


@pytest.mark.parametrize(("side", "arrow"), [("right", r"$\rightarrow$"), ("left", r"$\leftarrow$")])
def test_bounds_are_hollow_markers_with_an_arrow_to_the_true_value(side, arrow):
    data = measured()
    bound = (data.metric == "pac_bayes_sigma") & (data.model == "naive_fused")
    data.loc[bound, ["value", "censored"]] = [10.0, side]
    figure = render(draw(data[data.space != "input_space"], "accuracy"))
    for axes in panels(figure):
        hollow = [line for line in axes.lines if to_rgba(line.get_markerfacecolor())[3] == 0]
        expected = bound.sum() if axes.get_title() == "PAC-Bayes σ" else 0
        assert sum(len(line.get_xdata()) for line in hollow) == expected
        arrows = [line for line in axes.lines if line.get_marker() == arrow]
        assert sum(len(line.get_xdata()) for line in arrows) == expected
    assert any("bound" in text for text in legend_texts(figure))


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1, 2, 50], "linear"), ([1, 10, 1e6], "log"), ([-1, 2, 3, 1e5], "symlog"), ([0, 0, 0], "linear")],
)
def test_an_axis_has_the_scale_that_its_values_need(values, expected):
    data = measured(FOUR[:1], len(values))
    data = data[data.metric.isin(["accuracy", "hessian_trace"])]
    data.loc[data.metric == "hessian_trace", "value"] = values
    (axes,) = panels(render(draw(data, "accuracy")))
    assert axes.get_xscale() == expected


def test_values_that_cannot_be_shown_are_counted_in_the_title():
    data = measured(FOUR[:2])
    data.loc[data.metric == "hessian_trace", "value"] = math.nan
    data.loc[(data.metric == "sharpness_orig") & (data.seed == 1), "value"] = math.inf
    figure = render(draw(data, "accuracy"))
    assert "Hessian trace\n6 of 6 without a number" in titles(figure)
    assert "sharpness orig (lower bound)\n2 of 6 without a number" in titles(figure)


def test_what_has_no_accuracy_to_compare_with_is_left_out_and_counted():
    data = measured(FOUR[:2])
    data.loc[(data.metric == "accuracy") & (data.model == "parent_1") & (data.seed == 0), "value"] = math.nan
    figure = render(draw(data, "accuracy"))
    for axes in panels(figure):
        assert axes.get_title().endswith("\n1 of 6 without a number")
        assert sum(len(line.get_xdata()) for line in axes.lines) == 5


def test_spaces_that_are_switched_off_are_left_out():
    data = measured(FOUR[:2])
    figure = draw(data[data.space != "parameter_space"], "accuracy")
    assert len(render(figure).subfigs) == 2
