"""Flatness: how far weights can be perturbed before a tenth of the accuracy is lost.

Four scales are searched (Jiang et al. 2019, "Fantastic Generalization Measures", arXiv 1912.02178):
Gaussian noise (sigma) and the worst case in a box (alpha), each the same for all weights or in
proportion to their magnitude. Twelve measures follow from them in closed form.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from fusionscope.landscape import Landscape
from fusionscope.measurement import LEFT, NOT_CENSORED, OPPOSITE, RIGHT, Measurement
from fusionscope.seeding import generator

ACCURACY_DROP = 0.1  # the paper's threshold
ROUNDING = 1e-9  # of a difference of two accuracies: 0.8 - 0.7 is a little more than 0.1
EPSILON = 1e-3  # the paper's epsilon: weights at zero are perturbed too
DELTA = 0.05  # confidence of the bounds
SLOPE_STEP = 0.25  # in log scale, to each side, for the error of a search

Drops = Callable[[float], Tensor]  # scale -> accuracy lost by each draw (draws,)
Reduce = Callable[[Tensor], Tensor]  # over draws: the mean, or the worst


@dataclass(frozen=True)
class Scale:
    """The largest perturbation scale that keeps the accuracy; `log_error` is its relative error."""

    value: float
    log_error: float | None
    censored: str


def measure_flatness(
    landscape: Landscape,
    w: Tensor,
    w0: Tensor | None,
    train_size: int,
    *,
    seed: int,
    draws: int,
    starts: int,
    ascent_steps: int,
    tolerance: float,
    scale_range: tuple[float, float],
) -> dict[str, Measurement]:
    """The four scales and the twelve measures at `w` (omega,), flattened weights.

    `w0`: the initial weights; without them (None) the `_init` measures are left out. `train_size` is m,
    the number of images the network was trained on. `draws` of Gaussian noise, `starts` and
    `ascent_steps` of the worst case; `tolerance` in log scale ends a search inside `scale_range`.
    """
    gaussian = {"seed": seed, "draws": draws}
    worst = {"seed": seed, "starts": starts, "steps": ascent_steps}
    even, magnitude = torch.ones_like(w), w.abs()
    search = {"low": scale_range[0], "high": scale_range[1], "tolerance": tolerance}
    sigma = largest_scale(gaussian_drops(landscape, w, lambda s: s * even, **gaussian), torch.mean, **search)
    sigma_mag = largest_scale(
        gaussian_drops(landscape, w, lambda s: torch.hypot(s * magnitude, EPSILON * even), **gaussian),
        torch.mean,
        **search,
    )
    alpha = largest_scale(worst_drops(landscape, w, lambda a: a * even, **worst), torch.max, **search)
    alpha_mag = largest_scale(
        worst_drops(landscape, w, lambda a: a * magnitude + EPSILON, **worst), torch.max, **search
    )
    results = {
        "pac_bayes_sigma": as_measurement(sigma, lambda s: s),
        "pac_bayes_mag_sigma": as_measurement(sigma_mag, lambda s: s),
        "sharpness_alpha": as_measurement(alpha, lambda s: s),
        "sharpness_mag_alpha": as_measurement(alpha_mag, lambda s: s),
        "pac_bayes_flatness": as_measurement(sigma, inverse_square),
        "pac_bayes_mag_flat": as_measurement(sigma_mag, inverse_square),
        "sharpness_flatness": as_measurement(alpha, inverse_square),
        "sharpness_mag_flat": as_measurement(alpha_mag, inverse_square),
    }
    origins = {"orig": torch.zeros_like(w)} | ({} if w0 is None else {"init": w0})
    omega, m = w.numel(), train_size
    log_box, log_box_mag = math.log(2 * omega), 4 * math.log(2 * omega / DELTA)
    for name, origin in origins.items():
        d = (w - origin).double()
        even_bound, mag_bound = partial(isotropic, d, m), partial(magnitude_aware, d, m)
        results |= {
            f"flatness_{name}": as_measurement(sigma, partial(even_bound, factor=1.0)),
            f"flatness_mag_{name}": as_measurement(sigma_mag, partial(mag_bound, factor=1.0)),
            f"sharpness_{name}": as_measurement(alpha, partial(even_bound, factor=log_box)),
            f"sharpness_mag_{name}": as_measurement(alpha_mag, partial(mag_bound, factor=log_box_mag)),
        }
    return results


def isotropic(d: Tensor, m: int, scale: float, factor: float) -> float:
    """norm(d)^2 factor / (4 scale^2) + log(m / scale) + 10 (Jiang et al. 2019, equations 48-53)."""
    return d.square().sum().item() * factor / (4 * scale**2) + math.log(m / scale) + 10


def magnitude_aware(d: Tensor, m: int, scale: float, factor: float) -> float:
    """1/4 sum_i log[(eps^2 + (scale^2 + factor) r^2 / omega) / (eps^2 + scale^2 d_i^2)] + log(m/scale) + 10.

    r = norm(d) (Jiang et al. 2019, equations 54-62). For the `_orig` measures d is w: equation 57 as
    printed has w - w0 in the denominator, but w is the scale of the noise that was really drawn.
    """
    mean_square = d.square().mean()
    numerator = EPSILON**2 + (scale**2 + factor) * mean_square
    terms = torch.log(numerator) - torch.log(EPSILON**2 + scale**2 * d.square())
    return terms.sum().item() / 4 + math.log(m / scale) + 10


def inverse_square(scale: float) -> float:
    return 1 / scale**2


def as_measurement(scale: Scale, formula: Callable[[float], float]) -> Measurement:
    """`formula` at the scale, its error by the delta method, its censoring turned where it falls.

    Most measures fall with the scale; the magnitude-aware ones rise where most weights are near zero.
    """
    std_error = None
    if scale.log_error is not None:
        above, below = (formula(scale.value * math.exp(sign * scale.log_error)) for sign in (1, -1))
        std_error = abs(above - below) / 2
    rises = formula(1.01 * scale.value) > formula(scale.value)
    censored = scale.censored if rises else OPPOSITE[scale.censored]
    return Measurement(formula(scale.value), std_error, censored)


def gaussian_drops(
    landscape: Landscape, w: Tensor, spread: Callable[[float], Tensor], *, seed: int, draws: int
) -> Drops:
    """Accuracy lost to w + u, u_i normal with standard deviation spread(scale)_i.

    Common random numbers: draw k is the same noise at every scale, made again rather than kept.
    """
    unperturbed = landscape.accuracy(w)

    def drops(scale: float) -> Tensor:
        deviation = spread(scale)
        lost = []
        for draw in range(draws):
            stream = generator(seed, "gaussian draw", draw, device=w.device)
            noise = torch.randn(w.shape, generator=stream, device=w.device, dtype=w.dtype)
            lost.append(unperturbed - landscape.accuracy(w + deviation * noise))
        return torch.tensor(lost, dtype=torch.float64)

    return drops


def worst_drops(
    landscape: Landscape, w: Tensor, radius: Callable[[float], Tensor], *, seed: int, starts: int, steps: int
) -> Drops:
    """The most accuracy lost on the way up the loss inside the box |u_i| <= radius(scale)_i.

    From each random start in the box, `steps` of projected gradient ascent on L, in the steepest
    direction of the box's own norm (the gradient's sign; Madry et al. 2018, arXiv 1706.06083).
    """
    unperturbed = landscape.accuracy(w)
    relative_step = 2.5 / steps  # Madry's: enough to cross the box and to turn round

    def drops(scale: float) -> Tensor:
        box = radius(scale)
        lost = []
        for start in range(starts):
            stream = generator(seed, "ascent start", start, device=w.device)
            uniform = torch.rand(w.shape, generator=stream, device=w.device, dtype=w.dtype)
            u = (2 * uniform - 1) * box
            lowest = 1.0
            for _ in range(steps):
                accuracy, gradient = landscape.accuracy_and_gradient(w + u)
                lowest = min(lowest, accuracy)
                u = torch.clamp(u + relative_step * box * gradient.sign(), -box, box)
            lost.append(unperturbed - min(lowest, landscape.accuracy(w + u)))
        return torch.tensor(lost, dtype=torch.float64)

    return drops


def largest_scale(drops: Drops, reduce: Reduce, *, low: float, high: float, tolerance: float) -> Scale:
    """The scale at which the reduced drop passes ACCURACY_DROP: bisection in log scale.

    Where not even `high` costs that much the scale is RIGHT-censored at `high`; where `low` already
    costs more, LEFT-censored at `low`. The error comes from the spread over draws and the slope of the
    drop: for a mean its standard error; for a maximum the spread between single draws, which says how
    much the search for the worst case depends on where it starts.
    """
    allowed = ACCURACY_DROP + ROUNDING
    if reduce(drops(high)) <= allowed:
        return Scale(high, None, RIGHT)
    if reduce(drops(low)) > allowed:
        return Scale(low, None, LEFT)
    inside, outside = math.log(low), math.log(high)
    while outside - inside > tolerance:
        middle = (inside + outside) / 2
        if reduce(drops(math.exp(middle))) <= allowed:
            inside = middle
        else:
            outside = middle
    value = math.exp((inside + outside) / 2)
    return Scale(value, log_scale_error(drops, reduce, value), NOT_CENSORED)


def log_scale_error(drops: Drops, reduce: Reduce, scale: float) -> float | None:
    """Standard error of log(scale) by the delta method; None from a single draw or a flat drop."""
    below, above = (drops(scale * math.exp(step)) for step in (-SLOPE_STEP, SLOPE_STEP))
    slope = (reduce(above) - reduce(below)).item() / (2 * SLOPE_STEP)
    count = len(above)
    if count < 2 or slope <= 0:
        return None
    spread = ((above.var() + below.var()) / 2).sqrt().item()
    return spread / slope / (math.sqrt(count) if reduce is torch.mean else 1.0)
