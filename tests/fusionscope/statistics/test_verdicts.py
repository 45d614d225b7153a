"""What is said of a metric."""

import math

import numpy as np
import pytest

from fusionscope.statistics.correlation import correlations
from fusionscope.statistics.verdicts import Size, seeds_needed, verdict


def test_what_is_shown_says_which_way():
    six = Size(6, metrics=10, experiments=1)
    assert verdict(0.7, 0.0123, 0.001, six) == "higher goes with better (adjusted p 0.012)"
    assert verdict(-0.7, 0.03, 0.001, six) == "lower goes with better (adjusted p 0.03)"
    assert verdict(0.7, 0.05, 0.001, six) == "not shown"


def test_what_no_order_of_the_seeds_could_show_says_how_many_would():
    words = verdict(1.0, 1.0, 0.6, Size(3, metrics=10, experiments=1))
    assert words == "cannot be shown with 3 seeds (6 would do)"
    words = verdict(1.0, 0.4, 0.4, Size(6, metrics=10, experiments=2))
    assert words == "cannot be shown with 6 seeds (4 of each experiment would do)"
    words = verdict(1.0, 0.4, 0.4, Size(8, metrics=10, experiments=1))
    assert words == "cannot be shown: too many values are tied or not known"


@pytest.mark.parametrize(("metrics", "needed"), [(1, 5), (2, 5), (3, 6), (17, 6), (18, 7), (35, 7), (125, 7)])
def test_needed_are_so_many_seeds_that_bonferroni_shows_a_perfect_order(metrics, needed):
    assert seeds_needed(metrics) == needed
    assert (
        metrics * 2 / math.factorial(needed) < 0.05 <= metrics * 2 / math.factorial(needed - 1) * (1 + 1e-9)
    )


def perfect_among_noise(metrics, seeds, models, stream):
    """Verdict and adjusted p-value of a metric in perfect order, with `metrics` in its family."""
    shared = stream.normal(size=(metrics, 1, seeds))  # seed effects of all sizes
    x = shared * stream.random((metrics, 1, 1)) * 2 + stream.normal(size=(metrics, models, seeds))
    return correlations(x, x[0])[0]["kendall"]


@pytest.mark.parametrize("models", [1, 3])
@pytest.mark.parametrize("metrics", [2, 12])
def test_as_many_seeds_as_it_says_do_show_a_perfect_order(metrics, models):
    stream = np.random.default_rng(0)
    for _ in range(20):
        found = perfect_among_noise(metrics, seeds_needed(metrics), models, stream)
        assert found.p_adjusted < 0.05
        assert found.verdict.startswith("higher goes with better")


def test_one_seed_less_does_not_show_a_perfect_order_among_independent_metrics():
    stream = np.random.default_rng(1)
    for _ in range(20):
        found = correlations(x := stream.normal(size=(17, 1, 5)), x[0])[0]["kendall"]
        assert found.coefficient == 1
        assert found.verdict == "cannot be shown with 5 seeds (6 would do)"


def test_metrics_that_all_say_the_same_need_no_more_seeds_than_one():
    x = np.arange(5.0) * np.arange(1, 21).reshape(20, 1, 1)
    found = correlations(x, x[0])[3]["kendall"]
    assert found.p_adjusted == found.p_value == pytest.approx(2 / 120)
    assert found.verdict == "higher goes with better (adjusted p 0.017)"
