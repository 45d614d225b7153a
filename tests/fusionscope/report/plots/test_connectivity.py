"""Paths between parents."""

import math

import numpy as np
import pandas as pd
import pytest
from plot_cases import FOUR, LONG, SIX, TEN_CLASSES, legend_texts, measured, paths, render

from fusionscope.report.chance import Chance
from fusionscope.report.plots import connectivity
from fusionscope.report.style import look, wrapped

pytestmark = pytest.mark.filterwarnings("error")


def draw(paths, measurements, chance=TEN_CLASSES):
    return connectivity.draw(paths, measurements, chance)


def solid(axes):
    """Lines of paths and of their means."""
    return [line for line in axes.lines if line.get_linestyle() == "-"]


def lines_of(axes, style):
    return [line for line in axes.lines if line.get_linestyle() == style]


@pytest.mark.parametrize(
    ("fusions", "seeds", "points"), [(FOUR[2:3], 1, 2), (FOUR[2:], 1, 11), (SIX[2:], 20, 51)]
)
def test_connectivity_has_a_line_per_seed_and_a_mean_of_several_for_each_fusion(fusions, seeds, points):
    figure = render(draw(paths(fusions, seeds, points), measured([*FOUR[:2], *fusions], seeds)))
    loss, accuracy = figure.axes
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("Test loss (nats)", "Test accuracy (%)")
    lines = (seeds + 1) * len(fusions) if seeds > 1 else len(fusions)
    assert len(solid(loss)) == len(solid(accuracy)) == lines
    assert (len(lines_of(loss, "--")), len(lines_of(accuracy, "--"))) == (0, 1)  # the ensemble
    assert figure.get_suptitle() == "digits_vgg11: on the line between the parents"
    expected = [wrapped(fusion) for fusion in fusions]
    assert legend_texts(figure)[: len(fusions)] == expected
    assert ("mean of seeds" in legend_texts(figure)) == (seeds > 1)
    for fusion in fusions:
        colour, shape = look(fusion, fusions)
        (mean,) = (line for line in loss.lines if (line.get_color(), line.get_marker()) == (colour, shape))
        assert mean.get_linewidth() > 1


def test_connectivity_shows_the_paths_and_their_mean():
    data = paths(FOUR[2:3], seeds=2, points=3)
    loss, accuracy = render(draw(data, measured()[:0])).axes
    for axes, quantity, factor in ((loss, "loss", 1), (accuracy, "accuracy", 100)):
        seeds = [factor * data[data.seed == seed][quantity].to_numpy() for seed in (0, 1)]
        expected = [*seeds, (seeds[0] + seeds[1]) / 2]
        for line, values in zip(solid(axes), expected, strict=True):
            assert list(line.get_xdata()) == [0, 0.5, 1]
            assert line.get_ydata() == pytest.approx(values)


def test_with_several_parents_each_path_to_the_reference_is_a_line_of_its_own():
    both = [paths(FOUR[2:3], 1, 3, top, parent) for top, parent in ((1, "parent_1"), (3, "parent_3"))]
    figure = render(draw(pd.concat(both, ignore_index=True), measured()))
    one, other, mean = (line.get_ydata() for line in solid(figure.axes[0]))
    assert [one, other] == [pytest.approx(table.loss.to_numpy()) for table in both]
    assert mean == pytest.approx((one + other) / 2)
    assert {"one seed and parent", "mean of all"} < set(legend_texts(figure))


def test_connectivity_shows_the_ensemble_of_the_parents_where_it_was_measured():
    figure = render(draw(paths(), measured()))
    loss, accuracy = figure.axes
    (ensemble,) = (line for line in accuracy.lines if line.get_linestyle() == "--")
    assert list(ensemble.get_ydata()) == pytest.approx([98, 98])
    assert "ensemble of the parents (98.0 %)" in legend_texts(figure)
    assert not lines_of(loss, "--")
    without = measured().query("metric != 'parents_ensemble_accuracy'")
    assert "ensemble" not in " ".join(legend_texts(render(draw(paths(), without))))


def test_a_fusion_without_a_path_does_not_change_how_the_others_look():
    figure = render(draw(paths(["weight_matching"], 1), measured([*SIX, "weight_matching"])))
    expected = look("weight_matching", [*SIX, "weight_matching"])
    assert expected != look("weight_matching", ["weight_matching"])
    (line,) = solid(figure.axes[0])
    assert (line.get_color(), line.get_marker()) == expected


def test_long_names_in_the_legend_leave_the_panels_their_height():
    heights = [
        render(draw(paths(fusions), measured([*FOUR[:2], *fusions]))).axes[0].bbox.height
        for fusions in (FOUR[2:3], [f"{LONG}_{number}" for number in range(6)])
    ]
    assert heights[1] > 0.8 * heights[0]


@pytest.mark.parametrize(("top", "expected"), [(2, "linear"), (1e4, "log")])
def test_losses_on_a_path_have_the_scale_that_they_need(top, expected):
    loss, accuracy = render(draw(paths(top=top), measured())).axes
    assert loss.get_yscale() == expected
    assert accuracy.get_yscale() == "linear"


def test_a_path_breaks_where_a_seed_has_no_loss():
    data = paths(FOUR[2:3], seeds=2, points=5)
    data.loc[2, "loss"], data.loc[6, "loss"] = math.inf, math.nan
    loss, _ = render(draw(data, measured())).axes
    *_, mean = (line.get_ydata() for line in solid(loss))
    assert list(np.isnan(mean)) == [False, True, True, False, False]


def test_a_dotted_line_goes_straight_between_the_means_at_the_ends_of_each_fusion():
    data = paths(seeds=2, points=5, top=1e4)  # a logarithmic axis of losses, on which it is bent
    data.loc[(data.fusion == "geometric_fused") & (data.share == 1), "accuracy"] = 0.5
    loss, accuracy = render(draw(data, measured())).axes
    assert loss.get_yscale() == "log"
    for axes, quantity, factor in ((loss, "loss", 1), (accuracy, "accuracy", 100)):
        for line, fusion in zip(lines_of(axes, ":"), FOUR[2:], strict=True):
            mine = data[data.fusion == fusion]
            start, end = (factor * mine[quantity][mine.share == share].mean() for share in (0, 1))
            shares = np.asarray(line.get_xdata())
            assert (shares[0], shares[-1]) == (0, 1)
            assert line.get_ydata() == pytest.approx((1 - shares) * start + shares * end)


def test_chance_is_a_line_in_both_panels():
    chance = Chance(images=100, commonest=20, classes=7)
    figure = render(draw(paths(top=9.0), measured(), chance))
    loss, accuracy = figure.axes
    ((of_loss,), (of_accuracy,)) = (lines_of(axes, "-.") for axes in (loss, accuracy))
    assert list(of_loss.get_ydata()) == pytest.approx([math.log(7)] * 2)
    assert list(of_accuracy.get_ydata()) == [20, 20]
    assert loss.get_ylim()[0] < math.log(7) < loss.get_ylim()[1]
    assert "chance (20.0 %, 1.95 nats)" in " ".join(legend_texts(figure)).replace("\n", " ")


def test_small_losses_keep_their_scale_though_chance_is_far_above():
    loss, _ = render(draw(paths(top=0.2), measured())).axes
    assert loss.get_ylim()[1] < 1 < TEN_CLASSES.loss
