"""The accuracies of parents and children."""

import math

import pytest
from plot_cases import FOUR, SIX, cell_texts, legend_texts, measured, render

from fusionscope.report.plots.accuracy import draw
from fusionscope.report.style import look

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize(("models", "seeds"), [(FOUR[:2], 1), (FOUR, 5), (SIX, 20)])
def test_accuracies_are_dots_in_per_cent_with_the_parents_first(models, seeds):
    figure = render(draw(measured(models[::-1], seeds)))
    (axes,) = figure.axes
    labels = [label.get_text().replace("\n", " ") for label in axes.get_yticklabels()]
    assert labels[:2] == ["parent 1", "parent 2"]
    assert set(labels) == {model.replace("_", " ") for model in models}
    assert axes.get_xlim() == (0, 100)
    markers = {look(model, models)[1] for model in models}
    dots = [line for line in axes.lines if line.get_marker() in markers]
    assert len(dots) == len(models)
    assert all(len(line.get_xdata()) == seeds for line in dots)
    assert any("ensemble" in text for text in legend_texts(figure)) == (len(models) > 2)


def test_a_model_without_a_number_keeps_its_place_among_the_accuracies():
    data = measured()
    data.loc[(data.metric == "accuracy") & (data.model == "naive_fused"), "value"] = math.nan
    (axes,) = render(draw(data)).axes
    assert len(axes.get_yticks()) == 4
    assert "no value" in cell_texts(axes)


def test_seeds_without_a_number_are_left_out_of_the_mean_and_counted():
    data = measured(seeds=3)
    mine = (data.metric == "accuracy") & (data.model == "naive_fused")
    data.loc[mine, "value"] = [0.2, math.nan, 0.4]
    (axes,) = render(draw(data)).axes
    assert "30.0 ± 14.1 %\n1 of 3 without a value" in cell_texts(axes)
