"""Every plot renders without a warning, on ordinary and on odd data, and shows what it should."""
# ruff: noqa: RUF001  (Greek letters and minus signs are meant)

import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from fusionscope import plots
from fusionscope.measurement import COLUMNS
from fusionscope.tables import CORRELATION_COLUMNS

pytestmark = pytest.mark.filterwarnings("error")

ACCURACIES = {"parent_1": 0.97, "parent_2": 0.968, "naive_fused": 0.1, "geometric_fused": 0.4}
FOUR = list(ACCURACIES)
LONG = "geometric_fused_by_activations_with_sinkhorn_regularisation_0.05_and_repair"
SIX = [*FOUR, "activation_fused", LONG]
METRICS = {  # typical sizes
    "input_space": {"lipschitz_constant": 30, "lipschitz_upper_bound": 1e5},
    "parameter_space": {"hessian_trace": 900, "pac_bayes_sigma": 0.02, "sharpness_orig": 1e11},
    "prediction_space": {"train_loss": 0.01, "generalisation_gap": 0.02},
}
NAMES = {metric for metrics in METRICS.values() for metric in metrics}


def measured(models=FOUR, seeds=3):
    stream = np.random.default_rng(0)
    rows = []
    for seed in range(seeds):
        for model in models:
            key = ["digits_vgg11", seed, model]
            accuracy = ACCURACIES.get(model, 0.6) + 0.01 * stream.random()
            rows.append([*key, "prediction_space", "accuracy", accuracy, 0.01, "no"])
            if not model.startswith("parent"):
                rows.append([*key, "prediction_space", "parents_ensemble_accuracy", 0.98, 0.01, "no"])
            for space, metrics in METRICS.items():
                for metric, size in metrics.items():
                    rows.append([*key, space, metric, size * stream.lognormal(), math.nan, "no"])
    return pd.DataFrame(rows, columns=list(COLUMNS))


def curves(seeds=2, epochs=5):
    rows = [
        [seed, parent, epoch, 0.1, 2 / epoch, 1 - 0.5 / epoch, 2.2 / epoch, 0.95 - 0.5 / epoch]
        for seed in range(seeds)
        for parent in (1, 2)
        for epoch in range(1, epochs + 1)
    ]
    columns = ["seed", "parent", "epoch", "learning_rate"]
    columns += ["train_loss", "train_accuracy", "validation_loss", "validation_accuracy"]
    return pd.DataFrame(rows, columns=columns)


def densities(models=FOUR, seeds=2, sizes=(1, 1, 1, 1, 1, 1)):
    grids = []
    for model, size in zip(models, sizes, strict=False):
        eigenvalue = np.linspace(-size / 4, size, 200)
        density = np.exp(-((eigenvalue / size * 60) ** 2)) / size  # zero in its tails
        for seed in range(seeds):
            grid = {"model": model, "seed": seed, "eigenvalue": eigenvalue, "density": density}
            grids.append(pd.DataFrame(grid))
    return pd.concat(grids, ignore_index=True)


def correlation(models=FOUR, metrics=("hessian_trace", "train_loss")):
    rows = [
        ["digits_vgg11", model, "some_space", metric, coefficient, -0.75, 0.01, -0.9, -0.5, 5, ""]
        for model in models
        for metric in metrics
        for coefficient in ("kendall", "pearson", "spearman")
    ]
    return pd.DataFrame(rows, columns=CORRELATION_COLUMNS)


def render(figure):
    figure.draw_without_rendering()
    return figure


def panels(figure):
    return [axes for axes in figure.axes if axes.get_title()]


def titles(figure):
    return [axes.get_title() for axes in panels(figure)]


