"""The scale of a perturbation at which a given share of the accuracy is lost: bracketing root finding.

What is searched is a deterministic function: its random draws are common to all scales. A value of it
is a mean over items (draws, or images); it looks at no more of them than its sign needs.
"""

import math
from collections.abc import Callable
from functools import cache, partial

import torch
from scipy.optimize import brentq
from scipy.special import stdtrit
from torch import Tensor

from fusionscope.measurement import LEFT, NOT_CENSORED, RIGHT
from fusionscope.measures.parameter.perturbation import Scale

ACCURACY_DROP = 0.1  # Jiang et al.'s threshold
MAX_DROP = ACCURACY_DROP + 1e-9  # rounding of a difference of accuracies: 0.8 - 0.7 is a little more than 0.1
SIGN_ERROR = 1e-3  # chance that a part of the items shows the wrong sign of the mean of all
SLOPE_STEP = 0.1  # in log scale, to each side, for the error of a root; drops are convex: wider is steeper
FIRST_STEP, FINE_STEP = math.log(4), math.log(1.1)  # from a guess towards a bracket; steps double
FIRST_DRAWS, MOST_DRAWS = 16, 4096  # where an error is asked for instead of a number of draws

Items = Callable[[int, int], Tensor]  # (start, stop) -> accuracy lost by these items (stop - start,)


def sample_until_decided(items: Items, total: int, first: int, spread: float) -> Tensor:
    """The first of `total` items, as many as make clear on which side of MAX_DROP their mean lies.

    `first` of them, then twice as many, and so on; `spread` is the least that one item is taken to vary.
    """
    lost = items(0, min(first, total))
    while len(lost) < total and not is_clear(lost, total, spread):
        lost = torch.cat([lost, items(len(lost), min(2 * len(lost), total))])
    return lost


def is_clear(lost: Tensor, total: int, spread: float) -> bool:
    """Whether the mean of all `total` items lies on the same side of MAX_DROP as that of those in `lost`.

    Student's t for a sample without replacement from finitely many; wrong with a chance of SIGN_ERROR / 2.
    """
    n = len(lost)
    error = max(lost.std().item(), spread) * math.sqrt(max(0.0, 1 / n - 1 / total))
    return abs(lost.mean().item() - MAX_DROP) > -stdtrit(n - 1, SIGN_ERROR / 2) * error


def crossing(
    drop: Callable[[float], float], low: float, high: float, tolerance: float, *, guess: float, step: float
) -> tuple[float, str]:
    """Where `drop` passes MAX_DROP, within `tolerance`, and whether that is censored; all in log scale.

    From `guess` in steps that double until two points bracket the root, then Brent's method. Where not even
    `high` costs that much the answer is `high`, RIGHT-censored; where `low` already costs more, `low`,
    LEFT-censored.
    """

    @cache
    def excess(log_scale: float) -> float:
        # what lies far above says no more than its sign: a drop is at least about 0, at most about 1
        return min(drop(math.exp(log_scale)) - MAX_DROP, MAX_DROP)

    position = guess
    downwards = excess(position) > 0
    end = low if downwards else high
    while position != end:
        before = position
        position = max(position - step, end) if downwards else min(position + step, end)
        if (excess(position) > 0) != downwards:
            return brentq(excess, before, position, xtol=tolerance), NOT_CENSORED
        step *= 2
    return (low, LEFT) if downwards else (high, RIGHT)


