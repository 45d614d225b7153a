"""Learning curves, on ordinary and on odd data."""

import math

import pytest
from plot_cases import curves, legend_texts, render

from fusionscope.report.plots.learning_curves import draw
from fusionscope.report.style import PARENT_COLOURS

pytestmark = pytest.mark.filterwarnings("error")


def rings(axes):
    return [line for line in axes.lines if line.get_markerfacecolor() == "white"]


@pytest.mark.parametrize(("seeds", "epochs"), [(1, 1), (1, 30), (20, 30), (3, 1)])
def test_learning_curves_have_a_line_per_seed_and_a_median_of_several(seeds, epochs):
    figure = render(draw(curves(seeds, epochs)))
    loss, accuracy = figure.axes
    assert loss.get_yscale() == "log"
    assert loss.get_ylabel() == "Loss (nats)"
    assert accuracy.get_ylabel() == "Accuracy (%)"
    for axes in (loss, accuracy):
        assert len(axes.lines) - len(rings(axes)) == 4 * (seeds + (seeds > 1))
    assert figure.get_suptitle() == "digits_vgg11: learning curves of the parents"
    assert ("median of seeds" in legend_texts(figure)) == (seeds > 1)


def test_train_curves_are_dashed_and_validation_curves_solid():
    loss, _ = render(draw(curves(1))).axes
    assert [line.get_linestyle() for line in loss.lines if line not in rings(loss)] == ["-", "--", "-", "--"]


def test_learning_curves_show_any_number_of_parents():
    figure = render(draw(curves(1, parents=11)))
    assert legend_texts(figure)[:11] == [f"parent {number}" for number in range(1, 12)]
    loss, _ = figure.axes
    assert [line.get_color() for line in rings(loss)[:5]] == list(PARENT_COLOURS)


def test_learning_curves_survive_zero_missing_and_infinite_losses():
    data = curves()
    data.loc[0, "train_loss"], data.loc[1, "train_loss"], data.loc[2, "train_loss"] = 0, math.nan, math.inf
    render(draw(data))


def test_a_ring_marks_the_first_epoch_of_the_smallest_validation_loss_of_each_seed():
    data = curves(seeds=2, epochs=4, parents=2)
    first, second = [0.9, 0.3, 0.3, 0.5], [0.9, math.inf, 0.5, 0.2]  # kept as training does: 2 and 4
    for seed, losses in ((0, first), (1, second)):
        data.loc[(data.seed == seed) & (data.parent == 1), "validation_loss"] = losses
    figure = render(draw(data.sample(frac=1, random_state=0)))
    loss, accuracy = figure.axes
    ring, _ = rings(loss)
    assert dict(zip(ring.get_xdata(), ring.get_ydata(), strict=True)) == {2: 0.3, 4: 0.2}
    ring, other = rings(accuracy)
    accuracies = {2: 95 - 50 / 2, 4: 95 - 50 / 4}
    assert dict(zip(ring.get_xdata(), ring.get_ydata(), strict=True)) == pytest.approx(accuracies)
    assert list(other.get_xdata()) == [4, 4]  # the losses of the other parent fall
    assert "kept epoch" in legend_texts(figure)
