"""How models look, and in which order they come."""

import pytest
from plot_cases import FOUR, SIX

from fusionscope.report.style import in_order, look

pytestmark = pytest.mark.filterwarnings("error")


def test_a_model_looks_the_same_whatever_the_order_of_the_models():
    assert [look(model, SIX) for model in SIX] == [look(model, SIX[::-1]) for model in SIX]
    assert len({look(model, SIX) for model in SIX}) == len(SIX)


def test_parents_look_apart_from_each_other_and_from_children():
    models = [*(f"parent_{number}" for number in range(1, 31)), *FOUR[2:], "activation_fused", "parent_mean"]
    assert len({look(model, models) for model in models}) == len(models)


def test_parents_are_counted_and_a_child_may_have_a_parents_word_in_its_name():
    models = ["parent_mean", "all_models", "parent_10", "parent_2", "naive_fused"]
    assert in_order(models) == ["parent_2", "parent_10", "parent_mean", "naive_fused", "all_models"]
