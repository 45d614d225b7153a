"""Flatness: how far weights can be perturbed before a tenth of the accuracy is lost.

Four scales are searched (Jiang et al. 2019, "Fantastic Generalization Measures", arXiv 1912.02178):
Gaussian noise (sigma) and the worst case in a box (alpha), each the same for all weights or in
proportion to their magnitude. Twelve measures follow from them in closed form.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from fusionscope.measurement import OPPOSITE, Measurement
from fusionscope.measures.parameter.landscape import Landscape
from fusionscope.measures.parameter.search import (
    ACCURACY_DROP,
    ALLOWED,
    Scale,
    is_clear,
    largest_mean_scale,
    largest_worst_scale,
    looked_at,
)
from fusionscope.seeding import generator

EPSILON = 1e-3  # the paper's epsilon: weights at zero are perturbed too
DELTA = 0.05  # confidence of the bounds
TRAVEL = 8.0  # of an ascent, in half-widths of the box; with Madry's 2.5 it ends short of the corners
FIRST_IMAGES = 128  # on which a worst case is judged before more are looked at
# of whether an image at the threshold is lost; and what draws are at least taken to differ by beside that
BINOMIAL_SPREAD, DRAW_SPREAD = math.sqrt(ACCURACY_DROP * (1 - ACCURACY_DROP)), ACCURACY_DROP / 2

BOX_TO_NOISE = 0.01  # a little less than what alpha is to sigma, in the networks that we have seen

Size = Callable[[float, Tensor], Tensor | float]  # (scale, weights) -> of the perturbation of each

# of a perturbation: the same for all weights, or in proportion to them
EVEN_NOISE: Size = lambda scale, w: scale  # noqa: E731
MAGNITUDE_NOISE: Size = lambda scale, w: torch.hypot(scale * w, torch.full_like(w, EPSILON))  # noqa: E731
EVEN_BOX: Size = lambda scale, w: torch.full_like(w, scale)  # noqa: E731
MAGNITUDE_BOX: Size = lambda scale, w: scale * w.abs() + EPSILON  # noqa: E731


def find_scales(
    landscape: Landscape,
    *,
    seed: int,
    images_per_draw: int,
    starts: int,
    ascent_steps: int,
    ascent_images: int,
    tolerance: float,
    scale_range: tuple[float, float],
    draws: int | None = None,
    target_error: float | None = None,
) -> dict[str, Scale]:
    """sigma, sigma', alpha and alpha' of the network of `landscape`, by their metrics' names.

    `draws` of Gaussian noise, each judged by `images_per_draw` images of the sample, or as many draws as give
    the relative `target_error`; the worst case from `starts`, each with `ascent_steps` up the loss on
    `ascent_images`. `tolerance` in log scale ends a search inside `scale_range`.
    """
    low, high = scale_range
    search = {"low": low, "high": high, "tolerance": tolerance}
    right = landscape.right()
    noise = {"seed": seed, "images_per_draw": images_per_draw}
    ascent = {"seed": seed, "steps": ascent_steps, "images": ascent_images}
    mean = {
        "draws": draws,
        "target_error": target_error,
        "spread": math.hypot(BINOMIAL_SPREAD / images_per_draw**0.5, DRAW_SPREAD),
    }

    def largest_noise(size: Size) -> Scale:
        return largest_mean_scale(partial(gaussian_drops, landscape, right, size, **noise), **mean, **search)

    def largest_box(size: Size, noise: Scale) -> Scale:
        # from below: near chance an ascent in a large box may end at chance where a smaller box has worse
        guess = min(noise.value * BOX_TO_NOISE, math.sqrt(low * high))
        drop = partial(worst_drop, landscape, right, size, **ascent)
        return largest_worst_scale(drop, starts=starts, guess=guess, **search)

    sigma, sigma_mag = largest_noise(EVEN_NOISE), largest_noise(MAGNITUDE_NOISE)
    return {
        "pac_bayes_sigma": sigma,
        "pac_bayes_mag_sigma": sigma_mag,
        "sharpness_alpha": largest_box(EVEN_BOX, sigma),
        "sharpness_mag_alpha": largest_box(MAGNITUDE_BOX, sigma_mag),
    }


def gaussian_drops(
    landscape: Landscape,
    right: Tensor,
    size: Size,
    scale: float,
    start: int,
    stop: int,
    *,
    seed: int,
    images_per_draw: int,
) -> Tensor:
    """Accuracy lost to w + u by the draws start, ..., stop - 1, u_i normal with deviation size(scale, w)_i.

    `right` (n,): which images of the sample are right at w. Common random numbers: draw k is the same
    noise and the same images at every scale, made again rather than kept.
    """
    lost = []
    with landscape.excursion():
        for draw in range(start, stop):
            stream = generator(seed, "gaussian draw", draw, device=landscape.device)
            landscape.move(
                lambda w, p, stream=stream: w + size(scale, w) * random_like(w, torch.randn, stream)
            )
            index = torch.randperm(len(right), generator=stream, device=landscape.device)[:images_per_draw]
            lost.append(right[index].double().mean() - landscape.right(index).double().mean())
    return torch.stack(lost).cpu()


def worst_drop(
    landscape: Landscape,
    right: Tensor,
    size: Size,
    scale: float,
    start: int,
    *,
    seed: int,
    steps: int,
    images: int,
    to_the_end: bool = False,
) -> float:
    """The most accuracy that is lost on the way up the loss inside the box |u_i| <= size(scale, w)_i.

    From a random start in the box, `steps` of projected gradient ascent on L, in the steepest direction of
    the box's own norm (the gradient's sign; Madry et al. 2018, arXiv 1706.06083), each on as many `images`
    of the sample. It ends where it has clearly lost what is allowed, unless `to_the_end`.
    """
    stream = generator(seed, "ascent start", start, device=landscape.device)
    relative_step = TRAVEL / steps

    # in place where nobody needs the old: of a large layer every tensor counts
    def into_box(w: Tensor, p: Tensor) -> Tensor:
        return random_like(w, torch.rand, stream).mul_(2).sub_(1).mul_(size(scale, w)).add_(w)

    def uphill(w: Tensor, p: Tensor, slope: Tensor) -> Tensor:
        box = size(scale, w)
        u = slope.sign_().mul_(box).mul_(relative_step).add_(p).sub_(w)
        torch.minimum(u, box, out=u)
        torch.maximum(u, box.neg_(), out=u)
        return u.add_(w)

    def judge() -> Tensor:
        def items(first: int, last: int) -> Tensor:
            index = order[first:last]
            return (right[index].double() - landscape.right(index).double()).cpu()

        first = len(right) if to_the_end else FIRST_IMAGES
        return looked_at(items, len(right), first, BINOMIAL_SPREAD)

    order = torch.randperm(len(right), generator=stream, device=landscape.device)
    with landscape.excursion():
        landscape.move(into_box)
        for _ in range(steps):
            index = torch.randint(len(right), (images,), generator=stream, device=landscape.device)
            gradient, still_right = landscape.gradient(index)
            lost = (right[index].double() - still_right.double()).cpu()
            if not to_the_end and lost.mean() > ALLOWED and is_clear(lost, len(right), BINOMIAL_SPREAD):
                lost = judge()
                if lost.mean() > ALLOWED:
                    return lost.mean().item()
            landscape.move(uphill, gradient)
            del gradient  # before there is another
        return judge().mean().item()


def random_like(w: Tensor, draw: Callable[..., Tensor], stream: torch.Generator) -> Tensor:
    return draw(w.shape, generator=stream, device=w.device, dtype=w.dtype)


def flatness_measures(
    scales: Mapping[str, Scale], w: Tensor, w0: Tensor | None, train_size: int
) -> dict[str, Measurement]:
    """The four scales and the twelve measures at `w` (omega,), flattened weights.

    `w0`: the initial weights; without them (None) the `_init` measures are left out. `train_size` is m,
    the number of images the network was trained on.
    """
    sigma, sigma_mag = scales["pac_bayes_sigma"], scales["pac_bayes_mag_sigma"]
    alpha, alpha_mag = scales["sharpness_alpha"], scales["sharpness_mag_alpha"]
    results = {name: as_measurement(scale, lambda s: s) for name, scale in scales.items()}
    results |= {
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
