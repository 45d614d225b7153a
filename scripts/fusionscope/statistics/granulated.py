"""Which metrics go with the outcome over the settings of a sweep.

Both statistics compare settings that differ along one axis alone, so that a metric which merely follows
another axis earns nothing (Jiang et al. 2019, arXiv 1912.02178, section 5; Dziugaite et al. 2020, arXiv
2010.11924, section 3). The settings are taken as they are: errors are those of the seeds, of which each was
drawn in all settings.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from fusionscope.statistics.intervals import CONFIDENCE, tau_intervals
from fusionscope.statistics.pairs import orders


@dataclass(frozen=True)
class Neighbours:
    """All pairs of settings that differ along one axis alone."""

    first: np.ndarray  # (pairs,) settings
    second: np.ndarray  # (pairs,)
    axis: np.ndarray  # (pairs,) numbers of axes, from 0


@dataclass(frozen=True)
class OverSettings:
    """How each metric goes with the outcome over settings; NaN where nothing can be compared.

    `low` and `high` hold for one metric by itself; `family_low` and `family_high` for all at once.
    """

    value: np.ndarray  # (metrics,) granulated Kendall, mean over seeds
    low: np.ndarray
    high: np.ndarray
    family_low: np.ndarray
    family_high: np.ndarray
    n_seeds: np.ndarray  # (metrics,)
    sign_error: np.ndarray  # (metrics,) of the worst pair of settings, in the direction that `value` has
    sign_error_low: np.ndarray
    sign_error_high: np.ndarray
    worst: np.ndarray  # (metrics,) place of that pair among the neighbours, -1 without


def neighbours(settings: Sequence[Sequence[object]]) -> Neighbours:
    """The pairs of `settings`, each a sequence of its axes' values, that differ in one value.

    Where no two do, as where axes are swept together, all pairs along a single axis.
    """
    found = [
        (i, j, differ)
        for i in range(len(settings))
        for j in range(i + 1, len(settings))
        if (differ := [k for k, (a, b) in enumerate(zip(settings[i], settings[j], strict=True)) if a != b])
    ]
    single = [(i, j, differ[0]) for i, j, differ in found if len(differ) == 1]
    chosen = single or [(i, j, 0) for i, j, _ in found]
    first, second, axis = np.array(chosen, dtype=int).reshape(-1, 3).T
    return Neighbours(first, second, axis)


def over_settings(
    values: ArrayLike,
    outcome: ArrayLike,
    pairs: Neighbours,
    *,
    censored: ArrayLike,
    restates: ArrayLike | None = None,
) -> OverSettings:
    """Granulated Kendall and the worst sign error of each metric, with errors over seeds.

    `values`, `censored` (metrics, settings, seeds) and `outcome` (settings, seeds), of which more is better;
    NaN is no value, `censored` as in measurement. A seed's settings are compared with each other alone. The
    family are the metrics that can be compared and do not, by `restates` (metrics,), restate the outcome.
    """
    x, y, bound = np.asarray(values, dtype=float), np.asarray(outcome, dtype=float), np.asarray(censored)
    products, known, compared = comparisons(x, y, bound, pairs)
    by_seed = granulated(products, known, pairs.axis)
    said = np.zeros(len(x), dtype=bool) if restates is None else np.asarray(restates, dtype=bool)
    family = int(((~np.isnan(by_seed)).any(axis=1) & ~said).sum())
    n = (~np.isnan(by_seed)).sum(axis=1)
    value = np.array([np.nanmean(row) if count else np.nan for row, count in zip(by_seed, n, strict=True)])
    null = null_variance(pairs) / np.maximum(n, 1)
    without = left_out(by_seed)
    low, high = tau_intervals(value, without, null, n)
    family_low, family_high = tau_intervals(
        value, without, null, n, confidence=1 - (1 - CONFIDENCE) / max(family, 1)
    )
    direction = np.where(value < 0, -1, 1)[:, np.newaxis, np.newaxis]
    error, error_low, error_high, worst = worst_sign_errors(products * direction, compared)
    return OverSettings(value, low, high, family_low, family_high, n, error, error_low, error_high, worst)


def comparisons(
    x: np.ndarray, y: np.ndarray, bound: np.ndarray, pairs: Neighbours
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each metric, pair and seed (metrics, pairs, seeds): the product of the signs of the differences,
    whether both orders (or ties) are known, and whether the outcomes differ besides."""
    by_seed = [
        orders(x[:, :, seed], bound[:, :, seed], pairs.first, pairs.second) for seed in range(x.shape[2])
    ]
    signs, known = (np.stack(parts, axis=-1) for parts in zip(*by_seed, strict=True))
    differences = y[pairs.first] - y[pairs.second]
    known &= ~np.isnan(differences)
    outcome = np.sign(np.nan_to_num(differences)).astype(int)
    return signs * outcome, known, known & (outcome != 0)


