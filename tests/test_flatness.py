"""Flatness: the searches against closed forms of linear classifiers, the measures against their formulas."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.stats import norm
from torch import nn

from fusionscope.flatness import (
    ACCURACY_DROP,
    DELTA,
    EPSILON,
    Scale,
    as_measurement,
    gaussian_drops,
    inverse_square,
    largest_scale,
    measure_flatness,
    worst_drops,
)
from fusionscope.images import Images
from fusionscope.landscape import Landscape, flatten_parameters
from fusionscope.measurement import LEFT, NOT_CENSORED, RIGHT

SCALES = ("pac_bayes_sigma", "pac_bayes_mag_sigma", "sharpness_alpha", "sharpness_mag_alpha")
TRAIN_SIZE = 1234
OPTIONS = {
    "seed": 0,
    "draws": 20,
    "starts": 2,
    "ascent_steps": 10,
    "tolerance": 1e-3,
    "scale_range": (1e-4, 1e2),
}


class Problem:
    """Two classes, a linear classifier and images on the two sides of one corner of the input's box.

    Images of class 1 are brighter than the mean in every pixel and those of class 0 darker, so that
    `x` times +-1 is positive and the worst perturbation of the weights is the same for every image.
    """

    def __init__(self, count: int = 25, seed: int = 0, weight_scale: float = 1.0):
        stream = torch.Generator().manual_seed(seed)
        labels = torch.arange(count) % 2
        # contrast differs between images and pixels, so that margins do too
        contrast = torch.rand(count, 1, 1, 1, generator=stream) * 0.9 + 0.05
        offset = (contrast * torch.rand(count, 3, 2, 2, generator=stream) * 120 + 1).round()
        sign = (2 * labels - 1).view(-1, 1, 1, 1)
        half = torch.full((3,), 127 / 255, dtype=torch.float64)  # the mean is a pixel value, exactly
        self.images = Images((127 + sign * offset).to(torch.uint8), labels, half, half, 2)
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2, bias=False)).double()
        with torch.no_grad():
            weight = torch.randn(2, 12, generator=stream).double() * 0.3
            weight[1] = weight[0] + torch.rand(12, generator=stream) * 0.2 - 0.04
            self.network[1].weight.copy_(weight * weight_scale)
        self.landscape = Landscape(self.network, self.images, batch_size=count)
        self.w = flatten_parameters(self.network)
        self.x = self.images.normalised().flatten(1).abs().numpy()  # (n, 12), towards each one's class
        self.rows = self.w.view(2, 12).numpy()
        self.margins = self.x @ (self.rows[1] - self.rows[0])
        assert (self.margins > 0).all()  # everything is classified correctly

    def largest_radius(self, lost_per_scale: np.ndarray, lost_anyway: np.ndarray) -> float:
        """The scale at which more than a tenth of the images have lost their margins."""
        critical = np.sort((self.margins - lost_anyway) / lost_per_scale)
        return critical[math.floor(ACCURACY_DROP * len(critical))]

    def noise_scale(self, deviation) -> float:
        """The scale at which the mean accuracy is 0.9, given the margins' `deviation` (n,) at a scale."""
        return brentq(lambda s: norm.cdf(self.margins / deviation(s)).mean() - (1 - ACCURACY_DROP), 1e-4, 1e2)


@pytest.fixture(scope="module")
def problem():
    return Problem()


@pytest.fixture(scope="module")
def measured(problem):
    w0 = problem.w + torch.linspace(-1, 1, len(problem.w))
    return measure_flatness(problem.landscape, problem.w, w0, TRAIN_SIZE, **OPTIONS), w0


def even_noise(problem):
    # each row of the weights gets noise of its own: var((u1 - u0) x) = 2 sigma^2 norm(x)^2
    return lambda s: math.sqrt(2) * s * np.linalg.norm(problem.x, axis=1)


def magnitude_noise(problem):
    squares = (problem.rows**2).sum(0)
    return lambda s: np.sqrt((problem.x**2 * (s**2 * squares + 2 * EPSILON**2)).sum(1))


def spreads(problem):
    w = problem.w.abs()
    return {
        "even": (lambda s: s * torch.ones_like(w), even_noise(problem)),
        "magnitude": (lambda s: torch.sqrt(s**2 * w**2 + EPSILON**2), magnitude_noise(problem)),
    }


