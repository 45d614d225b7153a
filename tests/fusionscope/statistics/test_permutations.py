"""P-values against enumeration by loops, SciPy, and what families must satisfy."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from fusionscope.measurement import NOT_CENSORED
from fusionscope.statistics.pairs import pairs_within
from fusionscope.statistics.permutations import adjusted, counts_beyond, permuted_scores, seed_orders

NAN = float("nan")


def scores_of(values, outcome, **options):
    """Scores (orders, metrics) of `values` (metrics, strata, seeds); the observed first."""
    x, y = np.array(values, dtype=float), np.array(outcome, dtype=float)
    pairs = pairs_within(x, np.full(x.shape, NOT_CENSORED), y)
    return permuted_scores(pairs, seed_orders(y, **options))


def p_value(x, y) -> float:
    counts = counts_beyond(scores_of([x], y))
    return counts[0, 0] / len(counts)


def score_by_loops(x, y):
    """Concordant less discordant pairs of (strata, seeds)."""
    return sum(
        np.sign(a[i] - a[j]) * np.sign(b[i] - b[j])
        for a, b in zip(x, y, strict=True)
        for i, j in itertools.combinations(range(len(a)), 2)
        if not np.isnan([a[i], a[j], b[i], b[j]]).any()
    )


def test_with_ties_the_p_value_is_exact():
    # the outcome's untied seed lies at an end in four of six orders
    assert p_value([[1, 1, 2]], [[1, 2, 3]]) == pytest.approx(2 / 3)


def test_two_experiments_of_three_seeds_have_thirty_six_orders():
    apart = [[1, 2, 3, NAN, NAN, NAN], [NAN, NAN, NAN, 1, 2, 3]]
    assert p_value(apart, apart) == pytest.approx(2 / 36)


def test_two_models_of_three_seeds_have_six_orders():
    together = [[1, 2, 3], [1, 2, 3]]
    assert p_value(together, together) == pytest.approx(2 / 6)


@pytest.mark.parametrize("n", [3, 4, 5, 6])
def test_a_perfect_order_is_two_orders_of_all(n):
    assert p_value([range(n)], [range(n)]) == pytest.approx(2 / math.factorial(n))


@pytest.mark.parametrize("seed", range(3))
def test_of_one_model_without_ties_the_p_value_is_scipy_s_exact_one(seed):
    x, y = np.random.default_rng(seed).normal(size=(2, 7))
    assert p_value([x], [y]) == pytest.approx(stats.kendalltau(x, y, method="exact").pvalue, rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_of_one_model_with_ties_the_p_value_is_scipy_s_permutation_test(seed):
    x, y = np.round(np.random.default_rng(seed).normal(size=(2, 6)))
    expected = stats.permutation_test(
        (x,),
        lambda order: stats.kendalltau(order, y).statistic,
        permutation_type="pairings",
        n_resamples=np.inf,
    )
    # SciPy's two-sided p-value is twice the smaller tail
    sizes = np.abs(expected.null_distribution)
    assert p_value([x], [y]) == pytest.approx(np.mean(sizes >= abs(expected.statistic) - 1e-9))


def test_scores_are_those_of_whole_seeds_moved():
    x, y = np.round(np.random.default_rng(0).normal(size=(2, 3, 5)), 0)
    x[1, 2] = NAN
    found = scores_of([x, -2 * x], y)
    expected = [score_by_loops(x, y[:, order]) for order in itertools.permutations(range(5))]
    assert found[0].tolist() == [score_by_loops(x, y), -score_by_loops(x, y)]
    assert sorted(found[:, 0]) == sorted(expected)
    assert (found[:, 1] == -found[:, 0]).all()


def test_seeds_change_places_only_with_those_that_have_the_same_outcomes():
    # the second model has no outcome for the last two seeds
    y = np.array([[5.0, 3, 4, 1, 2], [1, 2, 3, NAN, NAN]])
    orders = seed_orders(y)
    assert orders[0].tolist() == [0, 1, 2, 3, 4]
    assert len({tuple(order) for order in orders}) == len(orders) == 6 * 2
    assert all({*order[:3]} == {0, 1, 2} for order in orders)
    x = np.random.default_rng(0).normal(size=(2, 5))
    expected = [score_by_loops(x, y[:, order]) for order in orders]
    assert scores_of([x], y)[:, 0].tolist() == expected


def test_many_seeds_have_orders_drawn_once_and_for_all():
    y = np.arange(20.0).reshape(1, 20)
    orders = seed_orders(y)
    assert orders.shape == (10_001, 20)
    assert orders[0].tolist() == list(range(20))
    assert (np.sort(orders, axis=1) == range(20)).all()
    assert (seed_orders(y) == orders).all()
    # each seed comes to each place as often as another, within four standard errors
    share = np.mean(orders[1:, 3] == 7)
    assert share == pytest.approx(1 / 20, abs=4 * math.sqrt(0.05 * 0.95 / 10_000))


def test_a_perfect_order_of_many_seeds_has_the_smallest_p_value_that_can_be():
    counts = counts_beyond(scores_of([[range(12)]], [range(12)], drawn=999))
    assert counts[0, 0] / len(counts) == 1 / 1000


def family_of(metrics, seeds, stream, models=1):
    """Metrics (metrics, models, seeds) of which the first is the outcome, and the outcome."""
    x = stream.normal(size=(metrics, models, seeds))
    return x, x[0]


def p_adjusted(x, y) -> np.ndarray:
    counts = counts_beyond(scores_of(x, y))
    return adjusted(counts, np.full(len(x), True), counts[0])


def test_adjusted_p_values_are_those_of_the_smallest_p_value_by_enumeration():
    stream = np.random.default_rng(4)
    x, y = np.round(stream.normal(size=(4, 2, 4)), 1), stream.normal(size=(2, 4))
    x[1, 0, 2] = NAN
    x[2] = np.round(x[2])
    orders = list(itertools.permutations(range(4)))
    sizes = np.array([[abs(score_by_loops(metric, y[:, order])) for metric in x] for order in orders])
    p_values = np.array([[np.mean(sizes[:, k] >= size) for k, size in enumerate(row)] for row in sizes])
    expected = [np.mean(p_values.min(axis=1) <= p) for p in p_values[0]]
    assert p_adjusted(x, y) == pytest.approx(expected)


@pytest.mark.parametrize("models", [1, 3])
def test_adjusted_p_values_lie_between_the_metric_s_own_and_bonferroni_s(models):
    stream = np.random.default_rng(5)
    for _ in range(20):
        x, y = stream.normal(size=(6, models, 5)), stream.normal(size=(models, 5))
        counts = counts_beyond(scores_of(x, y))
        own = counts[0] / len(counts)
        found = adjusted(counts, np.full(6, True), counts[0])
        assert (found >= own).all()
        assert (found <= np.minimum(6 * own, 1)).all()


def test_who_is_not_in_the_family_changes_nothing():
    x, y = family_of(5, 5, np.random.default_rng(6))
    counts = counts_beyond(scores_of(x, y))
    three = np.array([True, True, True, False, False])
    assert adjusted(counts, three, counts[0])[:3] == pytest.approx(p_adjusted(x[:3], y))


def test_a_metric_that_comes_again_in_other_words_costs_nothing():
    x, y = family_of(5, 6, np.random.default_rng(7))
    again = np.concatenate([x, -np.exp(x)])
    assert p_adjusted(again, y)[:5] == pytest.approx(p_adjusted(x, y))


@pytest.mark.parametrize(
    ("seeds", "metrics", "low", "high"),
    [(5, 15, 0.2, 0.4), (5, 30, 0.2, 0.45), (6, 15, 0.035, 0.09), (6, 35, 0.035, 0.1), (7, 25, 0.004, 0.02)],
)
def test_a_perfect_order_among_independent_metrics(seeds, metrics, low, high):
    stream = np.random.default_rng(8)
    found = [p_adjusted(*family_of(metrics, seeds, stream))[0] for _ in range(20)]
    assert low < np.mean(found) < high
    two_of_all = 2 / math.factorial(seeds)
    # independent metrics are about as many as they are
    assert np.mean(found) == pytest.approx(1 - (1 - two_of_all) ** metrics, rel=0.1)
