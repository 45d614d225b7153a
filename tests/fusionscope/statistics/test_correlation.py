"""Correlations against SciPy, against brute force over permutations, and against chance."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from fusionscope.measurement import LEFT, NOT_CENSORED, RIGHT
from fusionscope.statistics.correlation import Correlation, correlations

RANKED = ("kendall", "spearman")


def points(n: int, *, ties: bool = False, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """x and y (n,) that go together loosely."""
    stream = np.random.default_rng(seed)
    x = stream.normal(size=n)
    y = 0.6 * x + stream.normal(size=n)
    return (np.round(x), np.round(y)) if ties else (x, y)


def strata_of(*sizes: int) -> np.ndarray:
    return np.repeat([f"model {number}" for number in range(len(sizes))], sizes)


def numbers(found: Correlation) -> list[float]:
    return [found.coefficient, found.p_value, found.low, found.high]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [5, 8, 30])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_coefficients_and_p_values_are_scipy_s(n, ties, seed):
    x, y = points(n, ties=ties, seed=seed)
    found = correlations(x, y)
    scipy = {"kendall": stats.kendalltau, "pearson": stats.pearsonr, "spearman": stats.spearmanr}
    for name, function in scipy.items():
        expected = function(x, y)
        assert found[name].coefficient == pytest.approx(expected.statistic, rel=1e-10, abs=1e-12), name
        p_value = expected.pvalue
        if name == "spearman" and n <= 8:  # SciPy's is Student's t: far off for so few
            p_value = exact_p_value(x, y)
        assert found[name].p_value == pytest.approx(p_value, rel=1e-8), name
        assert (found[name].n, found[name].reason) == (n, "")


def exact_p_value(x, y) -> float:
    """Over all orders of y: the share in which the rank correlation is as far from zero."""
    rank_x, rank_y = stats.rankdata(x), stats.rankdata(y)
    orders = np.array(list(itertools.permutations(rank_y)))
    scores = np.abs((orders - rank_y.mean()) @ (rank_x - rank_x.mean()))
    return float((scores >= scores[0] - 1e-9).mean())


def test_a_perfect_order_of_three_seeds_is_not_significant():
    found = correlations([1, 2, 3], [4, 5, 9])
    assert found["spearman"].coefficient == 1
    assert found["spearman"].p_value == pytest.approx(1 / 3)
    assert found["kendall"].p_value == pytest.approx(1 / 3)


def test_the_exact_p_value_permutes_within_strata_only():
    """Two strata of two: four orders, of which the observed one and its mirror are the farthest."""
    found = correlations([1, 2, 1, 2], [1, 2, 8, 9], strata=list("aabb"))
    assert found["spearman"].coefficient == 1
    assert found["spearman"].p_value == pytest.approx(2 / 4)


@pytest.mark.parametrize("n", [4, 5, 12, 50])
def test_pearson_s_interval_is_scipy_s(n):
    x, y = points(n)
    expected = stats.pearsonr(x, y).confidence_interval(0.95)
    found = correlations(x, y)["pearson"]
    assert [found.low, found.high] == pytest.approx([expected.low, expected.high], rel=1e-10)


@pytest.mark.parametrize("n", [6, 12, 50])
def test_rank_intervals_are_those_of_fieller_hartley_and_pearson(n):
    # Biometrika 44 (1957): var z = 1.06 / (n - 3) for Spearman's rho, 0.437 / (n - 4) for Kendall's tau
    x, y = points(n)
    found = correlations(x, y)
    for name, variance in (("spearman", 1.06 / (n - 3)), ("kendall", 0.437 / (n - 4))):
        half = 1.959963984540054 * math.sqrt(variance)
        centre = math.atanh(found[name].coefficient)
        expected = [math.tanh(centre - half), math.tanh(centre + half)]
        assert [found[name].low, found[name].high] == pytest.approx(expected, rel=1e-9), name


@pytest.mark.parametrize("name", ["pearson", *RANKED])
def test_intervals_cover_the_truth_as_often_as_they_say(name):
    # bivariate normal with r = 0.5: tau = 2/pi asin(r) and rho_s = 6/pi asin(r/2)
    truth = {
        "pearson": 0.5,
        "kendall": 2 / math.pi * math.asin(0.5),
        "spearman": 6 / math.pi * math.asin(0.25),
    }[name]
    stream = np.random.default_rng(1)
    covered = []
    for _ in range(400):
        x = stream.normal(size=20)
        y = 0.5 * x + math.sqrt(0.75) * stream.normal(size=20)
        found = correlations(x, y)[name]
        covered.append(found.low <= truth <= found.high)
    assert np.mean(covered) == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 400))


@pytest.mark.parametrize("side", [LEFT, RIGHT])
def test_bounds_are_ties_beyond_the_rest_for_ranks_and_absent_for_pearson(side):
    x, y = points(12)
    censored = np.array([NOT_CENSORED] * 12, dtype=object)
    censored[[2, 7, 9]] = side
    # the values recorded for bounds are of no account
    found = correlations(np.where(censored == side, 0.0, x), y, censored)
    beyond = np.where(censored == side, -1e9 if side == LEFT else 1e9, x)
    assert found["kendall"].coefficient == pytest.approx(stats.kendalltau(beyond, y).statistic, rel=1e-12)
    assert found["spearman"].coefficient == pytest.approx(stats.spearmanr(beyond, y).statistic, rel=1e-12)
    exact = censored == NOT_CENSORED
    expected = stats.pearsonr(x[exact], y[exact])
    assert found["pearson"].coefficient == pytest.approx(expected.statistic, rel=1e-12)
    assert found["pearson"].p_value == pytest.approx(expected.pvalue, rel=1e-9)
    assert {name: result.n for name, result in found.items()} == {"kendall": 12, "pearson": 9, "spearman": 12}


def test_bounds_on_both_sides_are_at_both_ends():
    y = [1.0, 2.0, 3.0, 4.0, 5.0]
    censored = [LEFT, NOT_CENSORED, NOT_CENSORED, NOT_CENSORED, RIGHT]
    found = correlations([9.0, 1.0, 2.0, 3.0, -9.0], y, censored)  # recorded values of bounds mislead
    for name in RANKED:
        assert found[name].coefficient == pytest.approx(1, abs=1e-12)


def test_a_metric_that_is_always_a_bound_is_constant():
    found = correlations([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 4.0, 3.0], [RIGHT] * 4)
    assert {result.reason for result in found.values()} == {"metric is constant", "too few points"}
    assert found["pearson"].n == 0
    assert all(numbers(result) == [None] * 4 for result in found.values())


@pytest.mark.parametrize("which", ["metric", "accuracy"])
@pytest.mark.parametrize("strata", [None, strata_of(3, 4)])
def test_a_constant_has_no_correlation_and_says_why(which, strata):
    varying = [0.3, 0.1, 0.2, 0.7, 0.4, 0.5, 0.6]
    # a sum of tenths is not quite constant to a careless mean
    constant = [0.1] * 7 if strata is None else [0.1] * 3 + [0.3] * 4
    x, y = (constant, varying) if which == "metric" else (varying, constant)
    for result in correlations(x, y, strata=strata).values():
        assert result == Correlation(None, None, None, None, 7, f"{which} is constant")


def test_two_points_have_an_order_and_nothing_else():
    found = correlations([1.0, 2.0], [5.0, 3.0])
    assert found["kendall"] == Correlation(-1.0, 1.0, -1.0, 1.0, 2)
    for name in ("pearson", "spearman"):
        assert found[name] == Correlation(None, None, None, None, 2, "too few points")


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_points_have_nothing(n):
    for result in correlations([1.0] * n, [2.0] * n).values():
        assert numbers(result) == [None] * 4
        assert result.n == n
        assert result.reason


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("strata", [None, strata_of(6, 6)])
def test_perfect_agreement_is_one_whatever_the_rounding(sign, strata):
    x = np.linspace(0.1, 1.3, 12) ** 3
    y = sign * (x / 3 + 0.1)
    for name, result in correlations(x, y, strata=strata).items():
        assert result.coefficient == pytest.approx(sign, abs=1e-15), name
        assert [result.low, result.high] == pytest.approx([sign, sign], abs=1e-6), name
        assert 0 <= result.p_value < 1e-3, name


def test_the_scale_of_a_metric_does_not_matter():
    x, y = points(10)
    for factor in (1e-30, 1e30):
        for name, result in correlations(factor * x, y).items():
            assert numbers(result) == pytest.approx(numbers(correlations(x, y)[name]), rel=1e-9), name


def test_one_stratum_is_no_stratum():
    for ties in (False, True):
        x, y = points(9, ties=ties)
        assert correlations(x, y, strata=["m"] * 9) == correlations(x, y)


def test_labels_and_order_of_strata_do_not_matter():
    x, y = points(12)
    strata = strata_of(5, 4, 3)
    expected = correlations(x, y, strata=strata)
    order = np.random.default_rng(0).permutation(12)
    renamed = np.array([{"model 0": "z", "model 1": "a", "model 2": "m"}[s] for s in strata])
    found = correlations(x[order], y[order], strata=renamed[order])
    for name, result in found.items():
        assert numbers(result) == pytest.approx(numbers(expected[name]), rel=1e-10), name


@pytest.mark.parametrize("column", ["x", "y"])
def test_a_level_of_a_whole_stratum_does_not_count(column):
    x, y = points(12)
    strata = strata_of(5, 4, 3)
    expected = correlations(x, y, strata=strata)
    shift = 100.0 * (strata == "model 1")
    found = (
        correlations(x + shift, y, strata=strata)
        if column == "x"
        else correlations(x, y + shift, strata=strata)
    )
    for name, result in found.items():
        assert numbers(result) == pytest.approx(numbers(expected[name]), rel=1e-9), name
    # without strata it does
    plain = correlations(x + shift, y)["pearson"].coefficient
    assert abs(plain - correlations(x, y)["pearson"].coefficient) > 0.1


def test_ranks_do_not_see_a_monotone_change_inside_a_stratum():
    x, y = points(12)
    strata = strata_of(5, 4, 3)
    expected = correlations(x, y, strata=strata)
    found = correlations(np.where(strata == "model 0", np.exp(3 * x), x), y, strata=strata)
    for name in RANKED:
        assert found[name] == expected[name]
    assert abs(found["pearson"].coefficient - expected["pearson"].coefficient) > 0.01


def test_differences_between_strata_do_not_pass_for_prediction():
    # inside each stratum x falls where y rises; between strata both rise
    x = np.array([3.0, 2.0, 1.0, 13.0, 12.0, 11.0, 23.0, 22.0, 21.0])
    y = np.array([1.0, 2.0, 3.0, 11.0, 12.0, 13.0, 21.0, 22.0, 23.0])
    pooled, within = correlations(x, y), correlations(x, y, strata=strata_of(3, 3, 3))
    for name in pooled:
        assert pooled[name].coefficient > 0.49  # Kendall: 27 pairs agree, 9 do not, of 36
        assert within[name].coefficient == pytest.approx(-1)


def test_stratified_pearson_is_the_partial_correlation_given_the_stratum():
    x, y = points(15)
    strata = strata_of(6, 5, 4)
    dummies = (strata[:, None] == np.unique(strata)).astype(float)
    residuals = [c - dummies @ np.linalg.lstsq(dummies, c, rcond=None)[0] for c in (x, y)]
    r = stats.pearsonr(*residuals).statistic
    found = correlations(x, y, strata=strata)["pearson"]
    assert found.coefficient == pytest.approx(r, rel=1e-10)
    # the t statistic of x in the regression of y on x and the strata, 15 - 3 - 1 degrees of freedom
    design = np.column_stack([x, dummies])
    beta = np.linalg.lstsq(design, y, rcond=None)[0]
    variance = ((y - design @ beta) ** 2).sum() / 11 * np.linalg.inv(design.T @ design)[0, 0]
    expected = 2 * stats.t.sf(abs(beta[0]) / math.sqrt(variance), 11)
    assert found.p_value == pytest.approx(expected, rel=1e-8)
    # interval: partialling out k variables costs k points (Fisher 1924), here 3 - 1 = 2
    half = 1.959963984540054 / math.sqrt(15 - 2 - 3)
    expected = [math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)]
    assert [found.low, found.high] == pytest.approx(expected, rel=1e-9)


def pair_scores(x, y) -> tuple[int, int, int]:
    """Concordant less discordant pairs, pairs that differ in x, and in y."""
    pairs = [
        (np.sign(x[i] - x[j]), np.sign(y[i] - y[j])) for i, j in itertools.combinations(range(len(x)), 2)
    ]
    return tuple(
        int(sum(values)) for values in zip(*((a * b, abs(a), abs(b)) for a, b in pairs), strict=True)
    )


@pytest.mark.parametrize("ties", ["none", "in x", "in both", "threes in both"])
def test_stratified_kendall_is_brute_force_over_permutations(ties):
    # the variance of the score is that over all permutations of y inside each stratum, independently
    groups = [
        ([0.1, 0.5, 0.2, 0.9, 0.7], [1.0, 3.0, 2.0, 5.0, 4.0]),
        ([4.0, 6.0, 5.0, 7.0], [2.0, 3.0, 1.0, 4.0]),
    ]
    if ties in ("in x", "in both"):
        groups[0][0][1] = groups[0][0][4] = 0.2
        groups[1][0][0] = 5.0
    if ties == "in both":
        groups[0][1][3] = 4.0
        groups[1][1][1] = groups[1][1][3] = 1.0
    if ties == "threes in both":
        groups[0] = ([0.1, 0.2, 0.2, 0.2, 0.7], [1.0, 3.0, 4.0, 4.0, 4.0])
    score = untied_x = untied_y = variance = 0
    for x, y in groups:
        s, a, b = pair_scores(x, y)
        score, untied_x, untied_y = score + s, untied_x + a, untied_y + b
        scores = [pair_scores(x, permuted)[0] for permuted in itertools.permutations(y)]
        assert np.mean(scores) == pytest.approx(0, abs=1e-9)
        variance += np.var(scores)
    found = correlations(*np.hstack(groups), strata=strata_of(5, 4))["kendall"]
    assert found.coefficient == pytest.approx(score / math.sqrt(untied_x * untied_y), rel=1e-12)
    assert found.p_value == pytest.approx(2 * stats.norm.sf(abs(score) / math.sqrt(variance)), rel=1e-9)
    assert found.n == 9


@pytest.mark.parametrize("sizes", [(10,), (5, 5, 5)])
@pytest.mark.parametrize("name", ["pearson", *RANKED])
def test_unrelated_columns_are_significant_as_rarely_as_the_level_says(name, sizes):
    stream = np.random.default_rng(5)
    strata, count = strata_of(*sizes), 500
    p_values = []
    for _ in range(count):
        x, y = stream.normal(size=(2, sum(sizes)))
        p_values.append(correlations(x, y, strata=strata)[name].p_value)
    for level in (0.05, 0.2):
        share = np.mean(np.array(p_values) <= level)
        error = math.sqrt(level * (1 - level) / count)
        # discrete statistics cannot reach every level from below, but none may exceed it by more than noise
        # and the coarseness of a rank statistic
        assert level / 2 - 4 * error < share < level + 4 * error, level


def test_every_answer_is_a_number_or_a_reason():
    # small samples of few different values meet every tie, every constant and every censoring
    stream = np.random.default_rng(0)
    for _ in range(1500):
        n = stream.integers(0, 8)
        x, y = stream.integers(0, 3, size=(2, n)).astype(float)
        censored = stream.choice([NOT_CENSORED, LEFT, RIGHT], p=[0.7, 0.15, 0.15], size=n)
        strata = stream.integers(0, 3, size=n) if stream.random() < 0.7 else None
        for name, result in correlations(x, y, censored, strata).items():
            what = f"{name} of {x}, {y}, {censored}, {strata}: {result}"
            assert 0 <= result.n <= n, what
            if result.coefficient is None:
                assert result.reason, what
                assert numbers(result) == [None] * 4, what
            else:
                assert not result.reason, what
                assert -1 <= result.low <= result.coefficient <= result.high <= 1, what
                assert 0 <= result.p_value <= 1, what


def test_strata_that_vary_in_one_column_each_have_no_correlation_to_show():
    # in the first stratum accuracy is constant, in the second the metric: no pair differs in both
    found = correlations([1.0, 2.0, 5.0, 5.0, 5.0], [3.0, 3.0, 1.0, 2.0, 3.0], strata=strata_of(2, 3))
    for name, result in found.items():
        assert result.coefficient is None or (result.coefficient, result.p_value) == (0, 1), name


@pytest.mark.parametrize("column", ["x", "y"])
def test_a_value_that_is_not_a_number_gives_none(column):
    # either the point is left out or there is a reason, which is not that the metric is constant
    x, y = points(8)
    (x if column == "x" else y)[3] = math.nan
    for name, result in correlations(x, y).items():
        if result.coefficient is None:
            assert result.reason, name
            assert "constant" not in result.reason, name
        else:
            assert result.n == 7, name
            assert all(map(math.isfinite, numbers(result))), name
