"""The heat map of similarities."""

import itertools
import math

import pytest
from matplotlib.colors import to_hex
from plot_cases import FOUR, SIX, cell_texts, panels, render, similarity, titles

from fusionscope.report.plots.similarity import UNDER, draw

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize(("children", "parents"), [(FOUR[2:3], 2), (FOUR[2:], 3), (SIX[2:], 12)])
def test_similarities_have_a_block_per_child_with_groups_down_and_parents_across(children, parents):
    figure = render(draw(similarity(children, parents)))
    blocks = panels(figure)
    found = [title.replace("\n", " ") for title in titles(figure)]
    assert found == [child.replace("_", " ") for child in children]
    labels = [label.get_text() for label in blocks[0].get_yticklabels()]
    assert labels == ["features.0", "features.4", "features.10"]
    for axes in blocks:
        across = [label.get_text() for label in axes.get_xticklabels()]
        assert figure.get_suptitle() == "digits_vgg11: similarity of children to their parents"
        assert across == [f"parent {number}" for number in range(1, parents + 1)]
    assert figure.axes[-1].get_ylabel() == "Debiased CKA, mean of 2 seeds"


def test_a_cell_is_the_mean_over_the_seeds_that_have_a_number():
    data = similarity(FOUR[2:3])
    cell = (data.parent == "parent_2") & (data.group == "features.4")
    data.loc[cell & (data.seed == 1), "cka"] = math.nan
    data.loc[(data.parent == "parent_1") & (data.group == "features.10"), "cka"] = math.nan
    figure = render(draw(data))
    (axes,) = panels(figure)
    assert cell_texts(axes) == ["0.84", "0.79", "0.64", "0.60", "0.39"]
    assert [patch.get_xy() for patch in axes.patches if patch.get_hatch()] == [(-0.5, 1.5)]
    assert "no number" in figure.get_supxlabel()


def test_without_gaps_nothing_is_said_about_hatching_and_one_seed_is_no_mean():
    figure = render(draw(similarity(seeds=1)))
    assert figure.get_supxlabel() == ""
    assert figure.axes[-1].get_ylabel() == "Debiased CKA"


@pytest.mark.parametrize(("count", "numbers"), [(2, True), (40, True), (60, False), (300, False)])
def test_texts_of_the_similarities_stay_apart(count, numbers):
    groups = [f"layer{number}.conv1" for number in range(count)]
    figure = render(draw(similarity(SIX[1:], 2, groups)))
    axes, *_ = panels(figure)
    assert len(cell_texts(axes)) == (2 * count if numbers else 0)
    boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert all(above.y0 >= below.y1 for above, below in itertools.pairwise(boxes))
    assert figure.get_figheight() < 11


def test_what_is_below_zero_has_a_colour_of_its_own_and_is_explained():
    data = similarity(FOUR[2:3], seeds=1)
    cell = (data.parent == "parent_2") & (data.group == "features.4")
    data.loc[cell, "cka"] = -0.034
    tiny = (data.parent == "parent_1") & (data.group == "features.10")
    data.loc[tiny, "cka"] = -0.004
    figure = render(draw(data))
    (axes,) = panels(figure)
    assert cell_texts(axes) == ["0.85", "0.80", "0.65", "\N{MINUS SIGN}0.03", "0.00", "0.40"]
    colours = [to_hex(colour).upper() for colour in axes.collections[0].get_facecolor()]
    assert [number for number, colour in enumerate(colours) if colour == UNDER] == [3]
    assert "below zero" in figure.get_supxlabel()
    assert "below zero" not in render(draw(similarity())).get_supxlabel()
