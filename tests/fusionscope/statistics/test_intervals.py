"""Confidence intervals of Kendall's tau: what they must satisfy, and whether they cover."""

import math

import numpy as np
import pytest
from scipy import stats

from fusionscope.statistics.correlation import correlations
from fusionscope.statistics.intervals import tau_intervals


def interval_of(x, y, **options):
    found = correlations(x, y, **options)[0]["kendall"]
    return found.low, found.high


@pytest.mark.parametrize("seeds", [2, 3])
def test_with_three_seeds_everything_is_possible(seeds):
    assert interval_of([[range(seeds)]], [range(seeds)]) == (-1, 1)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("models", [1, 3])
def test_at_perfect_order_the_other_end_comes_from_the_number_of_seeds(sign, models):
    ends = []
    for seeds in (4, 5, 7, 10, 20):
        order = [list(range(seeds))] * models
        found = correlations([[sign * np.array(one) for one in order]], order)[0]["kendall"]
        assert found.coefficient == sign
        assert (found.high if sign > 0 else found.low) == sign
        ends.append(found.low if sign > 0 else -found.high)
        # it agrees with the p-value about zero
        assert (ends[-1] > 0) == (found.p_value < 0.05)
        # Kendall's variance of tau under independence, which one model and three alike ones share
        variance = 2 * (2 * seeds + 5) / (9 * seeds * (seeds - 1))
        width = stats.t.ppf(0.975, 2 * (seeds - 1)) ** 2 * variance
        assert ends[-1] == pytest.approx((1 - width) / (1 + width), abs=0.02)
    assert ends == sorted(ends)
    assert ends[-1] < 0.9


def interval_with(tau, n, null_variance, of_jackknife):
    """The ends where the jackknife sees `of_jackknife` times the variance that permutations do."""
    jackknife = of_jackknife * null_variance * (1 - tau**2)
    left_out = tau + np.sqrt(jackknife / (n - 1)) * np.array([[1.0, -1] * (n // 2)])
    ends = tau_intervals(np.array([tau]), left_out, np.array([null_variance]), np.array([n]))
    return [float(end[0]) for end in ends]


@pytest.mark.parametrize("tau", [-0.8, -0.2, 0.0, 0.4, 0.9])
@pytest.mark.parametrize("of_jackknife", [0.5, 3])
def test_the_ends_are_where_the_test_just_rejects(tau, of_jackknife):
    n, null_variance = 8, 0.07
    excess = max(of_jackknife - 1, 0) * null_variance
    ends = interval_with(tau, n, null_variance, of_jackknife)
    excluded = ends[0] * ends[1] > 0
    for end in ends:
        # towards an excluded zero, the jackknife's excess falls in proportion
        falls = excluded and abs(end) < abs(tau)
        share = end / tau * (1 - end * tau) if falls else 1 - end**2
        variance = null_variance * (1 - end**2) + excess * share
        p_value = 2 * stats.t.sf(abs(tau - end) / math.sqrt(variance), 2 * (n - 1))
        assert p_value == pytest.approx(0.05, rel=1e-6)


@pytest.mark.parametrize("tau", [0.5, 0.6])
def test_whether_zero_is_inside_is_the_permutations_to_say(tau):
    n, null_variance = 8, 0.065
    outside = tau**2 > stats.t.ppf(0.975, 2 * (n - 1)) ** 2 * null_variance
    assert outside == (tau == 0.6)
    for of_jackknife in (0.1, 1, 5, 50):
        low, high = interval_with(tau, n, null_variance, of_jackknife)
        assert (low > 0) == outside
        assert low < tau < high


@pytest.mark.parametrize("models", [1, 4])
@pytest.mark.parametrize("r", [0.0, 0.9])
def test_intervals_cover_the_truth(models, r):
    # half of the variance of both between seeds; normal, so that tau is 2/pi arcsin(r) in each model
    stream, sets, seeds = np.random.default_rng(1), 200, 10
    covered = []
    for _ in range(sets):
        y, e = (
            (stream.normal(size=(1, seeds)) + stream.normal(size=(models, seeds))) / math.sqrt(2)
            for _ in range(2)
        )
        low, high = interval_of([r * y + math.sqrt(1 - r * r) * e], y, drawn=199)
        covered.append(low <= 2 / math.pi * math.asin(r) <= high)
    assert np.mean(covered) >= 0.93 - 2 * math.sqrt(0.93 * 0.07 / sets)