def granulated(products: np.ndarray, known: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Jiang et al.'s Psi (metrics, seeds): Kendall's tau along each axis, then the mean over axes.

    Along an axis, the mean over all pairs whose orders are known of the product of their signs; ties count
    zero. With all known this is the mean of the tau of each line of settings. NaN without a known pair.
    """
    each = []
    for number in np.unique(axis):
        inside = axis == number
        total, count = products[:, inside].sum(axis=1), known[:, inside].sum(axis=1)
        each.append(np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0))
    if not each:
        return np.full((products.shape[0], products.shape[2]), np.nan)
    stacked = np.stack(each)
    counted = ~np.isnan(stacked)
    return np.divide(
        np.nansum(stacked, axis=0),
        counted.sum(axis=0),
        out=np.full(stacked.shape[1:], np.nan),
        where=counted.any(axis=0),
    )


def left_out(by_seed: np.ndarray) -> np.ndarray:
    """The mean (metrics, seeds) of the other seeds' values; NaN where a seed has none."""
    counted = ~np.isnan(by_seed)
    others = counted.sum(axis=1, keepdims=True) - 1
    total = np.nansum(by_seed, axis=1, keepdims=True) - np.nan_to_num(by_seed)
    return np.divide(total, others, out=np.full(by_seed.shape, np.nan), where=counted & (others > 0))


def null_variance(pairs: Neighbours) -> float:
    """The variance of one seed's Psi where a metric has nothing to do with the outcome: all orders of the
    settings' metrics alike.

    Psi is a mean of products of signs. Those of two pairs go together only where they share a setting: the
    mean product of the signs of a - b and a - c is 1/3 for each of the two factors, 1/9 for both.
    """
    weights = np.zeros(len(pairs.axis))
    kinds, counts = np.unique(pairs.axis, return_counts=True)
    for kind, count in zip(kinds, counts, strict=True):
        weights[pairs.axis == kind] = 1 / (count * len(kinds))
    same = (pairs.first[:, None] == pairs.first).astype(int) + (pairs.second[:, None] == pairs.second)
    crossed = (pairs.first[:, None] == pairs.second).astype(int) + (pairs.second[:, None] == pairs.first)
    # pairs that share one setting on the same side have signs that agree, on different sides that differ;
    # the product of two factors with the same sign of agreement is 1/9 in either case
    shared = np.where(same + crossed == 2, 1.0, np.where(same + crossed == 1, 1 / 9, 0.0))
    return float(weights @ shared @ weights)


def worst_sign_errors(
    products: np.ndarray, compared: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The largest sign error of a metric over pairs of settings (Dziugaite et al. 2020, section 3), with the
    ends of its interval and the place of the pair.

    The sign error of a pair is the share of seeds in which the metric does not order the two settings as the
    outcome does, a tie in the metric being half an error; seeds in which the outcome is tied do not count.
    `products` and `compared` (metrics, pairs, seeds). Each pair's share has an exact interval (Clopper &
    Pearson 1934), at a level shared out among all pairs; the worst lies between the largest lower and the
    largest upper end.
    """
    count = compared.sum(axis=2)
    wrong = (np.where(compared, 1 - products, 0) / 2).sum(axis=2)
    share = np.divide(wrong, count, out=np.full(count.shape, -1.0), where=count > 0)
    counted = count > 0
    tail = (1 - CONFIDENCE) / (2 * np.maximum(counted.sum(axis=1, keepdims=True), 1))
    # half an error is taken for none at the lower end, and for one at the upper
    least, most = np.floor(wrong), np.ceil(wrong)
    lower = np.where(least > 0, stats.beta.ppf(tail, least, count - least + 1), 0.0)
    upper = np.where(most < count, stats.beta.ppf(1 - tail, most + 1, count - most), 1.0)
    any_pair = counted.any(axis=1)
    if not counted.size:
        nothing = np.full(len(products), np.nan)
        return nothing, nothing, nothing, np.full(len(products), -1)
    place = share.argmax(axis=1)
    low = np.where(counted, lower, 0).max(axis=1)
    high = np.where(counted, upper, 0).max(axis=1)
    return (
        np.where(any_pair, share.max(axis=1), np.nan),
        np.where(any_pair, low, np.nan),
        np.where(any_pair, high, np.nan),
        np.where(any_pair, place, -1),
    )
