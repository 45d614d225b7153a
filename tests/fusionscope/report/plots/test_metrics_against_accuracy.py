"""A panel for each metric of a space."""
# ruff: noqa: RUF001  (Greek letters and minus signs are meant)

import math

import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from plot_cases import FOUR, METRICS, SIX, legend_texts, measured, panels, render, titles

from fusionscope.measures.names import INPUT, PAIR, PARAMETER, PARENTS, PREDICTION
from fusionscope.report.metric_labels import axis_label
from fusionscope.report.plots import metrics_against_accuracy
from fusionscope.report.style import look, wrapped

pytestmark = pytest.mark.filterwarnings("error")


def draw(data, accuracy_metric="accuracy", space=PARAMETER):
    return render(metrics_against_accuracy.draw(data, accuracy_metric, space))


def in_one_line(title):
    return title.replace("\n", " ").replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize("space", [INPUT, PARAMETER, PREDICTION])
@pytest.mark.parametrize(
    ("models", "seeds", "accuracy_metric"),
    [(FOUR[:2], 1, "accuracy"), (SIX, 20, "accuracy"), (FOUR, 3, "generalisation_gap")],
)
def test_every_metric_of_the_space_but_the_outcome_has_a_panel(models, seeds, accuracy_metric, space):
    figure = draw(measured(models, seeds), accuracy_metric, space)
    shown = set(METRICS[space]) - {accuracy_metric}
    if space == PREDICTION:
        shown |= {"accuracy"} - {accuracy_metric}
        shown |= {"parents_ensemble_accuracy"} if len(models) > 2 else set()
    expected = {axis_label(metric).replace("\N{NO-BREAK SPACE}", " ") for metric in shown}
    assert set(map(in_one_line, titles(figure))) == expected
    assert len(figure.axes) == len(shown)
    assert legend_texts(figure) == [wrapped(model) for model in models]
    assert figure.get_suptitle().startswith(f"digits_vgg11: {space.replace('_', ' ')} and ")


def test_points_are_a_model_s_metric_and_accuracy_seed_by_seed():
    data = measured()
    figure = draw(data)
    (axes,) = [axes for axes in panels(figure) if axes.get_title() == "Hessian trace"]
    for model in FOUR:
        (line,) = [
            line for line in axes.lines if line.get_color() == look(model)[0] and len(line.get_xdata())
        ]
        assert line.get_marker() == look(model)[1]
        mine = data[data.model == model].set_index("metric").value
        assert list(line.get_xdata()) == list(mine["hessian_trace"])
        assert line.get_ydata() == pytest.approx(100 * mine["accuracy"].to_numpy())


def test_what_is_said_of_a_pair_stands_at_each_of_its_children():
    data = measured()
    of_parents = data[(data.metric == "hessian_trace") & (data.model == FOUR[0])]
    of_child = data[(data.metric == "hessian_trace") & (data.model == FOUR[2])]
    pairs = [
        of_parents.assign(space=PAIR, metric="parents_cka", model=PARENTS),
        of_child.assign(space=PAIR, metric="matching_cost_after"),
    ]
    figure = draw(pd.concat([data, *pairs]), space=PAIR)
    after, cka = sorted(panels(figure), key=lambda axes: "CKA" in axes.get_title())
    assert legend_texts(figure) == ["naive fused", "geometric fused"]
    children = [line for line in cka.lines if len(line.get_xdata())]
    assert [line.get_color() for line in children] == [look(model)[0] for model in sorted(FOUR[2:])]
    for line, model in zip(children, sorted(FOUR[2:]), strict=True):
        assert list(line.get_xdata()) == list(of_parents.value)
        accuracies = data[(data.metric == "accuracy") & (data.model == model)].value
        assert line.get_ydata() == pytest.approx(100 * accuracies.to_numpy())
    assert sum(len(line.get_xdata()) for line in after.lines) == 3


def test_a_child_looks_as_in_the_other_plots_where_another_is_not_shown():
    data = measured(SIX)
    data = data[(data.space != PARAMETER) | (data.model != "activation_fused")]
    figure = draw(data)
    shown = {line.get_color() for line in panels(figure)[0].lines if len(line.get_xdata())}
    assert look(SIX[-1], SIX)[0] in shown
    assert look("activation_fused", SIX)[0] not in shown


@pytest.mark.parametrize(("side", "arrow"), [("right", r"$\rightarrow$"), ("left", r"$\leftarrow$")])
def test_bounds_are_hollow_markers_with_an_arrow_to_the_true_value(side, arrow):
    data = measured()
    bound = (data.metric == "pac_bayes_sigma") & (data.model == "naive_fused")
    data.loc[bound, ["value", "censored"]] = [10.0, side]
    figure = draw(data)
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
    (axes,) = panels(draw(data))
    assert axes.get_xscale() == expected


def test_values_that_cannot_be_shown_are_counted_in_the_title():
    data = measured(FOUR[:2])
    data.loc[data.metric == "hessian_trace", "value"] = math.nan
    data.loc[(data.metric == "sharpness_orig") & (data.seed == 1), "value"] = math.inf
    figure = draw(data)
    assert "Hessian trace\n6 of 6 without a number" in titles(figure)
    assert "Sharpness orig (lower bound) 2 of 6 without a number" in map(in_one_line, titles(figure))


def test_what_has_no_accuracy_to_compare_with_is_left_out_and_counted():
    data = measured(FOUR[:2])
    data.loc[(data.metric == "accuracy") & (data.model == "parent_1") & (data.seed == 0), "value"] = math.nan
    figure = draw(data)
    for axes in panels(figure):
        assert axes.get_title().endswith("\n1 of 6 without a number")
        assert sum(len(line.get_xdata()) for line in axes.lines) == 5


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (5, 5), (6, 3), (29, 5)])
def test_rows_of_panels_are_about_equally_long(count, columns):
    data = measured(FOUR[:2], 1)
    one = data[data.metric == "hessian_trace"]
    many = [one.assign(metric=f"metric_{number}") for number in range(count)]
    figure = draw(pd.concat([data[data.metric == "accuracy"], *many]))
    assert len({round(axes.get_position().x0, 3) for axes in figure.axes}) == columns
