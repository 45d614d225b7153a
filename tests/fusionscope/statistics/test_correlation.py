"""The three coefficients of a study's metrics together: what is tested, what is not, and by chance."""

import math

import numpy as np
import pytest
from scipy import stats

from fusionscope.measurement import LEFT, NOT_CENSORED, RIGHT
from fusionscope.statistics.correlation import correlations
from fusionscope.statistics.verdicts import RESTATES

NAN = float("nan")


def points(models=1, seeds=6, metrics=1, seed=0):
    """Values (metrics, models, seeds) that go with the outcome (models, seeds) loosely."""
    stream = np.random.default_rng(seed)
    outcome = stream.normal(size=(models, seeds))
    return 0.6 * outcome + stream.normal(size=(metrics, models, seeds)), outcome


def numbers(found):
    return [number for number in vars(found).values() if isinstance(number, float | int)]


def test_each_coefficient_is_scipy_s_where_there_is_one_stratum():
    x, y = points(seeds=9)
    found = correlations(x, y)[0]
    functions = {"kendall": stats.kendalltau, "pearson": stats.pearsonr, "spearman": stats.spearmanr}
    assert list(found) == list(functions)
    for name, function in functions.items():
        assert found[name].coefficient == pytest.approx(function(x[0, 0], y[0]).statistic, rel=1e-12), name
        assert (found[name].n, found[name].n_seeds, found[name].reason) == (9, 9, "")


def test_only_kendall_s_tau_is_tested():
    found = correlations(*points())[0]
    assert 0 < found["kendall"].p_value <= 1
    assert found["kendall"].verdict
    for name in ("pearson", "spearman"):
        result = found[name]
        assert (result.p_value, result.p_adjusted, result.low, result.high) == (None,) * 4
        assert result.verdict == ""


def test_of_censored_values_pearson_and_spearman_know_nothing():
    x, y = points(seeds=8)
    censored = np.full(x.shape, NOT_CENSORED)
    censored[0, 0, [2, 5]] = RIGHT, LEFT
    found = correlations(x, y, censored=censored)[0]
    exact = censored[0, 0] == NOT_CENSORED
    for name, function in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr)):
        assert found[name].coefficient == pytest.approx(function(x[0, 0, exact], y[0, exact]).statistic)
        assert found[name].n == 6


def test_a_metric_that_restates_the_outcome_is_not_tested_and_in_no_family():
    x, y = points(metrics=4)
    x[0] = y
    found = correlations(x, y, restates=[True, False, False, False])
    tau = found[0]["kendall"]
    assert tau.coefficient == found[0]["spearman"].coefficient == 1
    assert tau.verdict == RESTATES
    assert (tau.p_value, tau.p_adjusted, tau.low, tau.high) == (None,) * 4
    assert found[1:] == correlations(x[1:], y)
    constant = correlations(np.ones((1, 1, 6)), y, restates=[True])[0]["kendall"]
    assert (constant.verdict, constant.reason) == (RESTATES, "metric is constant")


def test_what_has_no_coefficient_is_not_in_the_family():
    x, y = points(metrics=3)
    x[2] = 7.0
    found = correlations(x, y)
    assert found[:2] == correlations(x[:2], y)
    assert (found[2]["kendall"].coefficient, found[2]["kendall"].reason) == (None, "metric is constant")
    assert (found[2]["kendall"].p_adjusted, found[2]["kendall"].verdict) == (None, "")


@pytest.mark.parametrize(
    ("x", "y", "reason"),
    [
        ([[[1.0]]], [[2.0]], "too few points whose order is known"),
        ([[[1.0, NAN]]], [[2.0, 1.0]], "too few points whose order is known"),
        ([[[1.0, 2.0]]], [[NAN, NAN]], "too few points whose order is known"),
        ([[[1.0, 2.0]]], [[3.0, 3.0]], "outcome is constant"),
        ([[[0.1, 0.1, 0.1]]], [[1.0, 2.0, 3.0]], "metric is constant"),
    ],
)
def test_where_there_is_no_tau_it_says_why(x, y, reason):
    found = correlations(x, y)[0]["kendall"]
    assert (found.coefficient, found.p_value, found.reason) == (None, None, reason)


def test_a_search_that_is_always_at_the_end_of_its_range_has_no_known_order():
    found = correlations([[[5.0, 5, 5]]], [[1.0, 2, 3]], censored=[[[RIGHT] * 3]])[0]
    assert {result.reason for result in found.values()} == {
        "too few points whose order is known",
        "too few points",
    }


