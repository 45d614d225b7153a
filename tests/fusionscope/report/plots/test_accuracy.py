"""The accuracies of parents and children."""

import math

import pytest
from plot_cases import FOUR, SIX, TEN_CLASSES, cell_texts, legend_texts, measured, render

from fusionscope.report.chance import Chance
from fusionscope.report.plots.accuracy import draw
from fusionscope.report.style import look

pytestmark = pytest.mark.filterwarnings("error")


def with_accuracies(models, seeds=3, **accuracies):
    """Tidy rows in which each model named has that accuracy in all seeds."""
    data = measured(models, seeds)
    for model, accuracy in accuracies.items():
        data.loc[(data.metric == "accuracy") & (data.model == model), "value"] = accuracy
    return data


def drawn(data, chance=TEN_CLASSES):
    figure = render(draw(data, chance))
    return figure, figure.axes


def dots_of(axes, model, models):
    colour, shape = look(model, models)
    return [line for line in axes.lines if (line.get_color(), line.get_marker()) == (colour, shape)]


@pytest.mark.parametrize(("models", "seeds"), [(FOUR[:2], 1), (FOUR, 5), (SIX, 20)])
def test_accuracies_are_dots_in_per_cent_with_the_parents_first(models, seeds):
    figure, (axes, *_) = drawn(measured(models[::-1], seeds))
    labels = [label.get_text().replace("\n", " ") for label in axes.get_yticklabels()]
    assert labels[:2] == ["parent 1", "parent 2"]
    assert set(labels) == {model.replace("_", " ") for model in models}
    assert axes.get_xlim() == (0, 100)
    for model in models:
        (dots,) = dots_of(axes, model, models)
        assert len(dots.get_xdata()) == seeds
    assert any("ensemble" in text for text in legend_texts(figure)) == (len(models) > 2)
    assert any("std" in text for text in legend_texts(figure)) == (seeds > 1)
    assert figure.get_suptitle() == "digits_vgg11: test accuracy"


def test_chance_is_a_line_at_the_share_of_the_commonest_class():
    figure, (axes, *_) = drawn(measured(), Chance(images=200, commonest=50, classes=10))
    (line,) = [line for line in axes.lines if line.get_label() == "chance (25.0 %)"]
    assert list(line.get_xdata()) == [25, 25]
    assert "chance (25.0 %)" in legend_texts(figure)


def test_where_children_are_far_below_the_parents_and_what_is_near_are_enlarged():
    accuracies = {"parent_1": 0.97, "parent_2": 0.95, "naive_fused": 0.10, "geometric_fused": 0.90}
    data = with_accuracies(FOUR, **accuracies)
    data.loc[data.metric == "parents_ensemble_accuracy", "value"] = 0.98
    _, (whole, part) = drawn(data)
    assert whole.get_xlim() == (0, 100)
    assert part.get_xlim() == pytest.approx((89.2, 98.8))  # from 90 to 98, and a tenth of that on each side
    shaded = [patch.get_extents().transformed(whole.transData.inverted()) for patch in whole.patches]
    assert any((box.x0, box.x1) == pytest.approx(part.get_xlim()) for box in shaded)
    assert whole.get_ylim() == part.get_ylim()
    for axes in (whole, part):
        for model in FOUR:
            (dots,) = dots_of(axes, model, FOUR)
            assert list(dots.get_xdata()) == pytest.approx([100 * accuracies[model]] * 3)
    texts = cell_texts(part)
    assert texts == ["97.0 ± 0.0 %", "95.0 ± 0.0 %", "10.0 ± 0.0 %", "90.0 ± 0.0 %"]


@pytest.mark.parametrize(
    "accuracies",
    [
        {"parent_1": 0.97, "parent_2": 0.95, "naive_fused": 0.9, "geometric_fused": 0.93},  # all near
        {"parent_1": 0.97, "parent_2": 0.2, "naive_fused": 0.1, "geometric_fused": 0.1},  # parents far apart
    ],
)
def test_nothing_is_enlarged_where_that_would_show_no_more(accuracies):
    _, panels = drawn(with_accuracies(FOUR, **accuracies))
    assert len(panels) == 1


def test_what_is_enlarged_stays_within_what_is_possible_and_is_not_blown_up():
    accuracies = {"parent_1": 1.0, "parent_2": 1.0, "naive_fused": 0.1, "geometric_fused": 0.1}
    data = with_accuracies(FOUR, seeds=1, **accuracies)
    data.loc[data.metric == "parents_ensemble_accuracy", "value"] = 1.0
    _, (_, part) = drawn(data)
    assert part.get_xlim() == (99, 100)


def test_a_model_without_a_number_keeps_its_place_among_the_accuracies():
    data = measured()
    data.loc[(data.metric == "accuracy") & (data.model == "naive_fused"), "value"] = math.nan
    _, panels = drawn(data)
    assert len(panels[0].get_yticks()) == 4
    assert "no value" in cell_texts(panels[-1])


def test_seeds_without_a_number_are_left_out_of_the_mean_and_counted():
    data = measured(seeds=3)
    mine = (data.metric == "accuracy") & (data.model == "naive_fused")
    data.loc[mine, "value"] = [0.2, math.nan, 0.4]
    _, panels = drawn(data)
    assert "30.0 ± 14.1 %\n1 of 3 without a value" in cell_texts(panels[-1])
