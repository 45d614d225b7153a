"""Correlation space: which metric goes with accuracy, over seeds.

Three coefficients, each with p-value, confidence interval and the number of points used. Points may lie
in strata (one per model, say): then only what happens inside a stratum counts, so that differences
between models, which any metric can pick up, do not pass for prediction.
"""

import math
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from fusionscope.measurement import LEFT, NOT_CENSORED, RIGHT

CONFIDENCE = 0.95
MOST_ORDERS = 50_000  # up to here (8 points in one stratum) a permutation p-value is exact
ROUNDING = 1e-9
NEARLY_ZERO = 1e-300  # what is left of 1 - r^2 at perfect correlation
# Variance of arctanh(coefficient) is factor / (degrees of freedom - lost): Fisher 1921 for Pearson,
# Fieller, Hartley & Pearson 1957 for the rank coefficients.
INTERVALS = {"pearson": (1.0, 1), "spearman": (1.06, 1), "kendall": (0.437, 2)}


@dataclass(frozen=True)
class Correlation:
    """A coefficient, or None and the `reason` why there is none. Interval at 95 %."""

    coefficient: float | None
    p_value: float | None
    low: float | None
    high: float | None
    n: int  # points used
    reason: str = ""


def correlations(
    x: ArrayLike,
    y: ArrayLike,
    censored: ArrayLike | None = None,
    strata: ArrayLike | None = None,
) -> dict[str, Correlation]:
    """Kendall tau-b, Pearson r and Spearman rho of `x` with `y`, both (n,).

    `censored` says of each x whether it is a bound: the rank coefficients keep such points, tied beyond
    all others on their side; Pearson leaves them out. Points without a number count nowhere. `strata`
    (n,): labels of the points' groups.
    """
    metric, accuracy = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    bound = np.asarray([NOT_CENSORED] * len(metric) if censored is None else censored)
    group = np.zeros(len(metric), dtype=int) if strata is None else np.unique(strata, return_inverse=True)[1]
    known = ~(np.isnan(metric) | np.isnan(accuracy))
    metric, accuracy, bound, group = metric[known], accuracy[known], bound[known], group[known]
    ranked = np.where(bound == LEFT, -np.inf, np.where(bound == RIGHT, np.inf, metric))
    exact = bound == NOT_CENSORED
    return {
        "kendall": kendall(ranked, accuracy, group),
        "pearson": residual_correlation("pearson", metric[exact], accuracy[exact], group[exact]),
        "spearman": spearman(ranked, accuracy, group),
    }


def spearman(x: np.ndarray, y: np.ndarray, strata: np.ndarray) -> Correlation:
    """Pearson's r of the ranks within strata; the p-value of few points is exact.

    Student's t would call any perfect order of three seeds significant, though one in three orders is.
    """
    rank_x, rank_y = ranks(strata, x, y)
    result = residual_correlation("spearman", rank_x, rank_y, strata)
    if result.coefficient is None:
        return result
    p_value = permutation_p_value(centred(rank_x, strata), centred(rank_y, strata), strata)
    return result if p_value is None else replace(result, p_value=p_value)


def permutation_p_value(dx: np.ndarray, dy: np.ndarray, strata: np.ndarray) -> float | None:
    """Share of all orders of `dy` within strata whose score is as far from zero; None if too many."""
    members = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    if math.prod(math.factorial(len(mine)) for mine in members) > MOST_ORDERS:
        return None
    scores = np.zeros(1)
    for mine in members:
        orders = np.array(list(permutations(dy[mine])))
        scores = (scores[:, np.newaxis] + orders @ dx[mine]).ravel()
    return float(np.mean(np.abs(scores) >= (1 - ROUNDING) * abs(dx @ dy)))


def ranks(strata: np.ndarray, *columns: np.ndarray) -> list[np.ndarray]:
    """Each column's mid-ranks within the point's stratum."""
    ranked = [np.empty(len(strata)) for _ in columns]
    for stratum in np.unique(strata):
        mine = strata == stratum
        for result, column in zip(ranked, columns, strict=True):
            result[mine] = stats.rankdata(column[mine])
    return ranked


