"""The heat map of correlations."""
# ruff: noqa: RUF001  (Greek letters and minus signs are meant)

import pytest
from plot_cases import FOUR, SIX, cell_texts, correlation, panels, render

from fusionscope.report.plots.correlation import draw

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize("models", [FOUR[:2], [*SIX, "all_models"]])
def test_the_heat_map_prints_each_coefficient_with_a_star_where_it_is_significant(models):
    data = correlation(models)
    data.loc[0, ["value", "p_value"]] = [0.333, 0.4]
    kendall, pearson, spearman = panels(render(draw(data, "accuracy")))
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
    figure = render(draw(data, "generalisation_gap"))
    kendall, pearson, _ = panels(figure)
    assert [len([patch for patch in axes.patches if patch.get_hatch()]) for axes in (kendall, pearson)] == [
        2,
        1,
    ]
    assert "too few points" in figure.get_supxlabel()
    assert "minus the generalisation gap" in figure.get_suptitle()
