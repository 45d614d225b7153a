"""The searches against roots in closed form and brute force over all items, and how often they look."""

import math
from collections import Counter
from itertools import product

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import expit
from torch import Tensor

from fusionscope.measurement import LEFT, NOT_CENSORED, RIGHT
from fusionscope.measures.parameter.perturbation import Scale
from fusionscope.measures.parameter.search import (
    FIRST_DRAWS,
    FIRST_STEP,
    MAX_DROP,
    MOST_DRAWS,
    SIGN_ERROR,
    crossing,
    is_clear,
    largest_mean_scale,
    log_error,
    sample_until_decided,
    smallest_broken_scale,
)

LOW, HIGH = 1e-4, 1e2
LOG_LOW, LOG_HIGH = math.log(LOW), math.log(HIGH)
RANGE = {"low": LOW, "high": HIGH}
EXACT = 1e-9  # a tolerance beyond which nothing is compared


def logistic(scale: float) -> float:
    return scale / (1 + scale)


ROOT = MAX_DROP / (1 - MAX_DROP)  # of the logistic: 1 / 9, and a little for the rounding that is allowed
RISING = {  # functions, and where they pass what is allowed
    "s / (1 + s)": (logistic, ROOT),
    "s^2 / (1 + s^2)": (lambda s: logistic(s * s), math.sqrt(ROOT)),
    "1 - exp(-s)": (lambda s: -math.expm1(-s), -math.log1p(-MAX_DROP)),
    "tanh(s)": (math.tanh, math.atanh(MAX_DROP)),
    "less than nothing lost at first": (lambda s: 2 * logistic(s) - 1, (1 + MAX_DROP) / (1 - MAX_DROP)),
    "25 images": (lambda s: math.floor(25 * logistic(s)) / 25, 3 / 22),  # the third is too many
    "all at once": (lambda s: float(s > 0.02), 0.02),
}
GUESSES = np.linspace(LOG_LOW, LOG_HIGH, 7)


class Counted:
    """A function that notes where it is asked."""

    def __init__(self, function):
        self.function, self.asked = function, []

    def __call__(self, *arguments):
        self.asked.append(arguments)
        return self.function(*arguments)


def search(drop, tolerance: float, guess: float = (LOG_LOW + LOG_HIGH) / 2) -> tuple[float, str]:
    return crossing(drop, LOG_LOW, LOG_HIGH, tolerance, guess=guess, step=FIRST_STEP)


@pytest.mark.parametrize("tolerance", [0.3, 1e-3, EXACT])
@pytest.mark.parametrize("name", RISING)
def test_the_crossing_is_the_root_from_any_guess(name, tolerance):
    drop, truth = RISING[name]
    for guess in GUESSES:
        root, censored = search(drop, tolerance, guess)
        assert censored == NOT_CENSORED
        assert abs(root - math.log(truth)) <= tolerance + 1e-12


def test_what_does_not_cross_is_censored_exactly_at_the_end():
    for guess in GUESSES:
        assert search(lambda s: MAX_DROP, 1e-3, guess) == (LOG_HIGH, RIGHT)  # all that is allowed
        assert search(lambda s: 0.1 + 1e-8, 1e-3, guess) == (LOG_LOW, LEFT)
        # what crosses just inside the range is found
        for end in (LOG_LOW + 1e-3, LOG_HIGH - 1e-3):
            root, censored = search(lambda s, end=end: float(math.log(s) > end), 1e-6, guess)
            assert (root, censored) == (pytest.approx(end, abs=1e-6), NOT_CENSORED)


@pytest.mark.parametrize("name", list(RISING)[:5])
def test_a_tight_tolerance_costs_a_few_looks_more_where_bisection_doubles(name):
    drop, _ = RISING[name]
    for guess in GUESSES:
        looks = {}
        for tolerance in (1e-3, EXACT):
            counted = Counted(drop)
            search(counted, tolerance, guess)
            looks[tolerance] = len(counted.asked)
            assert len(set(counted.asked)) == len(counted.asked)  # nowhere twice
        assert looks[EXACT] <= looks[1e-3] + 4
        assert looks[EXACT] < math.log2((LOG_HIGH - LOG_LOW) / EXACT) / 2


