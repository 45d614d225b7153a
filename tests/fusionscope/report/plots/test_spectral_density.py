"""The spectra of Hessians."""

import pytest
from plot_cases import FOUR, SIX, densities, panels, render, titles

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
