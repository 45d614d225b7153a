"""The heat map of correlations."""
# ruff: noqa: RUF001  (Greek letters and minus signs are meant)

import pytest
from matplotlib.collections import QuadMesh
from plot_cases import FOUR, SIX, cell_texts, correlation, render

from fusionscope.report.heatmap import FAINT
from fusionscope.report.plots.correlation import draw

pytestmark = pytest.mark.filterwarnings("error")


def without_evidence(data, row, **changes):
    """`data` with the Kendall's tau of a line changed to one of which nothing is known."""
    nothing = {"p_adjusted": 0.4, "verdict": "not shown"}
    for column, value in (nothing | changes).items():
        data[column] = data[column].astype(object)
        data.loc[row, column] = value
    return data


def drawn(data, metric="accuracy"):
    figure = render(draw(data, metric))
    return figure, figure.axes[0]


def rows_of(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


@pytest.mark.parametrize("models", [FOUR[:2], [*SIX, "all_models"]])
def test_the_heat_map_prints_kendall_s_tau_with_a_star_where_it_is_shown(models):
    data = without_evidence(correlation(models), 0, value=0.333, p_value=0.001)
    _, axes = drawn(data)
    texts = cell_texts(axes)
    assert len(texts) == 2 * len(models)
    assert sorted(texts) == ["0.33"] + ["−0.75*"] * (len(texts) - 1)
    assert rows_of(axes) == ["Some space", "Hessian trace", "Train loss"]


def test_cells_without_evidence_are_pale():
    data = without_evidence(correlation(FOUR[:2]), 0)  # Hessian trace of the first model
    (image,) = (part for part in drawn(data)[1].collections if isinstance(part, QuadMesh))
    assert image.get_alpha()[1:].tolist() == [[FAINT, 1], [1, 1]]


def test_all_models_come_first_and_each_says_how_many_seeds_were_used():
    data = correlation([*FOUR, "all_models"])
    data.loc[0, "n_seeds"] = 3
    labels = [label.get_text() for label in drawn(data)[1].get_xticklabels()]
    words = [label.replace("\N{NO-BREAK SPACE}", " ").replace("\n", " ") for label in labels]
    assert words == [
        "all models (5 seeds)",
        "parent 1 (3–5 seeds)",
        "parent 2 (5 seeds)",
        "naive fused (5 seeds)",
        "geometric fused (5 seeds)",
    ]


def test_metrics_that_restate_the_outcome_stand_apart_without_a_star():
    data = correlation()
    restating = data.metric == "hessian_trace"
    data.loc[restating, "verdict"] = "restates the outcome"
    data.loc[restating, ["p_value", "p_adjusted", "low", "high"]] = None
    _, axes = drawn(data)
    assert rows_of(axes) == [
        "Some space",
        "Train loss",
        "Restate the outcome (not tested)",
        "Hessian trace",
    ]
    assert cell_texts(axes) == ["−0.75*"] * 4 + ["−0.75"] * 4


def test_the_heat_map_hatches_what_has_no_coefficient_and_says_why():
    data = without_evidence(
        correlation(), 0, value=None, p_adjusted=None, verdict="", reason="metric is constant"
    )
    data = data[(data.model != "parent_2") | (data.metric != "train_loss")]
    figure, axes = drawn(data, "generalisation_gap")
    assert len([patch for patch in axes.patches if patch.get_hatch()]) == 2
    assert "metric is constant" in figure.get_supxlabel()
    assert "minus the generalisation gap" in figure.get_suptitle()


def test_what_cannot_be_shown_is_said_below():
    words = "cannot be shown with 3 seeds (7 would do)"
    figure, _ = drawn(without_evidence(correlation(), [0, 3], verdict=words))
    assert f"{words}: 2 cells" in figure.get_supxlabel()
    assert "cannot" not in drawn(correlation())[0].get_supxlabel()


def test_one_seed_gives_a_sentence_and_no_cells():
    data = correlation().assign(n_seeds=1, n=1, value=None)
    figure = draw(data, "accuracy")
    assert not figure.axes
    assert [text.get_text().replace("\n", " ") for text in figure.texts] == [
        "digits_vgg11: one seed gives no correlation over seeds"
    ]
