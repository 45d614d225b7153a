"""What is left of the relation of metrics and accuracy within models."""
# ruff: noqa: RUF001  (Greek letters and minus signs are meant)

import math

import numpy as np
import pandas as pd
import pytest
from plot_cases import FOUR, legend_texts, measured, panels, render, titles

from fusionscope.measures.names import INPUT, PARAMETER
from fusionscope.report.correlations import correlation_table
from fusionscope.report.plots import metrics_within_models
from fusionscope.report.style import look

pytestmark = pytest.mark.filterwarnings("error")


def draw(data, accuracy_metric="accuracy", space=PARAMETER):
    table = correlation_table(data, accuracy_metric)
    return render(metrics_within_models.draw(data, table, accuracy_metric, space))


def panel(figure, beginning):
    (axes,) = [axes for axes in panels(figure) if axes.get_title().startswith(beginning)]
    return axes


def points_of(axes, model):
    """(n, 2): metric and outcome."""
    (line,) = [line for line in axes.lines if line.get_marker() == look(model)[1]]
    return np.column_stack([line.get_xdata(), line.get_ydata()])


def slope_of(axes):
    (line,) = [line for line in axes.lines if line.get_marker() == "None"]
    return line.get_slope()


@pytest.mark.parametrize("accuracy_metric", ["accuracy", "generalisation_gap"])
def test_points_are_z_scores_within_models_and_their_mean_product_the_slope(accuracy_metric):
    data = measured(seeds=6)
    axes = panel(draw(data, accuracy_metric), "Hessian trace")
    sign = -1 if accuracy_metric == "generalisation_gap" else 1
    products = []
    for model in FOUR:
        mine = data[data.model == model].set_index("metric").value
        raw = np.column_stack([mine["hessian_trace"], sign * mine[accuracy_metric]])
        expected = (raw - raw.mean(axis=0)) / raw.std(axis=0)
        assert points_of(axes, model) == pytest.approx(expected)
        products += list(expected.prod(axis=1))
    assert slope_of(axes) == pytest.approx(np.mean(products))


def test_what_differs_between_models_alone_leaves_nothing_within():
    """The means of models lie on a rising line, the seeds of each on a falling one."""
    rows = []
    for number, model in enumerate(FOUR):
        for seed in range(5):
            key = ["e", seed, model]
            rows.append(
                [*key, "prediction_space", "accuracy", 0.2 * number + 0.01 * seed, math.nan, "no", ""]
            )
            rows.append([*key, PARAMETER, "hessian_trace", 10.0 * number - 0.1 * seed, math.nan, "no", ""])
    data = pd.DataFrame(rows, columns=measured().columns)
    axes = panel(draw(data), "Hessian trace")
    assert slope_of(axes) == pytest.approx(-1)
    assert axes.get_title().startswith("Hessian trace\nτ = −1.00")


def test_tau_is_told_with_a_star_where_it_is_shown():
    data = measured(seeds=3)
    table = correlation_table(data, "accuracy")
    pooled = (table.model == "all_models") & (table.coefficient == "kendall")
    table.loc[pooled & (table.metric == "hessian_trace"), ["value", "p_adjusted"]] = [0.5, 0.04]
    table.loc[pooled & (table.metric == "pac_bayes_sigma"), ["value", "p_adjusted"]] = [-0.25, 0.06]
    table.loc[pooled & (table.metric == "sharpness_orig"), ["value", "p_adjusted"]] = [None, None]
    figure = render(metrics_within_models.draw(data, table, "accuracy", PARAMETER))
    assert titles(figure)[:2] == ["Hessian trace\nτ = 0.50*", "PAC-Bayes σ\nτ = −0.25"]
    assert "τ" not in titles(figure)[2]


def test_bounds_constant_numbers_and_models_of_two_seeds_are_left_out_and_counted():
    data = measured(seeds=4)
    trace = data.metric == "hessian_trace"
    data.loc[trace & (data.model == "parent_1") & (data.seed == 0), "censored"] = "right"
    data.loc[trace & (data.model == "parent_2"), "value"] = 7.0
    data.loc[trace & (data.model == "naive_fused") & (data.seed < 2), "value"] = math.nan
    axes = panel(draw(data), "Hessian trace")
    assert len(points_of(axes, "parent_1")) == 3
    assert len(points_of(axes, "geometric_fused")) == 4
    assert sum(len(line.get_xdata()) for line in axes.lines if line.get_marker() != "None") == 7
    assert axes.get_title().endswith("9 of 16 left out")


def test_fewer_seeds_than_three_give_a_sentence_and_no_panels():
    for seeds in (1, 2):
        figure = draw(measured(seeds=seeds))
        assert not figure.axes
        (text,) = [text.get_text() for text in figure.texts]
        assert text.replace("\n", " ") == (
            "digits_vgg11: parameter space: no model has 3 seeds with different numbers to compare within it"
        )


def test_the_title_says_which_way_is_up_and_in_which_units():
    figure = draw(measured(), "generalisation_gap", INPUT)
    title = figure.get_suptitle().splitlines()
    assert title[0] == "digits_vgg11: input space and minus the generalisation gap, within models"
    assert "standard deviations" in title[1]
    assert "slope: Pearson's r" in legend_texts(figure)