@pytest.mark.parametrize("name", list(RISING)[5:])
def test_a_staircase_costs_no_more_than_bisection(name):
    drop, _ = RISING[name]
    for guess, tolerance in product(GUESSES, (1e-3, EXACT)):
        counted = Counted(drop)
        search(counted, tolerance, guess)
        bisection = math.ceil(math.log2((LOG_HIGH - LOG_LOW) / tolerance))
        assert len(counted.asked) <= bisection + 4  # both ends, and where the guess was


def test_a_good_guess_costs_two_looks_and_a_bad_one_finds_back():
    counted = Counted(logistic)
    crossing(counted, LOG_LOW, LOG_HIGH, 0.5, guess=math.log(ROOT) + 0.1, step=0.2)
    assert len(counted.asked) == 2  # one to each side, closer than the tolerance
    far = Counted(logistic)  # steps double: the eleven factors of e to the root are four steps
    crossing(far, LOG_LOW, LOG_HIGH, 10.0, guess=LOG_HIGH, step=0.5)
    assert [math.log(s) for (s,) in far.asked[:5]] == pytest.approx(
        [LOG_HIGH, LOG_HIGH - 0.5, LOG_HIGH - 1.5, LOG_HIGH - 3.5, LOG_HIGH - 7.5]
    )


def population(size: int, mean: float, *, seed: int, kind: str = "normal") -> Tensor:
    """What each of `size` items loses: about normal draws, or images that are lost, kept or gained."""
    stream = np.random.default_rng(seed)
    if kind == "normal":
        lost = stream.normal(0, 0.05, size)
    else:
        lost = stream.choice([-1.0, 0.0, 1.0], size, p=[0.02, 0.86, 0.12])
    return torch.from_numpy(lost - lost.mean() + mean)


def slices(lost: Tensor) -> Counted:
    return Counted(lambda start, stop: lost[start:stop])


def test_a_look_is_student_s_test_at_what_is_allowed():
    decisions = Counter()
    for seed in range(300):
        lost = population(12, MAX_DROP + 0.1 * (seed - 150) / 150, seed=seed)
        p_value = stats.ttest_1samp(lost.numpy(), MAX_DROP).pvalue
        clear = is_clear(lost, 10**12, spread=0.0)  # of a part of practically infinitely many
        assert clear == (p_value < SIGN_ERROR)
        decisions[clear] += 1
    assert min(decisions.values()) > 30


def test_a_part_of_few_items_is_clear_sooner():
    # of 20 items 16 are seen: the error of the mean is sqrt(1 - 16 / 20) of what it is for infinitely many
    lost = population(16, MAX_DROP, seed=0)
    error = lost.numpy().std(ddof=1) / 4
    for factor, clear in ((0.99, False), (1.01, True)):
        away = factor * stats.t.isf(SIGN_ERROR / 2, 15) * error
        assert is_clear(lost + away * math.sqrt(0.2), 20, spread=0.0) == clear
        assert is_clear(lost - away, 10**12, spread=0.0) == clear


def test_items_that_happen_to_agree_are_not_certain():
    lost = torch.full((8,), 0.05, dtype=torch.float64)
    assert is_clear(lost, 1000, spread=0.0)
    assert not is_clear(lost, 1000, spread=0.3)


@pytest.mark.parametrize("size", [2, 3, 50])
def test_all_items_are_always_clear(size):
    for seed, side in product(range(20), (-1e-12, 1e-12)):
        assert is_clear(population(size, MAX_DROP + side, seed=seed), size, spread=0.3)


@pytest.mark.parametrize("side", [-1e-6, 1e-6])
def test_a_look_mistakes_the_sign_of_normal_draws_as_often_as_it_says(side):
    # the mean of all is practically at what is allowed: the hardest case
    repetitions, wrong = 20_000, 0
    draws = np.random.default_rng(0).normal(0, 0.05, (repetitions, 40))
    draws += MAX_DROP + side - draws.mean(1, keepdims=True)
    for lost in torch.from_numpy(draws)[:, :10]:
        wrong += is_clear(lost, 40, spread=0.0) and (lost.mean().item() > MAX_DROP) != (side > 0)
    expected = repetitions * SIGN_ERROR / 2  # the other half errs to the right side
    assert abs(wrong - expected) < 4 * math.sqrt(expected)