def largest_mean_scale(
    drops: Callable[[float, int, int], Tensor],
    *,
    low: float,
    high: float,
    tolerance: float,
    spread: float,
    draws: int | None = None,
    target_error: float | None = None,
) -> Scale:
    """The scale at which the mean over draws passes MAX_DROP.

    `drops(scale, start, stop)`: the accuracy lost by these draws; `spread`: the least that one is taken to
    vary. Either `draws` of them are used, or as many as bring the relative standard error to `target_error`
    (MOST_DRAWS at the most).
    """
    ends = math.log(low), math.log(high)
    count, guess, step = draws or FIRST_DRAWS, sum(ends) / 2, FIRST_STEP
    first = min(FIRST_DRAWS // 2, count)
    drops = remembering(drops)
    while True:

        def mean_drop(scale: float, count: int = count) -> float:
            return sample_until_decided(partial(drops, scale), count, first, spread).mean().item()

        root, censored = crossing(mean_drop, *ends, tolerance, guess=guess, step=step)
        if censored != NOT_CENSORED:
            return Scale(low if censored == LEFT else high, None, censored)
        value = math.exp(root)
        found = Scale(value, log_error(drops, value, count), NOT_CENSORED)
        if target_error is None or found.log_error is None:
            return found
        if found.log_error <= target_error or count == MOST_DRAWS:
            return found
        wanted = math.ceil(1.1 * count * (found.log_error / target_error) ** 2)
        guess, step = root, FINE_STEP
        count = min(max(wanted, count + first), MOST_DRAWS)


def remembering(drops: Callable[[float, int, int], Tensor]) -> Callable[[float, int, int], Tensor]:
    """`drops` that makes no draw twice at the same scale."""
    known: dict[float, Tensor] = {}

    def remembered(scale: float, start: int, stop: int) -> Tensor:
        seen = known.get(scale, torch.empty(0, dtype=torch.float64))
        if len(seen) < stop:
            seen = known[scale] = torch.cat([seen, drops(scale, len(seen), stop)])
        return seen[start:stop]

    return remembered


def log_error(drops: Callable[[float, int, int], Tensor], scale: float, draws: int) -> float | None:
    """Standard error of log(scale) by the delta method: that of the mean drop over its slope.

    None from a single draw or a flat drop.
    """
    below, above = (drops(scale * math.exp(step), 0, draws).mean() for step in (-SLOPE_STEP, SLOPE_STEP))
    slope = (above - below).item() / (2 * SLOPE_STEP)
    if draws < 2 or slope <= 0:
        return None
    return drops(scale, 0, draws).std().item() / math.sqrt(draws) / slope


def largest_worst_scale(
    drop: Callable[[float, int], float],
    *,
    starts: int,
    low: float,
    high: float,
    tolerance: float,
    guess: float | None = None,
) -> Scale:
    """The smallest over starts of the scale at which the worst case found from a start passes MAX_DROP.

    `drop(scale, start)`: the accuracy lost. The search sets out from `guess`, or from the middle of the
    range. Starts are taken one by one: one that withstands the smallest scale so far costs a single look,
    one that does not moves the search. The error is the bootstrap's over starts; those that
    withstood are placed by the slope of the drop.
    """
    lowest, highest = math.log(low), math.log(high)
    first = (lowest + highest) / 2 if guess is None else min(max(math.log(guess), lowest), highest)
    drop = cache(drop)
    root, censored, culprit = highest, RIGHT, 0
    roots: list[float] = []
    withstood: list[tuple[float, float]] = []  # where, and how much less than allowed was lost there
    for start in range(starts):
        if start == 0:
            position, step = first, FIRST_STEP
        else:
            spare = MAX_DROP - drop(math.exp(root), start)
            if spare >= 0:
                withstood.append((root, spare))
                continue
            position, step = root, FINE_STEP

        def drop_from_start(scale: float, start: int = start) -> float:
            return drop(scale, start)

        root, censored = crossing(drop_from_start, lowest, root, tolerance, guess=position, step=step)
        culprit = start
        roots.append(root)
        if censored == LEFT:
            break
    if censored != NOT_CENSORED:
        return Scale(low if censored == LEFT else high, None, censored)
    value = math.exp(root)
    below, above = (drop(value * math.exp(step), culprit) for step in (-SLOPE_STEP, SLOPE_STEP))
    slope = (above - below) / (2 * SLOPE_STEP)
    if starts < 2 or slope <= 0:
        return Scale(value, None, censored)
    logs = torch.tensor([*roots, *(log + spare / slope for log, spare in withstood)], dtype=torch.float64)
    return Scale(value, error_of_smallest(logs), censored)


def error_of_smallest(values: Tensor) -> float:
    """The standard error of the smallest of `values` (n,), independent and alike.

    The bootstrap's, which for a smallest value is too large, over what it is too large by where gaps are
    exponential, as those at the end of a distribution are.
    """
    return bootstrap_error_of_smallest(values) / bootstrap_inflation(len(values))


def bootstrap_error_of_smallest(values: Tensor) -> float:
    """Standard deviation of the smallest of n draws with replacement from `values` (n,), without drawing."""
    _, probability = resampled_smallest(len(values))
    ordered = values.sort().values
    mean = probability @ ordered
    return (probability @ (ordered - mean).square()).sqrt().item()


def bootstrap_inflation(n: int) -> float:
    """Of n unit exponentials: the root mean square of the bootstrap's error of the smallest, over 1 / n.

    The i-th smallest is the sum of independent exponential gaps with means 1 / n, ..., 1 / (n - i + 1).
    """
    beyond, probability = resampled_smallest(n)
    gaps = 1 / torch.arange(n, 0, -1, dtype=torch.float64)
    square = probability @ (gaps.cumsum(0).square() + gaps.square().cumsum(0))
    mean_square = (beyond @ gaps) ** 2 + (beyond * gaps).square().sum()
    return (square - mean_square).sqrt().item() * n


def resampled_smallest(n: int) -> tuple[Tensor, Tensor]:
    """The chances (n,) that a resample's smallest is the i-th smallest or beyond, and that it is that."""
    at_least = (torch.arange(n, -1, -1, dtype=torch.float64) / n) ** n
    return at_least[:-1], at_least[:-1] - at_least[1:]
