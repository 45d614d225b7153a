"""Confidence intervals of Kendall's tau over seeds."""

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
FEWEST_SEEDS = 4  # three have six orders: everything is possible


def tau_intervals(
    tau: np.ndarray, left_out: np.ndarray, null_variance: np.ndarray, n: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends (metrics,) at 95 % for each `tau` (metrics,).

    An inverted test, as Wilson's interval of a share (1927, JASA 22, 209): a true value t is in the interval
    while (tau - t)^2 <= q^2 v (1 - t^2). Kendall's bound of tau's variance has this form too (Daniels &
    Kendall 1947, Biometrika 34, 197: v <= 2 / n). v is the larger of two: `null_variance`, that of tau over
    permutations of the seeds, which is right at t = 0 and makes interval and p-value agree there; and the
    jackknife's, from tau without each of the seeds, `left_out` (metrics, seeds), over 1 - tau^2. At perfect
    order the jackknife has nothing to say, and the end comes from the number of seeds. q is Student's t with
    2 (n - 1) degrees of freedom, twice the jackknife's, as the other variance has no error to speak of; `n`
    (metrics,) are the seeds, one less for each further experiment. What that covers is simulated in
    docs/statistics.md.
    """
    enough, n = n >= FEWEST_SEEDS, np.maximum(n, 2)
    known = np.where(np.isnan(left_out), tau[:, np.newaxis], left_out)
    jackknife = (n - 1) / n * np.sum((known - tau[:, np.newaxis]) ** 2, axis=1)
    room = 1 - tau**2
    of_jackknife = np.divide(jackknife, room, out=np.zeros_like(tau), where=room > 0)
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, 2 * (n - 1))
    width = quantile**2 * np.maximum(null_variance, of_jackknife)
    half = np.sqrt(width * (1 + width - tau**2))
    low, high = ((tau + sign * half) / (1 + width) for sign in (-1, 1))
    # what rounding takes off a perfect order's own end is put back
    return np.where(enough, np.minimum(low, tau), -1.0), np.where(enough, np.maximum(high, tau), 1.0)
