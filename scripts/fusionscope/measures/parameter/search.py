"""The scale of a perturbation at which a given share of the accuracy is lost: bracketing root finding.

What is searched is a deterministic function: its random draws are common to all scales. A value of it
is a mean over items (draws, or images); it looks at no more of them than its sign needs.
"""

import math
from collections.abc import Callable, Iterable
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
BOX_STEP = math.log(1.3)  # from the guess of an attack; steps double
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


def smallest_broken_scale(
    attacks: Iterable[tuple[float, Callable[[float], bool]]], *, low: float, high: float, tolerance: float
) -> Scale:
    """The smallest scale at which one of `attacks` breaks the network, an upper bound of where it breaks.

    An attack is a guess of its scale and a function of a scale: whether it breaks the network there, going on
    from what it found before. The first to break it goes down from there as far as it can, within `tolerance`
    in log scale; a later one is given up unless it breaks the network further down. Where none breaks it the
    answer is `high`, RIGHT-censored; where one does at `low`, that, LEFT-censored.
    """
    lowest, highest = math.log(low), math.log(high)
    root, censored = highest, RIGHT
    for guess, breaks in attacks:
        if censored == RIGHT:
            position = min(max(math.log(max(guess, low)), lowest), highest)
            broken = climb(breaks, position, highest)
        else:
            broken = max(root - tolerance, lowest)
            broken = broken if breaks(math.exp(broken)) else None
        if broken is None:
            continue
        root, censored = descend(breaks, broken, lowest, tolerance)
        if censored == LEFT:
            return Scale(low, censored=LEFT)
    return Scale(high if censored == RIGHT else math.exp(root), censored=censored)


def climb(breaks: Callable[[float], bool], position: float, highest: float) -> float | None:
    """The first place from `position` on, in log scale, at which `breaks`; None if there is none."""
    step = BOX_STEP
    while not breaks(math.exp(position)):
        if position == highest:
            return None
        position = min(position + step, highest)
        step *= 2
    return position


def descend(
    breaks: Callable[[float], bool], position: float, lowest: float, tolerance: float
) -> tuple[float, str]:
    """How far down from `position`, where it does, the network still `breaks`; in log scale.

    Steps double where it breaks and become a quarter where it does not, down to `tolerance`.
    """
    step = max(BOX_STEP, tolerance)
    while position > lowest:
        lower = max(position - step, lowest)
        if breaks(math.exp(lower)):
            position = lower
            step *= 2
        elif step > tolerance:
            step = max(step / 4, tolerance)
        else:
            return position, NOT_CENSORED
    return lowest, LEFT
