"""Confidence intervals of Kendall's tau over seeds."""

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
FEWEST_SEEDS = 4  # three have six orders: everything is possible


def tau_intervals(
    tau: np.ndarray,
    left_out: np.ndarray,
    null_variance: np.ndarray,
    n: np.ndarray,
    *,
    confidence: float = CONFIDENCE,
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends (metrics,) at 95 %, or another `confidence`, for each `tau` (metrics,).

    An inverted test, as Wilson's interval of a share (1927, JASA 22, 209): a true value t is in the interval
    while (tau - t)^2 <= q^2 V(t). Without a relation, V(0) is `null_variance`, that of tau over permutations
    of the seeds, so that interval and p-value agree about zero. V(t) = V(0) (1 - t^2) has the form of
    Kendall's bound (Daniels & Kendall 1947, Biometrika 34, 197), and is enough for normal data. Where the
    jackknife, from tau without each of the seeds, `left_out` (metrics, seeds), sees more at t = tau, the
    excess is added: in proportion to t up to tau where the permutations exclude zero, else at all t. At
    perfect order the jackknife sees nothing, and the end comes from the number of seeds. q is Student's t
    with 2 (n - 1) degrees of freedom, twice the jackknife's, as the other variance has no error to speak of;
    `n` (metrics,) are the seeds, one less for each further experiment. What all this covers is simulated in
    docs/statistics.md.
    """
    enough, n = n >= FEWEST_SEEDS, np.maximum(n, 2)
    sign, size = np.where(tau < 0, -1, 1), np.abs(tau)
    q2 = stats.t.ppf((1 + confidence) / 2, 2 * (n - 1)) ** 2
    excess = np.maximum(jackknife_variance(tau, left_out, n) - null_variance, 0)
    far = upper_end(size, q2 * (null_variance + excess))
    near = lower_end(size, q2 * null_variance, q2 * excess)
    low, high = np.where(sign > 0, near, -far), np.where(sign > 0, far, -near)
    # what rounding takes off a perfect order's own end is put back
    return np.where(enough, np.minimum(low, tau), -1.0), np.where(enough, np.maximum(high, tau), 1.0)


def jackknife_variance(tau: np.ndarray, left_out: np.ndarray, n: np.ndarray) -> np.ndarray:
    """The jackknife's variance (metrics,) over 1 - tau^2; zero at perfect order."""
    known = np.where(np.isnan(left_out), tau[:, np.newaxis], left_out)
    variance = (n - 1) / n * np.sum((known - tau[:, np.newaxis]) ** 2, axis=1)
    room = 1 - tau**2
    return np.divide(variance, room, out=np.zeros_like(tau), where=room > 0)


def upper_end(tau: np.ndarray, width: np.ndarray) -> np.ndarray:
    """The larger t with (tau - t)^2 = width (1 - t^2)."""
    return (tau + np.sqrt(width * (1 + width - tau**2))) / (1 + width)


def lower_end(tau: np.ndarray, width: np.ndarray, excess: np.ndarray) -> np.ndarray:
    """The smaller t with (tau - t)^2 = width (1 - t^2) + excess (t / tau) (1 - t tau), for tau >= 0.

    The last term makes the sum (width + excess) (1 - tau^2) at t = tau, and width at zero. Where zero is not
    excluded, it is excess (1 - t^2) instead.
    """
    excluded = tau**2 > width
    square = 1 + width + excess
    linear = 2 * tau + np.divide(excess, tau, out=np.zeros_like(tau), where=excluded)
    constant = tau**2 - width - np.where(excluded, 0, excess)
    return (linear - np.sqrt(linear**2 - 4 * square * constant)) / (2 * square)
