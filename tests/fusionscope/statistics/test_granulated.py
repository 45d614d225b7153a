"""Granulated Kendall and worst sign errors, against direct counts; their intervals, against simulation."""

import itertools

import numpy as np
import pytest
from scipy import stats

from fusionscope.measurement import LEFT, NOT_CENSORED, RIGHT
from fusionscope.statistics.granulated import (
    comparisons,
    granulated,
    neighbours,
    null_variance,
    over_settings,
)

GRID = list(itertools.product((1, 2, 3), (0, 1, 2, 3)))  # twelve settings of two axes


def exact(values: np.ndarray) -> np.ndarray:
    return np.full(values.shape, NOT_CENSORED, dtype="<U5")


def drawn(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def direct_psi(x: np.ndarray, y: np.ndarray, settings: list[tuple]) -> float:
    """Jiang et al. 2019, equations (5) to (7), from SciPy's tau of each line of settings."""
    axes = []
    for axis in range(len(settings[0])):
        lines: dict[tuple, list[int]] = {}
        for place, setting in enumerate(settings):
            lines.setdefault(setting[:axis] + setting[axis + 1 :], []).append(place)
        axes.append(np.mean([stats.kendalltau(x[line], y[line]).statistic for line in lines.values()]))
    return float(np.mean(axes))


def test_granulated_kendall_is_the_mean_of_the_tau_of_every_line():
    x, y = drawn(0, 4, 12, 6), drawn(1, 12, 6)
    found = over_settings(x, y, neighbours(GRID), censored=exact(x))
    for metric in range(4):
        psi = [direct_psi(x[metric, :, seed], y[:, seed], GRID) for seed in range(6)]
        assert found.value[metric] == pytest.approx(np.mean(psi))
    assert (found.n_seeds == 6).all()


def test_axes_that_are_swept_together_are_one():
    together = [(1, 10), (2, 20), (3, 30), (4, 40)]
    x, y = drawn(0, 1, 4, 5), drawn(1, 4, 5)
    found = over_settings(x, y, neighbours(together), censored=exact(x))
    psi = [stats.kendalltau(x[0, :, seed], y[:, seed]).statistic for seed in range(5)]
    assert found.value[0] == pytest.approx(np.mean(psi))


def test_a_metric_that_follows_one_axis_earns_that_axis_alone():
    """As hyperparameters do: nothing along the other axis."""
    x = np.array([setting[0] for setting in GRID], dtype=float)[:, None].repeat(5, axis=1)[None]
    y = x[0] + 0.1 * np.array([setting[1] for setting in GRID])[:, None]
    assert over_settings(x, y, neighbours(GRID), censored=exact(x)).value[0] == pytest.approx(0.5)


def test_unknown_orders_are_left_out():
    x, y = drawn(0, 1, 12, 5), drawn(1, 12, 5)
    censored, least = exact(x), x.min()
    censored[0, 0], x[0, 0] = RIGHT, least - 2  # at least that: above, below or between all others
    censored[0, 1], x[0, 1] = LEFT, least - 1  # at most that: below all others but, perhaps, the first
    products, known, _ = comparisons(x, y, censored, neighbours(GRID))
    pairs = neighbours(GRID)
    first = (pairs.first == 0) | (pairs.second == 0)
    second = (pairs.first == 1) | (pairs.second == 1)
    assert not known[0, first].any()
    assert known[0, second & ~first].all()
    assert known[0, ~first & ~second].all()
    assert np.isfinite(granulated(products, known, pairs.axis)).all()


def test_the_null_variance_is_that_of_random_orders():
    pairs = neighbours(GRID)
    x, y = drawn(0, 4000, 12, 1), drawn(1, 12, 1)
    products, known, _ = comparisons(x, y, exact(x), pairs)
    seen = granulated(products, known, pairs.axis)
    # of outcomes in any order; the mean over orders of y is what the formula gives
    spread = [
        granulated(*comparisons(x, drawn(k, 12, 1), exact(x), pairs)[:2], pairs.axis).var()
        for k in range(2, 22)
    ]
    assert null_variance(pairs) == pytest.approx(np.mean(spread), rel=0.05)
    assert abs(seen.mean()) < 0.02
    line = neighbours([(k,) for k in range(5)])
    assert null_variance(line) == pytest.approx(2 * (2 * 5 + 5) / (9 * 5 * 4))  # Kendall's, of one line


def test_the_worst_sign_error_is_counted_directly():
    x, y = drawn(0, 1, 12, 7), drawn(1, 12, 7)
    pairs = neighbours(GRID)
    found = over_settings(x, y, pairs, censored=exact(x))
    way = np.sign(found.value[0])
    wrong = [
        np.mean(way * np.sign(x[0, i] - x[0, j]) != np.sign(y[i] - y[j]))
        for i, j in zip(pairs.first, pairs.second, strict=True)
    ]
    assert found.sign_error[0] == pytest.approx(max(wrong))
    assert wrong[found.worst[0]] == max(wrong)


def test_ties_in_the_outcome_count_nowhere_and_in_the_metric_by_half():
    settings, y = [(0,), (1,)], np.array([[0.0, 0, 0, 0, 0], [0, 1, 1, 1, 1]])
    x = np.array([[[0.0, 0, 0, 0, 0], [1, 1, 1, 0, -1]]])
    found = over_settings(x, y, neighbours(settings), censored=exact(x))
    assert found.sign_error[0] == pytest.approx((0 + 0 + 0.5 + 1) / 4)


def test_without_seeds_or_settings_there_is_nothing_to_say():
    x, y = np.full((2, 12, 5), np.nan), drawn(0, 12, 5)
    found = over_settings(x, y, neighbours(GRID), censored=exact(x))
    assert np.isnan(found.value).all()
    assert np.isnan(found.sign_error).all()
    assert (found.worst == -1).all()
    alone = over_settings(x[:, :1], y[:1], neighbours([()]), censored=exact(x[:, :1]))
    assert np.isnan(alone.value).all()
    assert np.isnan(alone.sign_error).all()


def sweep(rng: np.random.Generator, seeds: int, *, strength: float, noise: float) -> tuple[np.ndarray, ...]:
    """A metric and an outcome of a seed that differ between settings, and go together by `strength`."""
    level = np.array([a + 0.7 * b for a, b in GRID])[:, None]
    x = strength * level + noise * rng.normal(size=(12, seeds))
    y = level + noise * rng.normal(size=(12, seeds))
    return x[None], y


@pytest.mark.slow
@pytest.mark.parametrize(("strength", "noise"), [(0, 1), (0.3, 1), (1, 1), (1, 3), (1, 0.3), (-0.5, 2)])
def test_intervals_cover_at_the_smallest_number_of_seeds(strength: float, noise: float):
    rng, pairs, seeds, repeats = np.random.default_rng(3), neighbours(GRID), 5, 2000
    x, y = sweep(rng, 40_000, strength=strength, noise=noise)
    products, known, _ = comparisons(x, y, exact(x), pairs)
    truth = granulated(products, known, pairs.axis).mean()
    errors = {way: (np.where(known, 1 - way * products, 0) / 2).mean(axis=2).max() for way in (-1, 1)}
    found = [
        over_settings(x, y, pairs, censored=exact(x))
        for x, y in (sweep(rng, seeds, strength=strength, noise=noise) for _ in range(repeats))
    ]
    covered = np.mean([(one.low[0] <= truth) & (truth <= one.high[0]) for one in found])
    assert covered > 0.95 - 3 * np.sqrt(0.05 * 0.95 / repeats)
    worst = np.mean(
        [
            one.sign_error_low[0] <= errors[-1 if one.value[0] < 0 else 1] <= one.sign_error_high[0]
            for one in found
        ]
    )
    assert worst > 0.95 - 3 * np.sqrt(0.05 * 0.95 / repeats)
