"""Learning curves, on ordinary and on odd data."""

import math

import pytest
from plot_cases import curves, legend_texts, render

from fusionscope.report.plots.learning_curves import draw
from fusionscope.report.style import PARENT_COLOURS

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize(("seeds", "epochs"), [(1, 1), (1, 30), (20, 30), (3, 1)])
def test_learning_curves_have_a_line_per_seed_and_a_median_of_several(seeds, epochs):
    figure = render(draw(curves(seeds, epochs)))
    loss, accuracy = figure.axes
    assert loss.get_yscale() == "log"
    assert loss.get_ylabel() == "loss (nats)"
    assert accuracy.get_ylabel() == "accuracy (%)"
    assert len(loss.lines) == len(accuracy.lines) == 4 * (seeds + (seeds > 1))
    assert ("median of seeds" in legend_texts(figure)) == (seeds > 1)


def test_train_curves_are_dashed_and_validation_curves_solid():
    loss, _ = render(draw(curves(1))).axes
    assert [line.get_linestyle() for line in loss.lines] == ["-", "--", "-", "--"]


def test_learning_curves_show_any_number_of_parents():
    figure = render(draw(curves(1, parents=11)))
    assert legend_texts(figure)[:11] == [f"parent {number}" for number in range(1, 12)]
    loss, _ = figure.axes
    assert [line.get_color() for line in loss.lines[:10:2]] == list(PARENT_COLOURS)


def test_learning_curves_survive_zero_missing_and_infinite_losses():
    data = curves()
    data.loc[0, "train_loss"], data.loc[1, "train_loss"], data.loc[2, "train_loss"] = 0, math.nan, math.inf
    render(draw(data))
