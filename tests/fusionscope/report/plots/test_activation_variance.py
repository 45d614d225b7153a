"""The plot of variances by layer."""

import itertools

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from plot_cases import FOUR, SIX, legend_texts, render, variances

from fusionscope.report.plots.activation_variance import SMALLEST_RATIO, draw
from fusionscope.report.style import look

pytestmark = pytest.mark.filterwarnings("error")


def curves_of(axes):
    return [line for line in axes.lines if len(line.get_xdata()) > 2]


def test_each_child_has_the_geometric_mean_of_its_seeds_and_a_band_around():
    data = variances()
    (axes,) = render(draw(data)).axes
    lines, bands = curves_of(axes), [c for c in axes.collections if isinstance(c, PolyCollection)]
    assert [line.get_color() for line in lines] == [look(child)[0] for child in FOUR[2:]]
    for child, line, band in zip(FOUR[2:], lines, bands, strict=True):
        table = data[data.model == child].pivot(index="layer", columns="seed", values="ratio")
        table = table.loc[["conv1", "layer2", "layer10"]]
        assert line.get_ydata() == pytest.approx(np.sqrt(table[0] * table[1]), rel=1e-12)
        edges = {round(y, 9) for _, y in band.get_paths()[0].vertices}
        assert edges == {round(value, 9) for value in table.to_numpy().ravel()}
    assert [label.get_text() for label in axes.get_xticklabels()] == ["conv1", "layer2", "layer10"]
    assert axes.get_yscale() == "log"
    assert axes.get_figure().get_suptitle().startswith("digits_vgg11: ")


def test_one_is_marked_and_in_sight_even_where_all_is_far_below():
    data = variances()
    (axes,) = render(draw(data.assign(ratio=data.ratio / 1e4))).axes
    assert any(set(line.get_ydata()) == {1} for line in axes.lines)
    low, high = axes.get_ylim()
    assert low < data.ratio.min() / 1e4
    assert high > 1


def test_one_seed_has_no_band_and_the_legend_does_not_speak_of_seeds():
    figure = render(draw(variances(seeds=1)))
    assert not figure.axes[0].collections
    assert legend_texts(figure) == ["naive fused", "geometric fused"]
    assert legend_texts(render(draw(variances())))[2:] == ["geometric mean of seeds", "smallest to largest"]


def test_what_does_not_vary_is_at_the_bottom_and_what_is_undefined_is_left_out():
    data = variances(FOUR[2:3], seeds=1)
    data.loc[data.layer == "layer2", "ratio"] = 0.0
    data.loc[data.layer == "layer10", "ratio"] = np.nan
    (axes,) = render(draw(data)).axes
    (line,) = [line for line in axes.lines if line.get_marker() not in ("None", None, "")]
    assert line.get_ydata().tolist() == [pytest.approx(data.ratio[0]), pytest.approx(SMALLEST_RATIO)]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["conv1", "layer2"]


@pytest.mark.parametrize("count", [2, 40, 300])
def test_names_of_layers_stay_apart(count):
    layers = [f"layer{number}.conv1" for number in range(count)]
    figure = render(draw(variances(SIX[2:], layers)))
    labels = figure.axes[0].get_xticklabels()
    assert labels
    boxes = [label.get_window_extent() for label in labels]
    assert all(left.x1 <= right.x0 for left, right in itertools.pairwise(boxes))
    assert figure.get_figwidth() <= 16