@pytest.mark.parametrize(
    ("kind", "size", "first", "deviation"), [("normal", 64, 8, 0.05), ("images", 1500, 128, 0.3)]
)
def test_a_part_of_the_items_tells_the_sign_of_all(kind, size, first, deviation):
    wrong = looks = parts = 0
    for seed in range(4000):
        # within five standard errors of what is allowed, where a mistake is possible at all
        away = 5 * deviation / math.sqrt(first) * (seed % 200 - 99.5) / 100
        lost = population(size, MAX_DROP + away, seed=seed, kind=kind)
        asked = slices(lost)
        seen = sample_until_decided(asked, size, first, spread=0.01 if kind == "normal" else deviation)
        wrong += (seen.mean().item() > MAX_DROP) != (away > 0)
        looks += len(asked.asked)
        parts += len(seen) < size
    assert parts > 1000  # often a part was enough
    expected = looks * SIGN_ERROR / 2
    assert wrong <= expected + 4 * math.sqrt(expected)


def test_few_items_are_sampled_where_the_answer_is_clear_and_all_where_it_is_not():
    for mean in (0.0, 0.4):
        asked = slices(population(50, mean, seed=1))
        assert len(sample_until_decided(asked, 50, 8, spread=0.01)) == 8
        assert asked.asked == [(0, 8)]
    lost = population(50, MAX_DROP, seed=1)
    asked = slices(lost)
    assert torch.equal(sample_until_decided(asked, 50, 8, spread=0.01), lost)
    assert asked.asked == [(0, 8), (8, 16), (16, 32), (32, 50)]  # twice as many, none a second time
    assert len(sample_until_decided(slices(lost), 50, 80, spread=0.01)) == 50
    assert len(sample_until_decided(slices(lost), 1, 8, spread=0.01)) == 1


def shifted(noise: Tensor) -> Counted:
    """Draw k loses s / (1 + s) + c_k, whatever the scale s."""
    return Counted(lambda scale, start, stop: logistic(scale) + noise[start:stop])


def normal(count: int, deviation: float, seed: int = 0) -> Tensor:
    stream = torch.Generator().manual_seed(seed)
    return deviation * torch.randn(count, generator=stream, dtype=torch.float64)


def mean_scale(drops, **options):
    return largest_mean_scale(drops, **RANGE | {"tolerance": 1e-6, "spread": 1e-3} | options)


def shifted_root(noise: Tensor) -> float:
    """Where s / (1 + s) + the mean of c_k is what is allowed."""
    share = MAX_DROP - noise.mean().item()
    return share / (1 - share)


def draws_made(counted: Counted) -> Counter:
    return Counter((scale, draw) for scale, start, stop in counted.asked for draw in range(start, stop))


@pytest.mark.parametrize("draws", [1, 2, 7, 64, 500])
def test_the_mean_scale_is_where_the_mean_of_all_draws_crosses(draws):
    for seed in range(10):
        noise = normal(draws, 0.03, seed)
        found = mean_scale(shifted(noise), draws=draws)
        assert found.censored == NOT_CENSORED
        assert abs(math.log(found.value / shifted_root(noise))) < 2e-6


def test_hardly_a_search_is_misled_by_a_part_of_its_draws():
    # 8, 16, ..., 128 draws are looked at before all 256, the same at every scale
    looks, misled, searches = 5, 0, 1000
    for seed in range(searches):
        noise = normal(256, 0.1, seed)
        misled += abs(math.log(mean_scale(shifted(noise), draws=256).value / shifted_root(noise))) > 2e-6
    expected = searches * looks * SIGN_ERROR  # a mistake to either side
    assert misled <= expected + 4 * math.sqrt(expected)


def test_its_error_is_that_of_the_mean_over_the_slope():
    noise = normal(200, 0.03)
    found = mean_scale(shifted(noise), draws=200)
    share = found.value / (1 + found.value)
    slope = share * (1 - share)  # of s / (1 + s) in log s; its third derivative bends the chord by 0.5%
    expected = noise.numpy().std(ddof=1) / math.sqrt(200) / slope
    assert found.log_error == pytest.approx(expected, rel=1e-2)
    # a straight line has no bend, and so no such difference
    line = lambda scale, start, stop: 0.3 + 0.05 * math.log(scale) + noise[start:stop]  # noqa: E731
    expected = noise.numpy().std(ddof=1) / math.sqrt(200) / 0.05
    assert mean_scale(line, draws=200).log_error == pytest.approx(expected, rel=1e-9)
    assert log_error(line, 0.7, 200) == pytest.approx(expected, rel=1e-9)


