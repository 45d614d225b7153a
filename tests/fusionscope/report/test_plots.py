"""Every plot renders without a warning, on ordinary and on odd data, and shows what it should."""
# ruff: noqa: RUF001  (Greek letters and minus signs are meant)

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from fusionscope.measurement import COLUMNS
from fusionscope.measures.connectivity.paths import PATH_COLUMNS
from fusionscope.report import plots
from fusionscope.report.tables import CORRELATION_COLUMNS

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


def curves(seeds=2, epochs=5, parents=2):
    rows = [
        [seed, parent, epoch, 0.1, 2 / epoch, 1 - 0.5 / epoch, 2.2 / epoch, 0.95 - 0.5 / epoch]
        for seed in range(seeds)
        for parent in range(1, parents + 1)
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


def paths(fusions=FOUR[2:], seeds=2, points=5, top=2.0, parent="parent_1"):
    """Parabolas of loss from 0.3 over `top` (halved from fusion to fusion) back to 0.2; seeds differ."""
    rows = []
    for number, fusion in enumerate(fusions):
        for seed in range(seeds):
            for share in np.arange(points) / (points - 1):
                loss = 0.3 - 0.1 * share + (top / 2**number + 0.1 * seed) * 4 * share * (1 - share)
                rows.append([seed, fusion, parent, share, loss, 0.9 * math.exp(-loss)])
    return pd.DataFrame(rows, columns=list(PATH_COLUMNS))


def similarity(children=FOUR[2:], parents=2, groups=("features.0", "features.4", "features.10"), seeds=2):
    """Groups in an order of their own; each value tells its cell."""
    rows = [
        [seed, child, f"parent_{parent}", group, 0.9 - 0.2 * row - 0.05 * parent - 0.02 * seed]
        for seed in range(seeds)
        for child in children
        for parent in range(1, parents + 1)
        for row, group in enumerate(groups)
    ]
    table = pd.DataFrame(rows, columns=["seed", "model", "parent", "group", "cka"])
    return table.assign(cka=table.cka.clip(0, 1))


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


def test_learning_curves_show_any_number_of_parents():
    figure = render(plots.learning_curves(curves(1, parents=11)))
    assert legend_texts(figure)[:11] == [f"parent {number}" for number in range(1, 12)]
    loss, _ = figure.axes
    assert [line.get_color() for line in loss.lines[:10:2]] == list(plots.PARENT_COLOURS)


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
    markers = {plots.look(model, models)[1] for model in models}
    dots = [line for line in axes.lines if line.get_marker() in markers]
    assert len(dots) == len(models)
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


@pytest.mark.parametrize(
    ("fusions", "seeds", "points"), [(FOUR[2:3], 1, 2), (FOUR[2:], 1, 11), (SIX[2:], 20, 51)]
)
def test_connectivity_has_a_line_per_seed_and_a_mean_of_several_for_each_fusion(fusions, seeds, points):
    figure = render(plots.connectivity(paths(fusions, seeds, points), measured([*FOUR[:2], *fusions], seeds)))
    loss, accuracy = figure.axes
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("test loss (nats)", "test accuracy (%)")
    lines = (seeds + 1) * len(fusions) if seeds > 1 else len(fusions)
    assert len(loss.lines) == lines
    assert len(accuracy.lines) == lines + 1  # the ensemble
    expected = [plots.wrapped(fusion) for fusion in fusions]
    assert legend_texts(figure)[: len(fusions)] == expected
    assert ("mean of seeds" in legend_texts(figure)) == (seeds > 1)
    for fusion in fusions:
        colour, shape = plots.look(fusion, fusions)
        (mean,) = (line for line in loss.lines if (line.get_color(), line.get_marker()) == (colour, shape))
        assert mean.get_linewidth() > 1


def test_connectivity_shows_the_paths_and_their_mean():
    data = paths(FOUR[2:3], seeds=2, points=3)
    loss, accuracy = render(plots.connectivity(data, measured()[:0])).axes
    for axes, quantity, factor in ((loss, "loss", 1), (accuracy, "accuracy", 100)):
        seeds = [factor * data[data.seed == seed][quantity].to_numpy() for seed in (0, 1)]
        expected = [*seeds, (seeds[0] + seeds[1]) / 2]
        assert len(axes.lines) == 3
        for line, values in zip(axes.lines, expected, strict=True):
            assert list(line.get_xdata()) == [0, 0.5, 1]
            assert line.get_ydata() == pytest.approx(values)


def test_with_several_parents_each_path_to_the_reference_is_a_line_of_its_own():
    both = [paths(FOUR[2:3], 1, 3, top, parent) for top, parent in ((1, "parent_1"), (3, "parent_3"))]
    figure = render(plots.connectivity(pd.concat(both, ignore_index=True), measured()))
    one, other, mean = (line.get_ydata() for line in figure.axes[0].lines)
    assert [one, other] == [pytest.approx(table.loss.to_numpy()) for table in both]
    assert mean == pytest.approx((one + other) / 2)
    assert {"one seed and parent", "mean of all"} < set(legend_texts(figure))


def test_connectivity_shows_the_ensemble_of_the_parents_where_it_was_measured():
    figure = render(plots.connectivity(paths(), measured()))
    loss, accuracy = figure.axes
    (ensemble,) = (line for line in accuracy.lines if line.get_linestyle() == "--")
    assert list(ensemble.get_ydata()) == pytest.approx([98, 98])
    assert "ensemble of the parents (98.0 %)" in legend_texts(figure)
    assert all(line.get_linestyle() == "-" for line in loss.lines)
    without = measured().query("metric != 'parents_ensemble_accuracy'")
    assert "ensemble" not in " ".join(legend_texts(render(plots.connectivity(paths(), without))))


def test_a_fusion_without_a_path_does_not_change_how_the_others_look():
    figure = render(plots.connectivity(paths(["weight_matching"], 1), measured([*SIX, "weight_matching"])))
    expected = plots.look("weight_matching", [*SIX, "weight_matching"])
    assert expected != plots.look("weight_matching", ["weight_matching"])
    (line,) = figure.axes[0].lines
    assert (line.get_color(), line.get_marker()) == expected


def test_long_names_in_the_legend_leave_the_panels_their_height():
    heights = [
        render(plots.connectivity(paths(fusions), measured([*FOUR[:2], *fusions]))).axes[0].bbox.height
        for fusions in (FOUR[2:3], [f"{LONG}_{number}" for number in range(6)])
    ]
    assert heights[1] > 0.8 * heights[0]


@pytest.mark.parametrize(("top", "expected"), [(2, "linear"), (1e4, "log")])
def test_losses_on_a_path_have_the_scale_that_they_need(top, expected):
    loss, accuracy = render(plots.connectivity(paths(top=top), measured())).axes
    assert loss.get_yscale() == expected
    assert accuracy.get_yscale() == "linear"


def test_a_path_breaks_where_a_seed_has_no_loss():
    data = paths(FOUR[2:3], seeds=2, points=5)
    data.loc[2, "loss"], data.loc[6, "loss"] = math.inf, math.nan
    loss, _ = render(plots.connectivity(data, measured())).axes
    *_, mean = (line.get_ydata() for line in loss.lines)
    assert list(np.isnan(mean)) == [False, True, True, False, False]


@pytest.mark.parametrize(("children", "parents"), [(FOUR[2:3], 2), (FOUR[2:], 3), (SIX[2:], 12)])
def test_similarities_have_a_block_per_child_with_groups_down_and_parents_across(children, parents):
    figure = render(plots.similarity_heatmap(similarity(children, parents)))
    blocks = panels(figure)
    found = [title.replace("\n", " ") for title in titles(figure)]
    assert found == [child.replace("_", " ") for child in children]
    labels = [label.get_text() for label in blocks[0].get_yticklabels()]
    assert labels == ["features.0", "features.4", "features.10"]
    for axes in blocks:
        across = [label.get_text() for label in axes.get_xticklabels()]
        assert across == [f"parent {number}" for number in range(1, parents + 1)]
    assert figure.axes[-1].get_ylabel() == "linear CKA, mean of 2 seeds"


def test_a_cell_is_the_mean_over_the_seeds_that_have_a_number():
    data = similarity(FOUR[2:3])
    cell = (data.parent == "parent_2") & (data.group == "features.4")
    data.loc[cell & (data.seed == 1), "cka"] = math.nan
    data.loc[(data.parent == "parent_1") & (data.group == "features.10"), "cka"] = math.nan
    figure = render(plots.similarity_heatmap(data))
    (axes,) = panels(figure)
    assert cell_texts(axes) == ["0.84", "0.79", "0.64", "0.60", "0.39"]
    assert [patch.get_xy() for patch in axes.patches if patch.get_hatch()] == [(-0.5, 1.5)]
    assert "no number" in figure.get_supxlabel()


def test_without_gaps_nothing_is_said_about_hatching_and_one_seed_is_no_mean():
    figure = render(plots.similarity_heatmap(similarity(seeds=1)))
    assert figure.get_supxlabel() == ""
    assert figure.axes[-1].get_ylabel() == "linear CKA"


@pytest.mark.parametrize(("count", "numbers"), [(2, True), (40, True), (60, False), (300, False)])
def test_texts_of_the_similarities_stay_apart(count, numbers):
    groups = [f"layer{number}.conv1" for number in range(count)]
    figure = render(plots.similarity_heatmap(similarity(SIX[1:], 2, groups)))
    axes, *_ = panels(figure)
    assert len(cell_texts(axes)) == (2 * count if numbers else 0)
    boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert all(above.y0 >= below.y1 for above, below in itertools.pairwise(boxes))
    assert figure.get_figheight() < 11


def test_where_there_is_nothing_to_plot_the_figure_says_so(tmp_path):
    nothing = measured()[:0]
    figures = [
        plots.learning_curves(curves()[:0]),
        plots.accuracies(nothing),
        plots.metrics_against_accuracy(nothing, "accuracy"),
        plots.metrics_against_accuracy(measured().query("metric != 'accuracy'"), "accuracy"),
        plots.spectral_densities(densities()[:0]),
        plots.correlation_heatmap(correlation()[:0], "accuracy"),
        plots.connectivity(paths()[:0], measured()),
        plots.similarity_heatmap(similarity()[:0]),
    ]
    for figure in figures:
        plots.save_figure(figure, [tmp_path / "figure.png"])
        assert len(figure.texts) == 1


def test_a_model_looks_the_same_whatever_the_order_of_the_models():
    assert [plots.look(model, SIX) for model in SIX] == [plots.look(model, SIX[::-1]) for model in SIX]
    assert len({plots.look(model, SIX) for model in SIX}) == len(SIX)


def test_parents_look_apart_from_each_other_and_from_children():
    models = [*(f"parent_{number}" for number in range(1, 31)), *FOUR[2:], "activation_fused", "parent_mean"]
    assert len({plots.look(model, models) for model in models}) == len(models)


def test_parents_are_counted_and_a_child_may_have_a_parents_word_in_its_name():
    models = ["parent_mean", "all_models", "parent_10", "parent_2", "naive_fused"]
    assert plots.in_order(models) == ["parent_2", "parent_10", "parent_mean", "naive_fused", "all_models"]


def test_barriers_have_names_and_units():
    assert plots.with_unit("loss_barrier") == "test loss barrier (nats)"
    assert plots.with_unit("loss_barrier_above_mean") == "test loss barrier above the mean (nats)"
    assert plots.with_unit("accuracy_barrier") == "test accuracy barrier (%\N{NO-BREAK SPACE}points)"
    assert plots.space_name("connectivity_space") == "connectivity space"


def test_nothing_is_cut_off_and_the_legend_stays_off_the_axes():
    for figure in (
        plots.accuracies(measured(SIX, 2)),
        plots.learning_curves(curves()),
        plots.correlation_heatmap(correlation(SIX), "generalisation_gap"),
        plots.learning_curves(curves(parents=7)),
        plots.connectivity(paths(FOUR[2:3], 1), measured(seeds=1)),
        plots.connectivity(paths([*SIX[2:], *(f"{LONG}_{number}" for number in range(4))]), measured(SIX)),
        plots.similarity_heatmap(similarity(FOUR[2:3], groups=["features.0", "features.4"])),
        plots.similarity_heatmap(similarity([LONG, *(f"{LONG}_{number}" for number in range(5))])),
    ):
        box = render(figure).get_tightbbox()
        assert min(box.x0, box.y0) >= 0
        assert box.x1 <= figure.get_figwidth()
        assert box.y1 <= figure.get_figheight()
        for axes, legend in itertools.product(figure.axes, figure.legends):
            assert not axes.get_tightbbox().overlaps(legend.get_window_extent())


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
