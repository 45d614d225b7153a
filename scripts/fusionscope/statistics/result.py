"""What there is to say about how one metric goes with the outcome."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Correlation:
    """A coefficient, or None and the `reason` why there is none; what is not known or not tested is None."""

    coefficient: float | None
    p_value: float | None = None  # of this metric alone
    p_adjusted: float | None = None  # for all metrics of its family
    low: float | None = None  # interval at 95 %
    high: float | None = None
    n: int = 0  # points used, one a model and seed
    n_seeds: int = 0
    verdict: str = ""
    reason: str = ""


def without(reason: str, *, n: int = 0, n_seeds: int = 0) -> Correlation:
    """No coefficient."""
    return Correlation(None, n=n, n_seeds=n_seeds, reason=reason)