@pytest.mark.parametrize("kind", ["even", "magnitude"])
def test_sigma_of_a_linear_classifier_is_the_closed_form(problem, kind):
    spread, deviation = spreads(problem)[kind]
    truth = problem.noise_scale(deviation)
    drops = gaussian_drops(problem.landscape, problem.w, spread, seed=0, draws=600)
    found = largest_scale(drops, torch.mean, low=truth / 4, high=truth * 4, tolerance=2e-3)
    assert found.censored == NOT_CENSORED
    assert 0 < found.log_error < 0.1
    assert abs(math.log(found.value / truth)) < 3 * found.log_error


def test_measured_sigmas_are_those_of_the_closed_forms(problem, measured):
    for name, (_, deviation) in zip(SCALES[:2], spreads(problem).values(), strict=True):
        found, truth = measured[0][name], problem.noise_scale(deviation)
        assert abs(found.value - truth) < 4 * found.std_error
        assert found.std_error < 0.5 * truth


def test_epsilon_is_part_of_the_magnitude_aware_noise_where_weights_are_small():
    problem = Problem(weight_scale=0.02)  # then epsilon is a sixth of a typical weight
    truth = problem.noise_scale(magnitude_noise(problem))
    squares = (problem.rows**2).sum(0)
    without = problem.noise_scale(lambda s: s * np.sqrt(problem.x**2 @ squares))
    options = OPTIONS | {"draws": 600, "tolerance": 5e-3, "scale_range": (truth / 4, truth * 4)}
    found = measure_flatness(problem.landscape, problem.w, None, TRAIN_SIZE, **options)
    sigma = found["pac_bayes_mag_sigma"]
    assert abs(sigma.value - truth) < 3 * sigma.std_error
    assert abs(sigma.value - without) > 4 * sigma.std_error


def test_the_error_of_sigma_is_the_spread_over_seeds(problem):
    spread, deviation = spreads(problem)["even"]
    truth = problem.noise_scale(deviation)
    found = [
        largest_scale(
            gaussian_drops(problem.landscape, problem.w, spread, seed=seed, draws=50),
            torch.mean,
            low=truth / 2,
            high=truth * 2,
            tolerance=4e-3,
        )
        for seed in range(24)
    ]
    logs = np.log([scale.value for scale in found])
    reported = np.sqrt(np.mean([scale.log_error**2 for scale in found]))
    assert 0.5 < logs.std(ddof=1) / reported < 2
    # and no bias beyond what the mean of 24 can show
    assert abs(logs.mean() - math.log(truth)) < 4 * reported / math.sqrt(24)


def test_noise_loses_what_the_closed_form_says_at_any_scale(problem):
    spread, deviation = spreads(problem)["magnitude"]
    drops = gaussian_drops(problem.landscape, problem.w, spread, seed=1, draws=1000)
    for scale in (0.05, 0.3, 2.0):
        lost = drops(scale)
        expected = 1 - norm.cdf(problem.margins / deviation(scale)).mean()
        assert lost.mean().item() == pytest.approx(expected, abs=4 * lost.std().item() / math.sqrt(1000))


def test_alpha_of_a_linear_classifier_is_the_closed_form(problem, measured):
    # the margin loses alpha |x_j| from each of two rows
    truth = problem.largest_radius(2 * problem.x.sum(1), 0.0)
    assert measured[0]["sharpness_alpha"].value == pytest.approx(truth, rel=2 * OPTIONS["tolerance"])


def test_magnitude_aware_alpha_of_a_linear_classifier_is_the_closed_form(problem, measured):
    per_scale = problem.x @ np.abs(problem.rows).sum(0)
    truth = problem.largest_radius(per_scale, 2 * EPSILON * problem.x.sum(1))
    without_epsilon = problem.largest_radius(per_scale, 0.0)
    found = measured[0]["sharpness_mag_alpha"].value
    assert found == pytest.approx(truth, rel=2 * OPTIONS["tolerance"])
    assert abs(without_epsilon / truth - 1) > 4 * OPTIONS["tolerance"]  # the epsilon is seen


def test_a_tighter_tolerance_comes_closer(problem):
    truth = problem.largest_radius(2 * problem.x.sum(1), 0.0)
    drops = worst_drops(problem.landscape, problem.w, lambda a: a + 0 * problem.w, seed=0, starts=1, steps=10)
    search = {"low": truth / 3, "high": truth * 2}
    for tolerance in (0.5, 0.05, 1e-6):
        found = largest_scale(drops, torch.max, tolerance=tolerance, **search)
        assert abs(math.log(found.value / truth)) <= tolerance / 2 + 1e-9


