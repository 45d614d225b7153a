"""Kendall's partial tau: what is left of a relation when a third variable is given."""

import numpy as np


def partial_tau(with_outcome: np.ndarray, with_given: np.ndarray, between: float) -> np.ndarray:
    """(metrics,) tau of a metric with the outcome, given a third variable (Kendall 1942, Biometrika 32, 277).

    `with_outcome`, `with_given` (metrics,): tau of the metric with the outcome and with the third variable;
    `between`: that of these two. NaN where one of the three is not known, or where the third says all.
    """
    room = np.sqrt((1 - with_given**2) * (1 - between**2))
    rest = with_outcome - with_given * between
    return np.divide(rest, room, out=np.full(np.shape(rest), np.nan), where=room > 1e-12)