def stretched(noise: Tensor) -> Counted:
    """Draw k loses as at a scale of its own: steeper or flatter than others."""
    return Counted(lambda scale, start, stop: (scale * (x := noise[start:stop].exp())) / (1 + scale * x))


@pytest.mark.parametrize("draw", [shifted, stretched])
def test_the_error_of_the_mean_scale_is_the_spread_over_seeds(draw):
    deviation = {shifted: 0.1, stretched: 1.0}[draw]
    found = [mean_scale(draw(normal(64, deviation, seed)), draws=64) for seed in range(200)]
    truth = mean_scale(draw(normal(20_000, deviation, seed=1000)), draws=20_000)
    errors = np.log([scale.value / truth.value for scale in found])
    reported = np.array([scale.log_error for scale in found])
    # three standard errors of a deviation of 200
    assert 0.85 < errors.std(ddof=1) / np.sqrt(np.mean(reported**2)) < 1.2
    assert 0.85 < (errors / reported).std() < 1.2
    assert abs(errors.mean()) < 4 * errors.std(ddof=1) / math.sqrt(200)


def test_one_draw_and_a_flat_drop_have_no_error():
    assert mean_scale(shifted(torch.zeros(1)), draws=1).log_error is None
    assert log_error(lambda scale, start, stop: normal(8, 1.0)[start:stop], 1.0, 8) is None
    falling = lambda scale, start, stop: normal(8, 1.0)[start:stop] - scale  # noqa: E731
    assert log_error(falling, 1.0, 8) is None
    # all lose the same at the same scale: that is known without error
    assert mean_scale(shifted(torch.zeros(8, dtype=torch.float64)), draws=8).log_error == 0.0


@pytest.mark.parametrize("options", [{"draws": 20}, {"target_error": 0.1}])
def test_a_mean_that_does_not_cross_is_censored_exactly_at_the_end(options):
    noise = normal(MOST_DRAWS, 0.01)
    kept = mean_scale(lambda scale, start, stop: noise[start:stop], **options)
    assert (kept.value, kept.log_error, kept.censored) == (HIGH, None, RIGHT)
    lost = mean_scale(lambda scale, start, stop: 0.5 + noise[start:stop], **options)
    assert (lost.value, lost.log_error, lost.censored) == (LOW, None, LEFT)