def legend_texts(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def cell_texts(axes):
    return [text.get_text() for text in axes.texts]


@pytest.mark.parametrize(("seeds", "epochs"), [(1, 1), (1, 30), (20, 30), (3, 1)])
def test_learning_curves_have_a_line_per_seed_and_a_median_of_several(seeds, epochs):
    figure = render(plots.learning_curves(curves(seeds, epochs)))
    loss, accuracy = figure.axes
    assert loss.get_yscale() == "log"
    assert loss.get_ylabel() == "loss (nats)"
    assert accuracy.get_ylabel() == "accuracy (%)"
    assert len(loss.lines) == len(accuracy.lines) == 4 * (seeds + (seeds > 1))
    assert ("median of seeds" in legend_texts(figure)) == (seeds > 1)


def test_train_curves_are_dashed_and_validation_curves_solid():
    loss, _ = render(plots.learning_curves(curves(1))).axes
    assert [line.get_linestyle() for line in loss.lines] == ["-", "--", "-", "--"]


def test_learning_curves_survive_zero_missing_and_infinite_losses():
    data = curves()
    data.loc[0, "train_loss"], data.loc[1, "train_loss"], data.loc[2, "train_loss"] = 0, math.nan, math.inf
    render(plots.learning_curves(data))


@pytest.mark.parametrize(("models", "seeds"), [(FOUR[:2], 1), (FOUR, 5), (SIX, 20)])
def test_accuracies_are_dots_in_per_cent_with_the_parents_first(models, seeds):
    figure = render(plots.accuracies(measured(models[::-1], seeds)))
    (axes,) = figure.axes
    labels = [label.get_text().replace("\n", " ") for label in axes.get_yticklabels()]
    assert labels[:2] == ["parent 1", "parent 2"]
    assert set(labels) == {model.replace("_", " ") for model in models}
    assert axes.get_xlim() == (0, 100)
    dots = [line for line in axes.lines if line.get_marker() in {look[1] for look in plots.LOOKS.values()}]
    assert all(len(line.get_xdata()) == seeds for line in dots)
    assert any("ensemble" in text for text in legend_texts(figure)) == (len(models) > 2)


def test_a_model_without_a_number_keeps_its_place_among_the_accuracies():
    data = measured()
    data.loc[(data.metric == "accuracy") & (data.model == "naive_fused"), "value"] = math.nan
    (axes,) = render(plots.accuracies(data)).axes
    assert len(axes.get_yticks()) == 4
    assert "no value" in cell_texts(axes)


@pytest.mark.parametrize(
    ("models", "seeds", "accuracy_metric"),
    [(FOUR[:2], 1, "accuracy"), (SIX, 20, "accuracy"), (FOUR, 3, "generalisation_gap")],
)
def test_every_metric_but_the_accuracy_has_a_panel(models, seeds, accuracy_metric):
    figure = render(plots.metrics_against_accuracy(measured(models, seeds), accuracy_metric))
    shown = NAMES | {"accuracy"} | ({"parents_ensemble_accuracy"} if len(models) > 2 else set())
    shown -= {accuracy_metric}
    assert set(titles(figure)) == {plots.with_unit(metric) for metric in shown}
    assert len(figure.axes) == len(shown)
    assert legend_texts(figure) == [plots.wrapped(model) for model in models]
    headers = {part.get_suptitle() for part in figure.subfigs}
    assert headers == {"prediction space", "input space", "parameter space"}


def test_bounds_are_hollow_markers():
    data = measured()
    bound = (data.metric == "pac_bayes_sigma") & (data.model == "naive_fused")
    data.loc[bound, ["value", "censored"]] = [10.0, "right"]
    figure = render(plots.metrics_against_accuracy(data[data.space != "input_space"], "accuracy"))
    for axes in panels(figure):
        hollow = [line for line in axes.lines if to_rgba(line.get_markerfacecolor())[3] == 0]
        expected = bound.sum() if axes.get_title() == "PAC-Bayes σ" else 0
        assert sum(len(line.get_xdata()) for line in hollow) == expected
    assert any("bound" in text for text in legend_texts(figure))


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1, 2, 50], "linear"), ([1, 10, 1e6], "log"), ([-1, 2, 3, 1e5], "symlog"), ([0, 0, 0], "linear")],
)
def test_an_axis_has_the_scale_that_its_values_need(values, expected):
    data = measured(FOUR[:1], len(values))
    data = data[data.metric.isin(["accuracy", "hessian_trace"])]
    data.loc[data.metric == "hessian_trace", "value"] = values
    (axes,) = panels(render(plots.metrics_against_accuracy(data, "accuracy")))
    assert axes.get_xscale() == expected


def test_values_that_cannot_be_shown_are_counted_in_the_title():
    data = measured(FOUR[:2])
    data.loc[data.metric == "hessian_trace", "value"] = math.nan
    data.loc[(data.metric == "sharpness_orig") & (data.seed == 1), "value"] = math.inf
    figure = render(plots.metrics_against_accuracy(data, "accuracy"))
    assert "Hessian trace\n6 of 6 without a number" in titles(figure)
    assert "sharpness orig\n2 of 6 without a number" in titles(figure)


def test_spaces_that_are_switched_off_are_left_out():
    data = measured(FOUR[:2])
    figure = plots.metrics_against_accuracy(data[data.space != "parameter_space"], "accuracy")
    assert len(render(figure).subfigs) == 2


