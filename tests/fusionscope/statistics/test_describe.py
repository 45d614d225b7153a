"""Pearson's r and Spearman's rho within strata, and Kendall's partial tau."""

import numpy as np
import pytest
from scipy import stats

from fusionscope.statistics.describe import partial_tau, pearson, spearman

NAN = float("nan")
BOTH = pytest.mark.parametrize(("ours", "scipy"), [(pearson, stats.pearsonr), (spearman, stats.spearmanr)])


def made_up(*shape, seed=0):
    x, e = np.random.default_rng(seed).normal(size=(2, *shape))
    return x, 0.6 * x + e


@BOTH
@pytest.mark.parametrize("ties", [False, True])
def test_of_one_stratum_they_are_scipy_s(ours, scipy, ties):
    x, y = np.round(made_up(1, 9)) if ties else made_up(1, 9)
    found = ours(np.array(x), np.array(y))
    assert found.coefficient == pytest.approx(scipy(x[0], y[0]).statistic, rel=1e-12)
    assert (found.n, found.n_seeds) == (9, 9)


@BOTH
def test_over_strata_they_are_the_means_of_the_strata_s_own_weighted_by_points(ours, scipy):
    x, y = made_up(3, 8)
    x[0, :2], y[1, 5] = NAN, NAN
    expected = n = 0
    for a, b in zip(x, y, strict=True):
        both = ~np.isnan(a) & ~np.isnan(b)
        expected += both.sum() * scipy(a[both], b[both]).statistic
        n += both.sum()
    found = ours(x, y)
    assert found.coefficient == pytest.approx(expected / n, rel=1e-12)
    assert (found.n, found.n_seeds) == (n, 8) == (21, 8)


def test_a_stratum_of_large_spread_weighs_no_more_than_another():
    # two points of the second stratum would make a plain sum of products 1
    x = np.array([[1.0, 2, 3, 4], [1, 2, 3, 1e6]])
    y = np.array([[4.0, 3, 2, 1], [1, 2, 3, 1e6]])
    assert pearson(x, y).coefficient == pytest.approx(0, abs=1e-9)
    centred = [(c - c.mean(axis=1, keepdims=True)).ravel() for c in (x, y)]
    assert np.corrcoef(*centred)[0, 1] > 0.999


def test_differences_between_strata_do_not_pass_for_prediction():
    x = np.array([[3.0, 2, 1], [13, 12, 11], [23, 22, 21]])
    y = np.array([[1.0, 2, 3], [11, 12, 13], [21, 22, 23]])
    for ours in (pearson, spearman):
        assert ours(x, y).coefficient == pytest.approx(-1)


@BOTH
def test_strata_without_enough_to_say_are_left_out(ours, scipy):
    x, y = made_up(4, 6)
    x[1] = 0.1  # constant
    y[2, 2:] = NAN  # two points
    found = ours(x, y)
    expected = np.mean([scipy(x[s], y[s]).statistic for s in (0, 3)])
    assert found.coefficient == pytest.approx(expected, rel=1e-12)
    assert found.n == 12


@pytest.mark.parametrize("ours", [pearson, spearman])
@pytest.mark.parametrize(
    ("x", "y", "reason"),
    [
        ([[1.0, 2]], [[1.0, 2]], "too few points"),
        ([[1.0, NAN, 2]], [[1.0, 2, 3]], "too few points"),
        ([[1.0, np.inf, 2]], [[1.0, 2, 3]], "too few points"),
        ([[0.1, 0.1, 0.1]], [[1.0, 2, 3]], "metric is constant"),
        ([[1.0, 2, 3]], [[0.1, 0.1, 0.1]], "outcome is constant"),
    ],
)
def test_where_there_is_none_they_say_why(ours, x, y, reason):
    found = ours(np.array(x), np.array(y))
    assert (found.coefficient, found.reason) == (None, reason)


@pytest.mark.parametrize("factor", [1e-300, 1e-30, 1e30, 1e300])
def test_the_scale_of_a_metric_does_not_matter(factor):
    x, y = made_up(2, 7)
    for ours in (pearson, spearman):
        assert ours(factor * x, y).coefficient == pytest.approx(ours(x, y).coefficient, rel=1e-9)


def test_they_are_not_tested():
    for ours in (pearson, spearman):
        found = ours(*made_up(1, 9))
        assert (found.p_value, found.p_adjusted, found.low, found.high, found.verdict) == (None,) * 4 + ("",)


def test_partial_tau_is_that_of_kendall_s_fourfold_table():
    """Kendall 1942: the phi coefficient of pairs, given those that agree and differ in the third variable."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=30)
    x, y = z + rng.normal(size=30), z + rng.normal(size=30)
    first, second = np.triu_indices(30, k=1)
    signs = [np.sign(v[first] - v[second]) for v in (x, y, z)]
    by_x, by_y = (sign * signs[2] for sign in signs[:2])  # whether a pair is ordered as the third orders it
    phi = np.corrcoef(by_x, by_y)[0, 1]
    tau = [stats.kendalltau(*pair).statistic for pair in ((x, y), (x, z), (y, z))]
    assert partial_tau(np.array([tau[0]]), np.array([tau[1]]), tau[2])[0] == pytest.approx(phi)


def test_partial_tau_is_undefined_where_the_third_variable_says_all():
    assert np.isnan(partial_tau(np.array([0.5]), np.array([1.0]), 0.5)[0])
    assert np.isnan(partial_tau(np.array([0.5]), np.array([0.5]), 1.0)[0])