@pytest.mark.parametrize("options", [{"draws": 300}, {"target_error": 0.03}])
def test_no_draw_is_made_twice_at_a_scale_and_few_where_the_answer_is_clear(options):
    drops = shifted(normal(MOST_DRAWS, 0.03))
    mean_scale(drops, **options)
    made = draws_made(drops)
    assert set(made.values()) == {1}
    per_scale = Counter(scale for scale, _ in made)
    far = [count for scale, count in per_scale.items() if scale > 3 * ROOT]
    assert set(far) == {FIRST_DRAWS // 2}  # the search came from there
    for scale, count in per_scale.items():  # the first ones, without a gap
        assert {draw for other, draw in made if other == scale} == set(range(count))


def test_a_target_error_is_reached_with_about_as_many_draws_as_it_takes():
    deviation, target = 0.1, 0.05
    slope = MAX_DROP * (1 - MAX_DROP)
    needed = (deviation / slope / target) ** 2
    made = []
    for seed in range(40):
        drops = shifted(normal(MOST_DRAWS, deviation, seed))
        found = mean_scale(drops, target_error=target)
        assert found.log_error <= target
        made.append(max(stop for _, _, stop in drops.asked))
        assert len({scale for scale, _, _ in drops.asked}) <= 40  # a few searches, each near the last
    assert 0.8 < np.median(made) / needed < 1.6


def test_an_error_that_is_reached_at_once_takes_the_first_draws_and_one_that_cannot_be_takes_the_most():
    easy, hard = shifted(normal(MOST_DRAWS, 0.01)), shifted(normal(MOST_DRAWS, 1.0))
    assert mean_scale(easy, target_error=0.5).log_error < 0.5
    assert max(stop for _, _, stop in easy.asked) == FIRST_DRAWS
    assert mean_scale(hard, target_error=1e-3).log_error > 1e-3
    assert max(stop for _, _, stop in hard.asked) == MOST_DRAWS


def breaking_at(*roots: float) -> list[tuple[float, Counted]]:
    """Attacks that break the network wherever the logarithm of the scale is above their own root."""
    return [(1.0, Counted(lambda scale, root=root: math.log(scale) > root)) for root in roots]


def broken_scale(attacks, **options) -> Scale:
    return smallest_broken_scale(attacks, **RANGE | {"tolerance": 0.01} | options)


@pytest.mark.parametrize("tolerance", [0.3, 0.01, 1e-6])
@pytest.mark.parametrize("guess", [1e-9, LOW, 0.02, 1.0, 50.0, math.inf])
def test_the_broken_scale_is_where_an_attack_ends_to_break_the_network(tolerance, guess):
    for root in (LOG_LOW + 0.5, -2.0, 0.1, LOG_HIGH - 0.5):
        attacks = [(guess, breaks) for _, breaks in breaking_at(root)]
        found = broken_scale(attacks, tolerance=tolerance)
        assert found.censored == NOT_CENSORED
        assert found.log_error is None
        assert root < math.log(found.value) <= root + tolerance + 1e-12  # it was broken there: an upper bound


def test_the_search_goes_down_only_once_the_network_is_broken():
    ((_, breaks),) = attacks = breaking_at(-3.0)
    found = broken_scale(attacks, tolerance=1e-4)
    asked = [math.log(scale) for (scale,) in breaks.asked]
    broken = [position for position in asked if position > -3.0]
    assert broken == sorted(broken, reverse=True)
    assert math.log(found.value) == pytest.approx(broken[-1])
    assert len(asked) < 40


def test_a_later_attack_costs_one_look_unless_it_breaks_the_network_further_down():
    attacks = breaking_at(-2.0, -1.0, -1.999, -2.5, 0.0)
    found = broken_scale(attacks)
    looks = [len(breaks.asked) for _, breaks in attacks]
    assert (looks[1], looks[2], looks[4]) == (1, 1, 1)
    assert -2.5 < math.log(found.value) <= -2.49
    (position,) = (math.log(scale) for (scale,) in attacks[4][1].asked)
    assert position == pytest.approx(math.log(found.value) - 0.01)  # where it would have been an improvement
    alone = breaking_at(-2.5)
    assert math.log(broken_scale(alone).value) == pytest.approx(math.log(found.value), abs=0.01)


def test_what_breaks_at_the_low_end_is_censored_there_and_ends_the_search():
    attacks = breaking_at(-2.0, LOG_LOW - 1, -5.0)
    assert broken_scale(attacks) == Scale(LOW, None, LEFT)
    assert not attacks[2][1].asked
    assert broken_scale([(1e-12, lambda scale: True)]) == Scale(LOW, None, LEFT)


def test_what_never_breaks_is_censored_at_the_high_end():
    attacks = breaking_at(LOG_HIGH, LOG_HIGH + 1)
    assert broken_scale(attacks) == Scale(HIGH, None, RIGHT)
    assert all(math.log(breaks.asked[-1][0]) == pytest.approx(LOG_HIGH) for _, breaks in attacks)
    # and the first that does breaks it is where the others set out from
    found = broken_scale(breaking_at(LOG_HIGH, LOG_HIGH - 0.3))
    assert (found.censored, math.log(found.value)) == (NOT_CENSORED, pytest.approx(LOG_HIGH - 0.3, abs=0.01))


def test_a_share_of_the_range_that_no_draw_reaches_is_not_needed():
    # a network that breaks beyond some scale says no more than that it does
    drop = Counted(lambda s: expit(200 * (math.log(s) - 1)))
    root, _ = search(drop, 1e-6)
    assert root == pytest.approx(1 + math.log(ROOT) / 200, abs=1e-6)
    assert len(drop.asked) < 24