def test_the_ascent_stays_in_its_box_and_reaches_its_worst_corner(problem):
    # at a radius where exactly some images can be lost, all of those are, and none beyond
    truth = np.sort(problem.margins / (2 * problem.x.sum(1)))
    for lost in (1, 5, 20):
        radius = math.sqrt(truth[lost - 1] * truth[lost])
        drops = worst_drops(
            problem.landscape, problem.w, lambda a: a + 0 * problem.w, seed=0, starts=3, steps=8
        )
        assert drops(radius).tolist() == pytest.approx([lost / 25] * 3, abs=1e-12)


def test_the_sixteen_numbers_are_the_published_formulas(problem, measured):
    found, w0 = measured
    w, w0, m = problem.w.tolist(), w0.tolist(), TRAIN_SIZE
    sigma, sigma_mag, alpha, alpha_mag = (found[name].value for name in SCALES)
    omega, eps, delta = 24, 1e-3, 0.05
    assert (eps, delta) == (EPSILON, DELTA)
    expected = {
        "pac_bayes_flatness": 1 / sigma**2,
        "pac_bayes_mag_flat": 1 / sigma_mag**2,
        "sharpness_flatness": 1 / alpha**2,
        "sharpness_mag_flat": 1 / alpha_mag**2,
    }
    for origin, differences in {"orig": w, "init": [a - b for a, b in zip(w, w0, strict=True)]}.items():
        r2 = 0.0
        for d in differences:
            r2 += d * d
        expected[f"flatness_{origin}"] = r2 / (4 * sigma**2) + math.log(m / sigma) + 10
        expected[f"sharpness_{origin}"] = r2 * math.log(2 * omega) / (4 * alpha**2) + math.log(m / alpha) + 10
        gaussian = worst = 0.0
        for d in differences:
            top = eps**2 + (sigma_mag**2 + 1) * r2 / omega
            gaussian += math.log(top / (eps**2 + sigma_mag**2 * d**2)) / 4
            top = eps**2 + (alpha_mag**2 + 4 * math.log(2 * omega / delta)) * r2 / omega
            worst += math.log(top / (eps**2 + alpha_mag**2 * d**2)) / 4
        expected[f"flatness_mag_{origin}"] = gaussian + math.log(m / sigma_mag) + 10
        expected[f"sharpness_mag_{origin}"] = worst + math.log(m / alpha_mag) + 10
    assert len(expected) == 12
    assert {name: found[name].value for name in expected} == pytest.approx(expected, rel=1e-12)


def test_names_are_the_study_s_and_initial_weights_add_four(problem, measured):
    both = {"init", "orig"}
    four = {f"{kind}_{o}" for o in both for kind in ("flatness", "flatness_mag")}
    eight = four | {f"{kind}_{o}" for o in both for kind in ("sharpness", "sharpness_mag")}
    inverse = {"pac_bayes_flatness", "pac_bayes_mag_flat", "sharpness_flatness", "sharpness_mag_flat"}
    assert set(measured[0]) == set(SCALES) | eight | inverse
    assert len(measured[0]) == 16
    without = measure_flatness(problem.landscape, problem.w, None, TRAIN_SIZE, **OPTIONS)
    assert set(without) == {name for name in measured[0] if not name.endswith("_init")}
    assert all(without[name] == measured[0][name] for name in without)


def test_measuring_changes_no_weight(problem, measured):
    w0 = torch.zeros_like(problem.w)
    w = problem.w.clone()
    measure_flatness(problem.landscape, w, w0, TRAIN_SIZE, **OPTIONS)
    assert torch.equal(w, problem.w)
    assert not w.requires_grad
    assert torch.equal(flatten_parameters(problem.network), problem.w)
    assert not w0.any()