def test_neither_labels_nor_order_of_seeds_and_models_matter():
    x, y = points(models=3, seeds=5, metrics=4)
    x[1, 2, 3] = NAN
    expected = correlations(x, y)
    models, seeds = [2, 0, 1], [4, 2, 0, 1, 3]
    found = correlations(x[:, models][:, :, seeds], y[models][:, seeds])
    for one, other in zip(found, expected, strict=True):
        for name in one:
            assert numbers(one[name]) == pytest.approx(numbers(other[name]), rel=1e-9), name
            assert (one[name].verdict, one[name].reason) == (other[name].verdict, other[name].reason)


def test_ranks_do_not_see_a_monotone_change_inside_a_stratum():
    x, y = points(models=3)
    changed = x.copy()
    changed[0, 1] = np.exp(3 * x[0, 1])
    found, expected = correlations(changed, y)[0], correlations(x, y)[0]
    assert found["kendall"] == expected["kendall"]
    assert found["spearman"] == expected["spearman"]
    assert abs(found["pearson"].coefficient - expected["pearson"].coefficient) > 0.01


def test_differences_between_strata_do_not_pass_for_prediction():
    x = [[[3.0, 2, 1], [13, 12, 11], [23, 22, 21]]]
    y = [[1.0, 2, 3], [11, 12, 13], [21, 22, 23]]
    assert correlations(x, y)[0]["kendall"].coefficient == -1


def test_a_turned_sign_turns_the_coefficient_and_the_interval_alone():
    x, y = points(models=2, seeds=7)
    found, turned = (correlations(sign * x, y)[0]["kendall"] for sign in (1, -1))
    assert (turned.coefficient, turned.p_value) == (-found.coefficient, found.p_value)
    assert [turned.low, turned.high] == pytest.approx([-found.high, -found.low])


def test_a_model_without_outcomes_is_of_no_account():
    x, y = points(models=3, seeds=5, metrics=2)
    y[1] = NAN
    assert correlations(x, y) == correlations(x[:, [0, 2]], y[[0, 2]])


def test_a_seed_without_outcomes_is_of_no_account():
    x, y = points(models=2, seeds=6, metrics=2)
    y[:, 3] = NAN
    kept = [0, 1, 2, 4, 5]
    assert correlations(x, y) == correlations(x[:, :, kept], y[:, kept])


@pytest.mark.parametrize("models", [1, 4])
def test_unrelated_metrics_are_as_rarely_significant_as_the_level_says(models):
    # half of the variance of both is between seeds: models of a seed are not independent
    stream, sets, metrics = np.random.default_rng(5), 250, 5
    p_values, families = [], []
    for _ in range(sets):
        x, y = (
            stream.normal(size=(count, 1, 6)) + stream.normal(size=(count, models, 6))
            for count in (metrics, 1)
        )
        found = [result["kendall"] for result in correlations(x, y[0])]
        p_values.append(found[0].p_value)
        families.append(min(result.p_adjusted for result in found))
    for values in (p_values, families):
        for level in (0.05, 0.2):
            error = math.sqrt(level * (1 - level) / sets)
            share = np.mean(np.array(values) <= level)
            # few orders do not reach every level, but none may exceed it by more than noise
            assert 0 < share < level + 3 * error, level


def test_every_answer_is_a_number_or_a_reason():
    # small samples of few different values meet every tie, every constant and every censoring
    stream = np.random.default_rng(0)
    for _ in range(500):
        shape = (2, stream.integers(1, 4), stream.integers(0, 6))
        x, y = (
            stream.integers(0, 3, size=shape).astype(float),
            stream.integers(0, 3, size=shape[1:]).astype(float),
        )
        x[stream.random(x.shape) < 0.1] = NAN
        y[stream.random(y.shape) < 0.1] = NAN
        censored = stream.choice([NOT_CENSORED, LEFT, RIGHT], p=[0.7, 0.15, 0.15], size=shape)
        for name, result in ((n, r) for one in correlations(x, y, censored=censored) for n, r in one.items()):
            what = f"{name} of {x}, {y}, {censored}: {result}"
            assert 0 <= result.n_seeds <= result.n <= y.size, what
            if result.coefficient is None:
                assert result.reason, what
                assert (result.p_value, result.low) == (None, None), what
            else:
                assert not result.reason, what
                assert -1 <= result.coefficient <= 1, what
            if result.p_value is not None:
                assert 0 < result.p_value <= result.p_adjusted <= 1, what
                assert -1 <= result.low <= result.coefficient <= result.high <= 1, what
                assert result.verdict, what
