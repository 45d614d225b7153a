"""The scales of perturbation at which a tenth of the accuracy is lost: four searches.

Gaussian noise (sigma) and the worst case in a box (alpha), each the same for all weights or in proportion
to their magnitude (Jiang et al. 2019, "Fantastic Generalization Measures", arXiv 1912.02178).
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn

from fusionscope.images import Images
from fusionscope.measurement import LEFT, RIGHT, Measurement
from fusionscope.measures.parameter.attack import Attack, BoxSize, Target, directions
from fusionscope.measures.parameter.landscape import Landscape
from fusionscope.measures.parameter.perturbation import EPSILON, Scale, as_measurement, itself
from fusionscope.measures.parameter.search import (
    ACCURACY_DROP,
    MAX_DROP,
    largest_mean_scale,
    smallest_broken_scale,
)
from fusionscope.measures.undefined import NotDefined, check_perturbable, refusals_as_undefined
from fusionscope.seeding import generator

# of whether an image at the threshold is lost; and what draws are at least taken to differ by beside that
BINOMIAL_SPREAD, DRAW_SPREAD = math.sqrt(ACCURACY_DROP * (1 - ACCURACY_DROP)), ACCURACY_DROP / 2

Size = Callable[[float, Tensor], Tensor | float]  # (scale, weights) -> of the perturbation of each

# Of one network and its images, with the recipe's options: for a notebook


def sigma(network: nn.Module, images: Images, *, seed: int = 0, **options: Any) -> Measurement:
    """The largest deviation of Gaussian noise on all weights that costs 0.1 of the accuracy on `images`.

    Undefined where the accuracy is at most 0.1 above chance. `options` are those of ScalesRecipe, and
    `batch_size`; defaults are the recipe's. Raises InputError for an option that is not right. `network` is
    put into eval mode and is otherwise left as it was.
    """
    return measure_scale("pac_bayes_sigma", network, images, seed=seed, **options)


def sigma_mag(network: nn.Module, images: Images, *, seed: int = 0, **options: Any) -> Measurement:
    """As `sigma`, with noise in proportion to each weight: of deviation sqrt(sigma'^2 w_i^2 + EPSILON^2)."""
    return measure_scale("pac_bayes_mag_sigma", network, images, seed=seed, **options)


def alpha(network: nn.Module, images: Images, *, seed: int = 0, **options: Any) -> Measurement:
    """The largest alpha such that no u with all |u_i| <= alpha costs more than 0.1 of the accuracy.

    An upper bound of it: the smallest at which an attack finds such a u, and it need not find the worst. So
    no standard error is known. Undefined where the accuracy is at most 0.1. Options and errors as of `sigma`.
    """
    return measure_scale("sharpness_alpha", network, images, seed=seed, **options)


def alpha_mag(network: nn.Module, images: Images, *, seed: int = 0, **options: Any) -> Measurement:
    """As `alpha`, in a box in proportion to each weight: |u_i| <= alpha' |w_i| + EPSILON."""
    return measure_scale("sharpness_mag_alpha", network, images, seed=seed, **options)


def measure_scale(
    name: str, network: nn.Module, images: Images, *, seed: int = 0, batch_size: int = 256, **options: Any
) -> Measurement:
    """The scale of that `name`, a key of SCALES, on all of `images`, and no other that it does not need."""
    from fusionscope.measures.recipes import ScalesRecipe  # here: jobs are told all options
    from fusionscope.options import check

    recipe = check(ScalesRecipe, options).model_dump(exclude={"images"})
    landscape = Landscape(network, images, batch_size, precision=recipe.pop("precision"))
    return as_measurement(find_scales(landscape, [name], seed=seed, **recipe)[name], itself)


# The four searches


def find_scales(
    landscape: Landscape, names: Iterable[str] | None = None, *, seed: int, **options: Any
) -> dict[str, Scale]:
    """The scales `names`, keys of SCALES, of the network of `landscape`; all four unless told which.

    `options`: those of `Searches`. One that the network does not have is undefined, with the reason.
    """
    searches = Searches(landscape, seed=seed, **options)
    return {name: search(SCALES[name], searches) for name in (SCALES if names is None else names)}


def search(scale: Callable[["Searches"], Scale], searches: "Searches") -> Scale:
    """One `scale`, or why there is none."""
    try:
        with refusals_as_undefined():
            check_perturbable(searches.landscape.parameters)
            return scale(searches)
    except NotDefined as error:
        return Scale(None, reason=str(error))


@dataclass(frozen=True)
class Searches:
    """The searches for sigma, sigma', alpha and alpha' on one sample, each made when it is asked for.

    `draws` of Gaussian noise, each judged by `images_per_draw` images of the sample, or as many draws as give
    the relative `target_error`; the worst case by attacks from `starts`, each with `ascent_steps` at a scale.
    `tolerance` in log scale ends a search inside `scale_range`.
    """

    landscape: Landscape
    seed: int
    images_per_draw: int
    starts: int
    ascent_steps: int
    tolerance: float
    scale_range: Sequence[float]  # the lowest and the highest
    draws: int | None = None
    target_error: float | None = None

    @cached_property
    def sigma(self) -> Scale:
        return self.largest_noise(even_noise)

    @cached_property
    def sigma_mag(self) -> Scale:
        return self.largest_noise(magnitude_noise)

    @cached_property
    def alpha(self) -> Scale:
        return self.largest_box(even_box)

    @cached_property
    def alpha_mag(self) -> Scale:
        """LEFT-censored without a search where the box of alpha lies inside that of epsilon alone."""
        even = self.alpha
        if even.value is not None and even.censored != RIGHT and even.value <= EPSILON:
            return Scale(self.scale_range[0], None, LEFT)
        return self.largest_box(magnitude_box)

    @cached_property
    def correct(self) -> Tensor:
        """(n,) bool: which images of the sample are classified correctly at the network's own weights."""
        return self.landscape.correct()

    @cached_property
    def accuracy(self) -> float:
        return self.correct.double().mean().item()

    def largest_noise(self, size: Size) -> Scale:
        low, high = self.scale_range
        if self.accuracy - 1 / self.landscape.images.num_classes <= MAX_DROP:
            return Scale(
                None,
                reason=f"accuracy {self.accuracy:.2f} is at most 0.1 above chance: noise cannot take 0.1",
            )
        drops = partial(
            gaussian_drops,
            self.landscape,
            self.correct,
            size,
            seed=self.seed,
            images_per_draw=self.images_per_draw,
        )
        return largest_mean_scale(
            drops,
            low=low,
            high=high,
            tolerance=self.tolerance,
            spread=math.hypot(BINOMIAL_SPREAD / self.images_per_draw**0.5, DRAW_SPREAD),
            draws=self.draws,
            target_error=self.target_error,
        )

    def largest_box(self, size: BoxSize) -> Scale:
        low, high = self.scale_range
        if self.accuracy <= MAX_DROP:
            return Scale(None, reason=f"accuracy {self.accuracy:.2f} is at most 0.1: no more can be lost")
        with self.landscape.restoring_weights():
            return smallest_broken_scale(self.attacks(size), low=low, high=high, tolerance=self.tolerance)

    def attacks(self, size: BoxSize) -> Iterator[tuple[float, Callable[[float], bool]]]:
        """The guess of each start, and whether the attack from there breaks the network at a scale."""
        target = Target(self.landscape, self.correct, size)
        for direction in directions(target, self.starts):
            stream = generator(self.seed, "attack", direction.random or 0, device=self.landscape.device)
            attack = Attack(target, direction, steps=self.ascent_steps, stream=stream)
            yield direction.scale, attack.breaks


SCALES: dict[str, Callable[[Searches], Scale]] = {  # the metrics' names, in the order of the CSV files
    "pac_bayes_sigma": attrgetter("sigma"),
    "pac_bayes_mag_sigma": attrgetter("sigma_mag"),
    "sharpness_alpha": attrgetter("alpha"),
    "sharpness_mag_alpha": attrgetter("alpha_mag"),
}

# Perturbations: the same for all weights, or in proportion to them


def even_noise(scale: float, w: Tensor) -> float:
    return scale


def magnitude_noise(scale: float, w: Tensor) -> Tensor:
    return torch.hypot(scale * w, torch.full_like(w, EPSILON))


def even_box(scale: float, w: Tensor) -> Tensor:
    return torch.full_like(w, scale)


def magnitude_box(scale: float, w: Tensor) -> Tensor:
    return scale * w.abs() + EPSILON


def gaussian_drops(
    landscape: Landscape,
    correct: Tensor,
    size: Size,
    scale: float,
    start: int,
    stop: int,
    *,
    seed: int,
    images_per_draw: int,
) -> Tensor:
    """Accuracy lost to w + u by the draws start, ..., stop - 1, u_i normal with deviation size(scale, w)_i.

    `correct` (n,): which images of the sample are classified correctly at w. Common random numbers: draw k
    is the same noise and the same images at every scale, made again rather than kept.
    """
    lost = []
    with landscape.restoring_weights():
        for draw in range(start, stop):
            stream = generator(seed, "gaussian draw", draw, device=landscape.device)
            landscape.move(
                lambda w, p, stream=stream: w + size(scale, w) * random_like(w, torch.randn, stream)
            )
            index = torch.randperm(len(correct), generator=stream, device=landscape.device)[:images_per_draw]
            lost.append(correct[index].double().mean() - landscape.correct(index).double().mean())
    return torch.stack(lost).cpu()


def random_like(w: Tensor, draw: Callable[..., Tensor], stream: torch.Generator) -> Tensor:
    return draw(w.shape, generator=stream, device=w.device, dtype=w.dtype)
