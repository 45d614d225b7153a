"""Kendall's tau over strata: how far pairs of seeds that differ in the metric also differ in the outcome."""

from dataclasses import dataclass

import numpy as np

from fusionscope.statistics.pairs import Pairs


@dataclass(frozen=True)
class Tau:
    """Kendall's tau of each metric, over all pairs, and without each seed."""

    value: np.ndarray  # (metrics,) NaN where no pair differs in the metric, or none in the outcome
    left_out: np.ndarray  # (metrics, seeds) without this seed
    untied: np.ndarray  # (metrics,) the score's denominator
    differs: np.ndarray  # (2, metrics) whether any pair of known order differs in the metric, in the outcome
    points: np.ndarray  # (metrics, strata, seeds) whether the point is in a pair of known order


def kendall(pairs: Pairs) -> Tau:
    """Tau-b over strata: concordant less discordant pairs, over sqrt(untied in metric * untied in outcome).

    Sums go over pairs within strata in which the order of the metric (or its tie) is known; others count
    neither above nor below, so that tau is 1 where all that is known agrees (Oakes 1982, Biometrics 38, 451).
    With one stratum and all known it is Kendall's tau-b.
    """
    outcome = pairs.outcome[pairs.stratum, pairs.first, pairs.second]
    counted = np.stack([pairs.metric * outcome, np.abs(pairs.metric), pairs.known * np.abs(outcome)])
    counted = counted.astype(np.float32)  # in which sums of signs are exact up to 16 million pairs
    total = counted.sum(axis=-1, dtype=float)
    strata, seeds = pairs.outcome.shape[:2]
    member = np.zeros((len(outcome), seeds), dtype=np.float32)
    for seed in (pairs.first, pairs.second):
        member[np.arange(len(outcome)), seed] = 1
    inside = [pairs.stratum == stratum for stratum in range(strata)]
    return Tau(
        value=ratio(total),
        left_out=ratio(total[..., np.newaxis] - counted @ member),
        untied=np.sqrt(total[1] * total[2]),
        differs=total[1:] > 0,
        points=np.stack([pairs.known[:, own] @ member[own] > 0 for own in inside], axis=1),
    )


def ratio(tally: np.ndarray) -> np.ndarray:
    """Tau of (3, ...): score, pairs untied in the metric, pairs untied in the outcome."""
    score, *untied = tally
    pairs = np.sqrt(untied[0] * untied[1])
    return np.divide(score, pairs, out=np.full(score.shape, np.nan), where=pairs > 0)
