"""Coefficients that describe and decide nothing: Pearson's r, Spearman's rho, Kendall's partial tau."""

from collections.abc import Callable

import numpy as np
from scipy import stats

from fusionscope.statistics.result import Correlation, without

FEWEST = 3  # points in a stratum: through two a line always goes


def pearson(x: np.ndarray, y: np.ndarray) -> Correlation:
    """Pearson's r of what is standardised within strata: the mean over points of the product of z-scores.

    `x`, `y` (strata, seeds); what is not finite counts nowhere. Every point counts the same, whatever the
    spread of its stratum: r is the mean of the strata's own, weighted by their points. Strata of fewer than
    three points, or in which one of the two is constant, are left out.
    """
    return mean_product(x, y, standardised)


def spearman(x: np.ndarray, y: np.ndarray) -> Correlation:
    """The same of mid-ranks within strata."""
    return mean_product(x, y, lambda values: standardised(stats.rankdata(values)))


def mean_product(x: np.ndarray, y: np.ndarray, score: Callable[[np.ndarray], np.ndarray]) -> Correlation:
    """Mean product of the scores of `x` and `y` within strata, or why there is none."""
    both = np.isfinite(x) & np.isfinite(y)
    large = [stratum for stratum in range(len(x)) if both[stratum].sum() >= FEWEST]
    varying = [stratum for stratum in large if varies(x[stratum, both[stratum]])]
    used = [stratum for stratum in varying if varies(y[stratum, both[stratum]])]
    n, n_seeds = int(both[used].sum()), int(both[used].any(axis=0).sum())
    if used:
        total = sum(score(x[s, both[s]]) @ score(y[s, both[s]]) for s in used)
        return Correlation(float(np.clip(total / n, -1, 1)), n=n, n_seeds=n_seeds)
    reason = "outcome is constant" if varying else "metric is constant" if large else "too few points"
    return without(reason, n=int(both.sum()), n_seeds=int(both.any(axis=0).sum()))


def varies(values: np.ndarray) -> bool:
    return bool(np.ptp(values) > 0)


def standardised(values: np.ndarray) -> np.ndarray:
    """Less their mean, over their deviation (of the population)."""
    centred = values - values.mean()
    centred /= np.abs(centred).max()  # squares of huge and of tiny numbers are no floats
    return centred / np.sqrt(np.mean(centred**2))


def partial_tau(with_outcome: np.ndarray, with_given: np.ndarray, between: float) -> np.ndarray:
    """(metrics,) tau of a metric with the outcome, given a third variable (Kendall 1942, Biometrika 32, 277).

    `with_outcome`, `with_given` (metrics,): tau of the metric with the outcome and with the third variable;
    `between`: that of these two. NaN where one of the three is not known, or where the third says all.
    """
    room = np.sqrt((1 - with_given**2) * (1 - between**2))
    rest = with_outcome - with_given * between
    return np.divide(rest, room, out=np.full(np.shape(rest), np.nan), where=room > 1e-12)
