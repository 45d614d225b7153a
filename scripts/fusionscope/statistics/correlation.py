"""Which metrics go with the outcome, over seeds: Kendall's tau decides, two other coefficients describe.

Points lie in strata (one per experiment and model, say): only what happens inside a stratum counts, so that
differences between models, which any metric can pick up, do not pass for prediction. The unit is the seed:
p-values come from permutations of whole seeds, intervals from these and from leaving seeds out.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from fusionscope.measurement import NOT_CENSORED
from fusionscope.statistics.describe import pearson, spearman
from fusionscope.statistics.intervals import tau_intervals
from fusionscope.statistics.kendall import Tau, kendall
from fusionscope.statistics.pairs import pairs_within
from fusionscope.statistics.permutations import (
    DRAWN,
    adjusted,
    counts_beyond,
    permuted_scores,
    seed_orders,
)
from fusionscope.statistics.result import Correlation, without
from fusionscope.statistics.verdicts import RESTATES, Size, verdict


def correlations(
    values: ArrayLike,
    outcome: ArrayLike,
    *,
    censored: ArrayLike | None = None,
    restates: ArrayLike | None = None,
    experiments: ArrayLike | None = None,
    drawn: int = DRAWN,
) -> list[dict[str, Correlation]]:
    """For each metric, by the coefficient's name, how its `values` go with the `outcome`.

    `values` (metrics, strata, seeds) and `outcome` (strata, seeds), of which more is better; NaN is no value.
    `censored`, shaped as `values`: measurement.LEFT, RIGHT or NOT_CENSORED. `restates` (metrics,): whether a
    metric says the outcome in other words; such a one is in no family and has no p-value. `experiments`
    (seeds,): labels; seeds of different experiments share no stratum. `drawn`: how many orders of the seeds
    are drawn where they are too many to list.
    """
    x, y = np.asarray(values, dtype=float), np.asarray(outcome, dtype=float)
    bound = np.full(x.shape, NOT_CENSORED) if censored is None else np.asarray(censored)
    said = np.zeros(len(x), dtype=bool) if restates is None else np.asarray(restates, dtype=bool)
    label = np.zeros(y.shape[1]) if experiments is None else np.asarray(experiments)
    seen = ~np.isnan(y).all(axis=0)
    x, y, bound, label = x[:, :, seen], y[:, seen], bound[:, :, seen], label[seen]
    decided = decide(x, y, bound, said, len(set(label)), drawn)
    exact = np.where(bound == NOT_CENSORED, x, np.nan)
    return [
        {"kendall": tau, "pearson": pearson(metric, y), "spearman": spearman(metric, y)}
        for tau, metric in zip(decided, exact, strict=True)
    ]


def decide(
    x: np.ndarray, y: np.ndarray, bound: np.ndarray, restates: np.ndarray, experiments: int, drawn: int
) -> list[Correlation]:
    """Kendall's tau of each metric, tested and judged, or why there is none; `bound` is what is censored."""
    pairs = pairs_within(x, bound, y)
    tau = kendall(pairs)
    scores = permuted_scores(pairs, seed_orders(y, drawn=drawn))
    counts = counts_beyond(scores)
    family = ~restates & ~np.isnan(tau.value)
    p_values = counts[0] / len(counts)
    p_adjusted, best = (adjusted(counts, family, wanted) for wanted in (counts[0], counts.min(axis=0)))
    n_seeds = tau.points.any(axis=1).sum(axis=1)
    free = n_seeds - experiments + 1  # an experiment's level takes one
    lows, highs = tau_intervals(tau.value, tau.left_out, null_variance(scores, tau), free)
    results = [untested(tau, metric) for metric in range(len(x))]
    for i in np.flatnonzero(family):
        size = Size(int(n_seeds[i]), metrics=int(family.sum()), experiments=experiments)
        results[i] = replace(
            results[i],
            p_value=float(p_values[i]),
            p_adjusted=float(p_adjusted[i]),
            low=float(lows[i]),
            high=float(highs[i]),
            verdict=verdict(tau.value[i], p_adjusted[i], best[i], size),
        )
    return [
        replace(found, verdict=RESTATES) if said else found
        for found, said in zip(results, restates, strict=True)
    ]


def null_variance(scores: np.ndarray, tau: Tau) -> np.ndarray:
    """The variance of tau (metrics,) over the orders of the seeds."""
    mean_square = np.mean(scores.astype(float) ** 2, axis=0)
    return np.divide(mean_square, tau.untied**2, out=np.zeros(len(mean_square)), where=tau.untied > 0)


def untested(tau: Tau, metric: int) -> Correlation:
    """The coefficient, or why there is none."""
    points = tau.points[metric]
    n, n_seeds = int(points.sum()), int(points.any(axis=0).sum())
    if not np.isnan(tau.value[metric]):
        return Correlation(float(tau.value[metric]), n=n, n_seeds=n_seeds)
    if n == 0:
        return without("too few points whose order is known")
    reason = "outcome is constant" if tau.differs[0, metric] else "metric is constant"
    return without(reason, n=n, n_seeds=n_seeds)
