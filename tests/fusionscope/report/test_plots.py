"""What holds for every plot: it renders without a warning, and shows all that it should."""

import itertools

import pytest
from plot_cases import (
    FOUR,
    LONG,
    SIX,
    TEN_CLASSES,
    correlation,
    curves,
    densities,
    measured,
    paths,
    render,
    similarity,
    variances,
)

from fusionscope.measures.names import INPUT, PARAMETER
from fusionscope.report.plots import (
    accuracy,
    activation_variance,
    connectivity,
    learning_curves,
    metrics_against_accuracy,
    metrics_within_models,
    spectral_density,
)
from fusionscope.report.plots import correlation as correlation_plot
from fusionscope.report.plots import similarity as similarity_plot
from fusionscope.report.save import save_figure

pytestmark = pytest.mark.filterwarnings("error")


def test_where_there_is_nothing_to_plot_the_figure_says_so(tmp_path):
    nothing = measured()[:0]
    figures = [
        learning_curves.draw(curves()[:0]),
        accuracy.draw(nothing, TEN_CLASSES),
        metrics_against_accuracy.draw(nothing, "accuracy", INPUT),
        metrics_against_accuracy.draw(measured().query("metric != 'accuracy'"), "accuracy", INPUT),
        metrics_within_models.draw(nothing, correlation()[:0], "accuracy", INPUT),
        metrics_within_models.draw(measured(seeds=1), correlation(), "accuracy", INPUT),
        spectral_density.draw(densities()[:0]),
        correlation_plot.draw(correlation()[:0], "accuracy"),
        connectivity.draw(paths()[:0], measured(), TEN_CLASSES),
        similarity_plot.draw(similarity()[:0]),
        activation_variance.draw(variances()[:0]),
    ]
    for figure in figures:
        save_figure(figure, [tmp_path / "figure.png"])
        (text,) = figure.texts
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1


def test_nothing_is_cut_off_and_the_legend_stays_off_the_axes():
    for figure in (
        accuracy.draw(measured(SIX, 2), TEN_CLASSES),
        metrics_against_accuracy.draw(measured(SIX, 2), "accuracy", PARAMETER),
        metrics_within_models.draw(measured(SIX), correlation([*SIX, "all_models"]), "accuracy", PARAMETER),
        metrics_within_models.draw(measured(SIX), correlation(), "generalisation_gap", INPUT),
        spectral_density.draw(densities(SIX)),
        learning_curves.draw(curves()),
        correlation_plot.draw(correlation(SIX), "generalisation_gap"),
        learning_curves.draw(curves(parents=7)),
        connectivity.draw(paths(FOUR[2:3], 1), measured(seeds=1), TEN_CLASSES),
        connectivity.draw(
            paths([*SIX[2:], *(f"{LONG}_{number}" for number in range(4))]), measured(SIX), TEN_CLASSES
        ),
        similarity_plot.draw(similarity(FOUR[2:3], groups=["features.0", "features.4"])),
        similarity_plot.draw(similarity([LONG, *(f"{LONG}_{number}" for number in range(5))])),
        activation_variance.draw(variances(FOUR[2:3], seeds=1)),
        activation_variance.draw(variances([*SIX[2:], *(f"{LONG}_{number}" for number in range(4))])),
    ):
        box = render(figure).get_tightbbox()
        assert min(box.x0, box.y0) >= 0
        assert box.x1 <= figure.get_figwidth()
        assert box.y1 <= figure.get_figheight()
        for axes, legend in itertools.product(figure.axes, figure.legends):
            assert not axes.get_tightbbox().overlaps(legend.get_window_extent())