@pytest.mark.parametrize(("models", "seeds"), [(FOUR[:1], 1), (FOUR, 5), (SIX[:5], 2), (SIX, 20)])
def test_spectral_densities_have_a_panel_per_model_and_a_line_per_seed(models, seeds):
    figure = render(plots.spectral_densities(densities(models, seeds)))
    assert [title.replace("\n", " ") for title in titles(figure)] == [m.replace("_", " ") for m in models]
    for axes in panels(figure):
        assert axes.get_yscale() == "log"
        assert len(axes.lines) == seeds + 1  # and the line at zero


def test_spectral_densities_share_axes_only_where_eigenvalues_are_of_comparable_size():
    for sizes, limits in (((1, 2, 3, 4), 1), ((100, 80, 0.01, 1000), 4)):
        figure = render(plots.spectral_densities(densities(sizes=sizes)))
        assert len({axes.get_xlim() for axes in panels(figure)}) == limits


@pytest.mark.parametrize("models", [FOUR[:2], [*SIX, "all_models"]])
def test_the_heat_map_prints_each_coefficient_with_a_star_where_it_is_significant(models):
    data = correlation(models)
    data.loc[0, ["value", "p_value"]] = [0.333, 0.4]
    kendall, pearson, spearman = panels(render(plots.correlation_heatmap(data, "accuracy")))
    assert [axes.get_title() for axes in (kendall, pearson, spearman)] == [
        "Kendall τ",
        "Pearson r",
        "Spearman ρ",
    ]
    assert cell_texts(kendall)[0] == "0.33"
    assert cell_texts(pearson) == ["−0.75*"] * 2 * len(models)
    labels = [label.get_text() for label in kendall.get_yticklabels()]
    assert labels == ["some space", "Hessian trace", "train loss"]
    assert "(n = 5)" in kendall.get_xticklabels()[0].get_text().replace("\N{NO-BREAK SPACE}", " ")


def test_the_heat_map_hatches_what_has_no_coefficient_and_says_why():
    data = correlation()
    data.loc[0, ["value", "p_value", "n", "reason"]] = [None, None, 2, "too few points"]
    data = data[(data.model != "parent_2") | (data.metric != "train_loss")]
    figure = render(plots.correlation_heatmap(data, "generalisation_gap"))
    kendall, pearson, _ = panels(figure)
    assert [len([patch for patch in axes.patches if patch.get_hatch()]) for axes in (kendall, pearson)] == [
        2,
        1,
    ]
    assert "too few points" in figure.get_supxlabel()
    assert "minus the generalisation gap" in figure.get_suptitle()


def test_where_there_is_nothing_to_plot_the_figure_says_so(tmp_path):
    nothing = measured()[:0]
    figures = [
        plots.learning_curves(curves()[:0]),
        plots.accuracies(nothing),
        plots.metrics_against_accuracy(nothing, "accuracy"),
        plots.metrics_against_accuracy(measured().query("metric != 'accuracy'"), "accuracy"),
        plots.spectral_densities(densities()[:0]),
        plots.correlation_heatmap(correlation()[:0], "accuracy"),
    ]
    for figure in figures:
        plots.save_figure(figure, [tmp_path / "figure.png"])
        assert len(figure.texts) == 1


def test_a_model_looks_the_same_whatever_the_order_of_the_models():
    assert [plots.look(model, SIX) for model in SIX] == [plots.look(model, SIX[::-1]) for model in SIX]
    assert len({plots.look(model, SIX) for model in SIX}) == len(SIX)


def test_nothing_is_cut_off():
    for figure in (
        plots.accuracies(measured(SIX, 2)),
        plots.learning_curves(curves()),
        plots.correlation_heatmap(correlation(SIX), "generalisation_gap"),
    ):
        box = render(figure).get_tightbbox()
        assert min(box.x0, box.y0) >= 0
        assert box.x1 <= figure.get_figwidth()
        assert box.y1 <= figure.get_figheight()


@pytest.mark.parametrize("name", ["figure.png", "figure.pdf"])
def test_a_saved_figure_has_the_same_bytes_every_time(tmp_path, monkeypatch, name):
    contents = []
    for time in ("0", "1000000000"):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", time)
        figure = plots.correlation_heatmap(correlation(FOUR[:1]), "accuracy")
        for _ in range(2):
            plots.save_figure(figure, [tmp_path / name])
            contents.append((tmp_path / name).read_bytes())
    assert len(set(contents)) == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "figure.png"
    path.write_bytes(b"old")
    figure = plots.accuracies(measured())
    monkeypatch.setattr(figure, "savefig", lambda partial, **_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        plots.save_figure(figure, [path])
    assert path.read_bytes() == b"old"