def residual_correlation(name: str, x: np.ndarray, y: np.ndarray, strata: np.ndarray) -> Correlation:
    """Pearson's r of what is left of `x` and `y` when each stratum's mean is taken off.

    With one stratum this is the plain r, with several the partial correlation given the stratum. The
    p-value is of Student's t with n - strata - 1 degrees of freedom.
    """
    n, freedom = len(x), len(x) - len(np.unique(strata)) - 1
    if freedom < 1:
        return undefined(n, "too few points")
    dx, dy = centred(x, strata), centred(y, strata)
    for column, what in ((dx, "metric"), (dy, "accuracy")):
        if not np.any(column):
            return undefined(n, f"{what} is constant")
    r = float(np.clip(dx @ dy / math.sqrt((dx @ dx) * (dy @ dy)), -1, 1))
    t = r * math.sqrt(freedom / max(1 - r * r, NEARLY_ZERO))
    return Correlation(r, float(2 * stats.t.sf(abs(t), freedom)), *interval(name, r, freedom + 2), n)


def centred(column: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """`column` less the mean of its stratum; exactly zero where a stratum is constant."""
    result = np.zeros_like(column)
    for stratum in np.unique(strata):
        mine = strata == stratum
        if np.ptp(column[mine]) > 0:
            result[mine] = column[mine] - column[mine].mean()
    return result


def kendall(x: np.ndarray, y: np.ndarray, strata: np.ndarray) -> Correlation:
    """Kendall's tau-b from pairs within strata.

    One stratum: SciPy's, with its exact p-value for small samples without ties. Several: concordant less
    discordant pairs over all strata, and a normal p-value from the summed variances under independence.
    """
    n = len(x)
    for column, what in ((x, "metric"), (y, "accuracy")):
        if all(np.all(column[strata == s] == column[strata == s][0]) for s in np.unique(strata)):
            return undefined(n, f"{what} is constant")
    if len(np.unique(strata)) == 1:
        result = stats.kendalltau(x, y)
        return Correlation(
            float(result.statistic), float(result.pvalue), *interval("kendall", result.statistic, n), n
        )
    score = untied_x = untied_y = variance = 0.0
    for stratum in np.unique(strata):
        mine = strata == stratum
        s, pairs_x, pairs_y, v = kendall_score(x[mine], y[mine])
        score, untied_x, untied_y, variance = score + s, untied_x + pairs_x, untied_y + pairs_y, variance + v
    tau = float(score / math.sqrt(untied_x * untied_y))
    # no variance: no stratum varies in both, so nothing speaks against independence
    p_value = float(2 * stats.norm.sf(abs(score) / math.sqrt(variance))) if variance > 0 else 1.0
    return Correlation(tau, p_value, *interval("kendall", tau, n - len(np.unique(strata)) + 1), n)


def kendall_score(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float, float]:
    """Concordant less discordant pairs, pairs not tied in x and in y, and the score's variance.

    The variance with ties is Kendall 1970, "Rank Correlation Methods", equation 4.4.
    """
    n = len(x)
    first, second = np.triu_indices(n, k=1)
    # comparisons, not differences: censored points are infinite
    sign_x, sign_y = ((c[first] > c[second]).astype(float) - (c[first] < c[second]) for c in (x, y))
    t, u = (np.unique(column, return_counts=True)[1].astype(float) for column in (x, y))
    variance = (n * (n - 1) * (2 * n + 5) - sum((c * (c - 1) * (2 * c + 5)).sum() for c in (t, u))) / 18
    if n > 1:
        variance += (t * (t - 1)).sum() * (u * (u - 1)).sum() / (2 * n * (n - 1))
    if n > 2:
        thirds = [(c * (c - 1) * (c - 2)).sum() for c in (t, u)]
        variance += thirds[0] * thirds[1] / (9 * n * (n - 1) * (n - 2))
    return float(sign_x @ sign_y), float(np.abs(sign_x).sum()), float(np.abs(sign_y).sum()), float(variance)


def interval(name: str, coefficient: float, effective_n: int) -> tuple[float, float]:
    """Confidence interval by Fisher's transformation; everything is possible with very few points."""
    factor, lost = INTERVALS[name]
    freedom = effective_n - 2 - lost
    if freedom < 1:
        return -1.0, 1.0
    if abs(coefficient) >= 1:
        return float(coefficient), float(coefficient)
    half = stats.norm.ppf((1 + CONFIDENCE) / 2) * math.sqrt(factor / freedom)
    centre = math.atanh(coefficient)
    return math.tanh(centre - half), math.tanh(centre + half)


def undefined(n: int, reason: str) -> Correlation:
    return Correlation(None, None, None, None, n, reason)
