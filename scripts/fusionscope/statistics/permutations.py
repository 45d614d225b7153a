"""Permutations of whole seeds: what would be seen if the metrics had nothing to do with the outcome.

A seed's outcomes change place together, in all strata at once, so that what the models of a seed have in
common stays as it is. Only seeds that have outcomes in the same strata change places: those of different
experiments never do, and the number of pairs is the same in every order.
"""

import itertools
import math

import numpy as np

from fusionscope.statistics.pairs import Pairs

MOST_LISTED = 50_000  # orders; all those of 8 seeds are 40,320
DRAWN = 10_000  # orders, where there are more
STREAM = 0  # of the draws: the same in every run
BLOCK = 200_000  # pairs times orders at a time, some megabytes


def seed_orders(outcome: np.ndarray, *, drawn: int = DRAWN) -> np.ndarray:
    """Orders (orders, seeds) of the seeds of `outcome` (strata, seeds): all, or so many drawn at random.

    Row by row: whose outcome each seed gets. The first order is the one observed. NaN is no outcome.
    """
    _, kinds = np.unique(~np.isnan(outcome), axis=1, return_inverse=True)
    groups = [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]
    if count_orders(groups) <= MOST_LISTED:
        return listed_orders(groups)
    stream = np.random.default_rng(STREAM)
    result = np.tile(np.arange(outcome.shape[1]), (drawn + 1, 1))
    for group in groups:
        result[1:, group] = stream.permuted(result[1:, group], axis=1)
    return result


def count_orders(groups: list[np.ndarray]) -> int:
    return math.prod(math.factorial(len(group)) for group in groups)


def listed_orders(groups: list[np.ndarray]) -> np.ndarray:
    """All orders (orders, seeds) that keep each seed within its group."""
    result = np.arange(sum(map(len, groups)))[np.newaxis]
    for group in groups:
        orders = np.array(list(itertools.permutations(group)))
        before = len(result)
        result = np.repeat(result, len(orders), axis=0)
        result[:, group] = np.tile(orders, (before, 1))
    return result


def permuted_scores(pairs: Pairs, orders: np.ndarray) -> np.ndarray:
    """Concordant less discordant pairs (orders, metrics), with the outcome's seeds in each of `orders`."""
    if not len(pairs.first):
        return np.zeros((len(orders), len(pairs.metric)), dtype=np.float32)
    metric = pairs.metric.T.astype(np.float32)  # sums of signs are exact in it up to 16 million pairs
    outcome, seeds = pairs.outcome.astype(np.float32).ravel(), pairs.outcome.shape[1]
    start = pairs.stratum * seeds**2  # of the stratum's matrix in `outcome`
    blocks = np.array_split(orders, math.ceil(len(orders) * len(start) / BLOCK))
    return np.concatenate(
        [outcome[start + seeds * block[:, pairs.first] + block[:, pairs.second]] @ metric for block in blocks]
    )


def counts_beyond(scores: np.ndarray) -> np.ndarray:
    """In how many orders a metric's score is at least as far from zero as in each (orders, metrics)."""
    sizes = np.abs(scores).astype(int)
    counts = np.empty_like(sizes)
    for metric, of_metric in enumerate(sizes.T):
        as_large = np.bincount(of_metric)[::-1].cumsum()[::-1]
        counts[:, metric] = as_large[of_metric]
    return counts


def adjusted(counts: np.ndarray, family: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """P-values (metrics,) of `wanted` counts, adjusted for the smallest among the metrics of a family.

    `counts`: what counts_beyond gives, with the observed order among the orders; `family` (metrics,): who is
    in it. The share of orders in which any of the family has as few orders beyond it: min P, in one step
    (Westfall & Young 1993, Resampling-Based Multiple Testing). It takes scores of metrics with different
    numbers of known pairs for what they say, and never exceeds Bonferroni's p-value.
    """
    smallest = np.sort(counts[:, family].min(axis=1, initial=len(counts)))
    return np.searchsorted(smallest, wanted, side="right") / len(counts)