class Constant(nn.Module):
    """Answers the same whatever its weights are."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(12, 2, bias=False).double()

    def forward(self, x):
        return 0 * self.linear(x.flatten(1)) + torch.tensor([1.0, 0.0])


def test_a_network_that_cannot_lose_a_tenth_is_censored_at_the_end(problem):
    network = Constant()
    landscape, w = Landscape(network, problem.images, 25), flatten_parameters(network)
    found = measure_flatness(landscape, w, w + 1, TRAIN_SIZE, **OPTIONS)
    high = OPTIONS["scale_range"][1]
    for name, number in found.items():
        assert number.censored == (RIGHT if name in SCALES else LEFT), name
        assert number.std_error is None
        assert math.isfinite(number.value)
    assert [found[name].value for name in SCALES] == [high] * 4
    assert found["pac_bayes_flatness"].value == pytest.approx(1 / high**2)


def test_a_network_near_chance_is_censored_too(problem):
    # with accuracy 13 / 25 on two classes of which one has 12 images, a drop below 1 / 2 - 0.1 is
    # possible in the worst case but noise of any size loses only 0.02 on average
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2, bias=False)).double()
    nn.init.zeros_(network[1].weight)  # ties go to class 0, of 13 images
    landscape, w = Landscape(network, problem.images, 25), flatten_parameters(network)
    found = measure_flatness(landscape, w, None, TRAIN_SIZE, **(OPTIONS | {"draws": 400}))
    assert found["pac_bayes_sigma"].censored == RIGHT
    assert found["pac_bayes_mag_sigma"].censored == RIGHT
    assert found["sharpness_alpha"].censored == LEFT  # any perturbation decides a tie


def test_a_network_that_breaks_at_once_is_censored_at_the_low_end(problem):
    options = OPTIONS | {"scale_range": (50.0, 100.0)}
    found = measure_flatness(problem.landscape, problem.w, None, TRAIN_SIZE, **options)
    for name, number in found.items():
        assert number.censored == (LEFT if name in SCALES else RIGHT), name
    assert [found[name].value for name in SCALES] == [50.0] * 4


@pytest.mark.parametrize("mostly_zero", [False, True])
def test_a_censored_measure_is_a_bound_on_the_side_it_says(problem, mostly_zero):
    # The magnitude-aware measures need not fall where sigma' rises: with weights at zero (dead neurons,
    # weight decay, pruning) they rise.
    network = Constant()
    with torch.no_grad():
        weight = network.linear.weight
        weight.fill_(0.5)
        if mostly_zero:
            weight.zero_()
            weight[0, 0] = 0.5
    landscape, w = Landscape(network, problem.images, 25), flatten_parameters(network)

    def measure(high: float):
        options = OPTIONS | {"scale_range": (1e-4, high)}
        return measure_flatness(landscape, w, None, TRAIN_SIZE, **options)

    recorded, beyond = measure(1.0), measure(2.0)  # 2 is one of the values that the true scale may have
    for name, number in recorded.items():
        if number.censored == LEFT:
            assert beyond[name].value <= number.value, name
        if number.censored == RIGHT:
            assert beyond[name].value >= number.value, name


class Forgetful(nn.Module):
    """Right on the first eight of ten images; forgets one of them as soon as its weight is moved."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, dtype=torch.float64))

    def forward(self, x):
        logits = torch.zeros(len(x), 2, dtype=x.dtype)
        logits[0, 1] = (self.weight != 1).double()
        return logits + 0 * self.weight


@pytest.mark.parametrize("kind", ["gaussian", "worst"])
def test_a_loss_of_exactly_a_tenth_is_allowed(kind):
    # in floating point 0.8 - 0.7 is a little more than 0.1
    images = replace(Problem(10).images, labels=torch.tensor([0] * 8 + [1] * 2))
    network = Forgetful()
    landscape, w = Landscape(network, images, 10), flatten_parameters(network)
    assert (landscape.accuracy(w), landscape.accuracy(w + 1)) == (0.8, 0.7)
    if kind == "gaussian":
        drops, reduce = gaussian_drops(landscape, w, lambda s: s + 0 * w, seed=0, draws=2), torch.mean
    else:
        drops, reduce = worst_drops(landscape, w, lambda s: s + 0 * w, seed=0, starts=2, steps=2), torch.max
    assert largest_scale(drops, reduce, low=0.1, high=1.0, tolerance=0.1).censored == RIGHT


def test_a_search_finds_the_root_of_any_rising_drop():
    # drop(s) = s / (1 + s) passes 0.1 at s = 1 / 9; draws differ by a known spread of +-0.02
    def drops(scale: float) -> torch.Tensor:
        return scale / (1 + scale) + torch.tensor([-0.02, 0.02] * 8, dtype=torch.float64)

    found = largest_scale(drops, torch.mean, low=1e-3, high=10, tolerance=1e-6)
    assert found.value == pytest.approx(1 / 9, rel=1e-6)
    # delta method: error of the mean over the slope in log scale, s / (1 + s)^2 = 0.09
    error = 0.02 * math.sqrt(16 / 15) / math.sqrt(16)
    assert found.log_error == pytest.approx(error / 0.09, rel=0.02)
    worst = largest_scale(drops, torch.max, low=1e-3, high=10, tolerance=1e-6)
    assert worst.value == pytest.approx(0.08 / 0.92, rel=1e-6)


