"""The spectra of Hessians."""

import math

import numpy as np
import pytest
from plot_cases import FOUR, SIX, densities, panels, render, titles

from fusionscope.measures.parameter.density import SMOOTHING
from fusionscope.report.plots.spectral_density import draw

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize(("models", "seeds"), [(FOUR[:1], 1), (FOUR, 5), (SIX[:5], 2), (SIX, 20)])
def test_spectral_densities_have_a_panel_per_model_and_a_line_per_seed(models, seeds):
    figure = render(draw(densities(models, seeds)))
    assert [title.replace("\n", " ") for title in titles(figure)] == [m.replace("_", " ") for m in models]
    for axes in panels(figure):
        assert axes.get_yscale() == "log"
        assert len(axes.lines) == 2 * seeds + 1  # with its Ritz values each, and the line at zero


def test_spectral_densities_share_axes_only_where_eigenvalues_are_of_comparable_size():
    for sizes, limits in (((1, 2, 3, 4), 1), ((100, 80, 0.01, 1000), 4)):
        figure = render(draw(densities(sizes=sizes)))
        assert len({axes.get_xlim() for axes in panels(figure)}) == limits


def test_ticks_of_the_ritz_values_are_where_they_are():
    data = densities(FOUR[:1], 1)
    (axes,) = panels(render(draw(data)))
    (ticks,) = [line for line in axes.lines if line.get_marker() == "|"]
    assert list(ticks.get_xdata()) == list(data.eigenvalue[data.ritz_weight > 0])


def test_ticks_of_the_eigenvalues_are_decades_on_both_sides_of_zero():
    (axes,) = panels(render(draw(densities(FOUR[:1], 1, sizes=(1000,)))))
    assert axes.get_xscale() == "asinh"
    ticks = axes.get_xticks()
    assert list(ticks) == [-1000, 0, 1000]


def test_all_panels_are_smoothed_by_the_smallest_typical_eigenvalue_which_is_told():
    data = densities(FOUR[:2], 1, sizes=(1, 7))
    nodes = np.linspace(-1 / 4, 1, 200)[::20]
    r = math.sqrt(np.mean(nodes**2))  # of the first model; the second's is seven times as large
    figure = render(draw(data))
    for axes, size in zip(panels(figure), (1, 7), strict=True):
        line = axes.lines[0]
        x, y = line.get_xdata(), line.get_ydata()
        widths = SMOOTHING * np.hypot(size * nodes, r)
        bumps = np.exp(-(((x[:, None] - size * nodes) / widths) ** 2) / 2) / (math.sqrt(2 * math.pi) * widths)
        assert y == pytest.approx(0.1 * bumps.sum(axis=1), rel=0.02, abs=1e-6)
    assert f"r = {r:.3g}" in figure.get_supxlabel()
    assert figure.get_suptitle() == "digits_vgg11: spectral density of the Hessian"


def test_a_flat_hessian_does_not_decide_the_smoothing():
    data = densities(FOUR[:2], 1)
    data.loc[data.model == "parent_2", "eigenvalue"] = 0.0
    figure = render(draw(data))
    typical = math.sqrt(np.mean(np.linspace(-1 / 4, 1, 200)[::20] ** 2))
    assert f"r = {typical:.3g}" in figure.get_supxlabel()
