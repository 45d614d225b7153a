"""Kendall's tau against SciPy, and against loops over pairs."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from fusionscope.measurement import LEFT, NOT_CENSORED, RIGHT
from fusionscope.statistics.kendall import kendall
from fusionscope.statistics.pairs import pairs_within

NAN = float("nan")


def tau_of(values, outcome, censored=None):
    """Kendall's tau of one metric (strata, seeds)."""
    x, y = np.array(values, dtype=float), np.array(outcome, dtype=float)
    bound = np.full(x.shape, NOT_CENSORED) if censored is None else np.array(censored)
    return kendall(pairs_within(x[np.newaxis], bound[np.newaxis], y))


def by_loops(x, y):
    """Tau-b over strata, of what is no NaN."""
    score = untied_x = untied_y = 0
    for stratum in range(len(x)):
        points = [point for point in zip(x[stratum], y[stratum], strict=True) if not np.isnan(point).any()]
        for (x1, y1), (x2, y2) in itertools.combinations(points, 2):
            a, b = np.sign(x1 - x2), np.sign(y1 - y2)
            score, untied_x, untied_y = score + a * b, untied_x + abs(a), untied_y + abs(b)
    return score / math.sqrt(untied_x * untied_y) if untied_x * untied_y else NAN


def made_up(*shape, ties, missing=0.0, seed=0):
    stream = np.random.default_rng(seed)
    x, y = stream.normal(size=(2, *shape))
    if ties:
        x, y = np.round(x), np.round(y)
    x[stream.random(shape) < missing] = NAN
    y[stream.random(shape) < missing] = NAN
    return x, y


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [3, 8, 40])
def test_of_one_stratum_it_is_scipy_s(n, ties):
    x, y = made_up(1, n, ties=ties, seed=2)
    assert tau_of(x, y).value == pytest.approx(stats.kendalltau(x[0], y[0]).statistic, rel=1e-12)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("missing", [0, 0.3])
def test_over_strata_it_sums_pairs(ties, missing):
    x, y = made_up(3, 6, ties=ties, missing=missing)
    tau = tau_of(x, y)
    assert tau.value == pytest.approx(by_loops(x, y), rel=1e-12)
    both = ~np.isnan(x) & ~np.isnan(y)
    in_pairs = both & (both.sum(axis=1, keepdims=True) > 1)
    assert (tau.points[0] == in_pairs).all()


@pytest.mark.parametrize("ties", [False, True])
def test_without_a_seed_it_is_that_of_the_other_seeds(ties):
    x, y = made_up(3, 6, ties=ties, missing=0.2, seed=3)
    left_out = tau_of(x, y).left_out[0]
    for seed in range(6):
        expected = by_loops(np.delete(x, seed, axis=1), np.delete(y, seed, axis=1))
        assert left_out[seed] == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_a_right_censored_value_that_may_be_anywhere_does_not_spoil_a_perfect_order():
    # the first search did not converge: its pairs are not known, the six others agree
    tau = tau_of([[1.0, 2, 3, 4, 5]], [[1.0, 2, 3, 4, 5]], [[RIGHT, *[NOT_CENSORED] * 4]])
    assert tau.value == 1
    assert tau.untied == 6
    assert tau.points.sum() == 4


def test_bounds_at_the_end_of_the_range_count_against_all_inside():
    # two at the range's end have no order between them; the pair does not count, above or below
    tau = tau_of([[1.0, 2, 9, 9]], [[1.0, 2, 4, 3]], [[NOT_CENSORED, NOT_CENSORED, RIGHT, RIGHT]])
    assert (tau.value, tau.untied) == (1, 5)
    # a tie of exact values is known, and does count in the outcome's pairs
    tied = tau_of([[1.0, 2, 9, 9]], [[1.0, 2, 4, 3]])
    assert tied.value == pytest.approx(5 / math.sqrt(5 * 6))


def test_bounds_on_both_sides_are_at_both_ends():
    censored = [[LEFT, NOT_CENSORED, NOT_CENSORED, NOT_CENSORED, RIGHT]]
    assert tau_of([[1.0, 1, 2, 3, 3]], [[1.0, 2, 3, 4, 5]], censored).value == 1


def test_an_undefined_value_belongs_to_no_pair():
    tau = tau_of([[1.0, NAN, 3, 2]], [[1.0, 9, 3, 2]])
    assert (tau.value, tau.untied) == (1, 3)
    assert tau.points[0, 0].tolist() == [True, False, True, True]


@pytest.mark.parametrize(
    ("x", "y", "differs"),
    [
        ([[1.0, 1, 1]], [[1.0, 2, 3]], [False, True]),
        ([[1.0, 2, 3]], [[1.0, 1, 1]], [True, False]),
        ([[1.0, NAN, NAN]], [[1.0, 2, 3]], [False, False]),
        ([[1.0, 2], [5, 5]], [[3.0, 3], [1, 2]], [True, True]),
    ],
)
def test_where_one_of_the_two_never_varies_there_is_none(x, y, differs):
    tau = tau_of(x, y)
    assert tau.differs[:, 0].tolist() == differs
    assert tau.value == pytest.approx(0 if all(differs) else NAN, nan_ok=True)