def test_one_draw_has_no_error():
    found = largest_scale(lambda s: torch.tensor([float(s)]), torch.mean, low=1e-3, high=10, tolerance=1e-6)
    assert found.value == pytest.approx(0.1, rel=1e-6)
    assert found.log_error is None
    assert as_measurement(found, inverse_square).std_error is None


def test_error_of_an_inverse_square_is_twice_the_relative_error():
    found = as_measurement(Scale(0.3, 1e-4, NOT_CENSORED), inverse_square)
    assert found.value == pytest.approx(1 / 0.09)
    assert found.std_error == pytest.approx(2 * 1e-4 * found.value, rel=1e-7)
    scale = as_measurement(Scale(0.3, 1e-4, NOT_CENSORED), lambda s: s)
    assert scale.std_error == pytest.approx(0.3 * 1e-4, rel=1e-7)


def perturbations(w: torch.Tensor, kind: str, *, seed: int, count: int, scale: float) -> list[torch.Tensor]:
    """What is added to `w`, seen through a landscape that is level and records where it is asked."""
    asked = []

    class Recorder:
        def accuracy(self, w):
            asked.append(w)
            return 0.5

        def accuracy_and_gradient(self, w):
            return self.accuracy(w), torch.zeros_like(w)

    spread = lambda s: s * torch.linspace(0.1, 2, len(w), dtype=w.dtype)  # noqa: E731
    if kind == "gaussian":
        drops = gaussian_drops(Recorder(), w, spread, seed=seed, draws=count)
    else:
        drops = worst_drops(Recorder(), w, spread, seed=seed, starts=count, steps=1)
    asked.clear()  # the unperturbed accuracy
    drops(scale)
    return [at - w for at in (asked if kind == "gaussian" else asked[::2])]


@pytest.mark.parametrize("kind", ["gaussian", "worst"])
def test_random_numbers_are_common_to_all_scales_and_made_again(kind):
    w = torch.zeros(50, dtype=torch.float64)
    unit = torch.stack(perturbations(w, kind, seed=1, count=4, scale=1.0))
    torch.manual_seed(7)  # the global state has no say
    again = torch.stack(perturbations(w, kind, seed=1, count=4, scale=1.0))
    assert torch.equal(again, unit)
    larger = torch.stack(perturbations(w, kind, seed=1, count=4, scale=2.5))
    torch.testing.assert_close(larger, 2.5 * unit, rtol=1e-12, atol=0)
    fewer = torch.stack(perturbations(w, kind, seed=1, count=2, scale=1.0))
    assert torch.equal(fewer, unit[:2])  # more draws keep the first ones
    other = torch.stack(perturbations(w, kind, seed=2, count=4, scale=1.0))
    draws = torch.cat([unit, other])
    assert len(torch.unique(draws[:, 0])) == 8  # each draw of each seed is another one


def test_perturbations_have_the_distribution_they_should():
    w = torch.zeros(50, dtype=torch.float64)
    spread = torch.linspace(0.1, 2, 50, dtype=torch.float64) * 3
    noise = torch.stack(perturbations(w, "gaussian", seed=0, count=200, scale=3.0)) / spread
    assert noise.mean().item() == pytest.approx(0, abs=4 / 100)
    assert noise.var().item() == pytest.approx(1, abs=4 * math.sqrt(2) / 100)
    starts = torch.stack(perturbations(w, "worst", seed=0, count=200, scale=3.0)) / spread
    assert starts.abs().max() <= 1
    assert starts.mean().item() == pytest.approx(0, abs=4 * math.sqrt(1 / 3) / 100)
    assert starts.var().item() == pytest.approx(1 / 3, abs=4 * math.sqrt(4 / 45) / 100)


def test_the_same_seed_gives_the_same_sixteen_numbers(problem, measured):
    found, w0 = measured
    assert measure_flatness(problem.landscape, problem.w, w0, TRAIN_SIZE, **OPTIONS) == found
    other = measure_flatness(problem.landscape, problem.w, w0, TRAIN_SIZE, **(OPTIONS | {"seed": 1}))
    assert other["pac_bayes_sigma"].value != found["pac_bayes_sigma"].value
    # batches of another size sum the same gradient
    batched = Landscape(problem.network, problem.images, batch_size=7)
    again = measure_flatness(batched, problem.w, w0, TRAIN_SIZE, **OPTIONS)
    assert {k: v.value for k, v in again.items()} == pytest.approx({k: v.value for k, v in found.items()})
