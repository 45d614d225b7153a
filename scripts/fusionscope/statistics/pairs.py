"""Pairs of seeds within strata, and which of the two has more: all that rank statistics look at."""

from dataclasses import dataclass

import numpy as np

from fusionscope.measurement import LEFT, NOT_CENSORED, RIGHT


@dataclass(frozen=True)
class Pairs:
    """Every pair of seeds that both have an outcome in a stratum, strata one after the other.

    Signs are +1 where the first of the pair has more, -1 where it has less, else 0.
    """

    first: np.ndarray  # (pairs,) seeds
    second: np.ndarray  # (pairs,)
    stratum: np.ndarray  # (pairs,)
    metric: np.ndarray  # (metrics, pairs) signs; 0 also where the order is not known
    known: np.ndarray  # (metrics, pairs) whether the order, or the tie, is known
    outcome: np.ndarray  # (strata, seeds, seeds) signs; 0 also where a seed has no outcome


def pairs_within(values: np.ndarray, censored: np.ndarray, outcome: np.ndarray) -> Pairs:
    """The pairs of `values` and `censored`, both (metrics, strata, seeds), and of `outcome` (strata, seeds).

    NaN is no value.
    """
    found = []
    for number, present in enumerate(~np.isnan(outcome)):
        seeds = np.flatnonzero(present)
        first, second = (seeds[of_pair] for of_pair in np.triu_indices(len(seeds), k=1))
        signs, known = orders(values[:, number], censored[:, number], first, second)
        found.append((first, second, np.full(len(first), number), signs, known))
    first, second, stratum, signs, known = (
        np.concatenate(parts, axis=-1) for parts in zip(*found, strict=True)
    )
    more = outcome[:, :, np.newaxis] > outcome[:, np.newaxis, :]
    return Pairs(first, second, stratum, signs, known, more.astype(np.int8) - more.swapaxes(1, 2))


def orders(
    values: np.ndarray, censored: np.ndarray, first: np.ndarray, second: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Signs (metrics, pairs) of the first seed's value less the second's, and whether they are known.

    A right-censored value lies above all exact ones up to the number given, that number included, and above
    left-censored ones up to it; a left-censored one the other way round. Two values censored on one side,
    and those whose ranges overlap, have no known order. (Gehan 1965, Biometrika 52, 203.)
    """
    lowest = np.where(censored == LEFT, -np.inf, values)
    highest = np.where(censored == RIGHT, np.inf, values)
    exact = censored == NOT_CENSORED
    both_exact = exact[:, first] & exact[:, second]
    more = above(lowest[:, first], highest[:, second], both_exact)
    less = above(lowest[:, second], highest[:, first], both_exact)
    tied = both_exact & (values[:, first] == values[:, second])
    return more.astype(np.int8) - less, more | less | tied


def above(lowest: np.ndarray, highest: np.ndarray, both_exact: np.ndarray) -> np.ndarray:
    """Whether a value of at least `lowest` lies above one of at most `highest`; equal exact ones are tied."""
    return (lowest > highest) | ((lowest == highest) & np.isfinite(lowest) & ~both_exact)
