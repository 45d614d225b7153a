"""The scales of perturbation at which a tenth of the accuracy is lost: four searches.

Gaussian noise (sigma) and the worst case in a box (alpha), each the same for all weights or in proportion
to their magnitude (Jiang et al. 2019, "Fantastic Generalization Measures", arXiv 1912.02178).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn

from fusionscope.images import Images
from fusionscope.measurement import Measurement
from fusionscope.measures.parameter.landscape import Landscape
from fusionscope.measures.parameter.perturbation import EPSILON, Scale, as_measurement, itself
from fusionscope.measures.parameter.search import (
    ACCURACY_DROP,
    MAX_DROP,
    is_clear,
    largest_mean_scale,
    largest_worst_scale,
    sample_until_decided,
)
from fusionscope.seeding import generator

ASCENT_LENGTH = 8.0  # in half-widths of the box; with Madry's 2.5 an ascent ends short of the corners
FIRST_IMAGES = 128  # on which a worst case is judged before more are
# of whether an image at the threshold is lost; and what draws are at least taken to differ by beside that
BINOMIAL_SPREAD, DRAW_SPREAD = math.sqrt(ACCURACY_DROP * (1 - ACCURACY_DROP)), ACCURACY_DROP / 2

BOX_TO_NOISE = 0.01  # a little less than what alpha is to sigma, in the networks that we have seen

Size = Callable[[float, Tensor], Tensor | float]  # (scale, weights) -> of the perturbation of each
BoxSize = Callable[[float, Tensor], Tensor]

# Of one network and its images, with the recipe's options: for a notebook


def sigma(network: nn.Module, images: Images, *, seed: int = 0, **options: Any) -> Measurement:
    """The largest deviation of Gaussian noise on all weights that costs 0.1 of the accuracy on `images`.

    `options` are those of ScalesRecipe, and `batch_size`; defaults are the recipe's. Raises InputError for an
    option that is not right. `network` is put into eval mode and is otherwise left as it was.
    """
    return measure_scale("pac_bayes_sigma", network, images, seed=seed, **options)


def sigma_mag(network: nn.Module, images: Images, *, seed: int = 0, **options: Any) -> Measurement:
    """As `sigma`, with noise in proportion to each weight: of deviation sqrt(sigma'^2 w_i^2 + EPSILON^2)."""
    return measure_scale("pac_bayes_mag_sigma", network, images, seed=seed, **options)


def alpha(network: nn.Module, images: Images, *, seed: int = 0, **options: Any) -> Measurement:
    """The largest alpha such that the worst u found with all |u_i| <= alpha costs 0.1 of the accuracy.

    An upper bound of the true one, since gradient ascent need not find the worst. The search starts from a
    guess that sigma gives, which is searched first: so this is the number of all four searches together.
    Options and errors as of `sigma`.
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

    `options`: those of `Searches`.
    """
    searches = Searches(landscape, seed=seed, **options)
    return {name: SCALES[name](searches) for name in (SCALES if names is None else names)}


@dataclass(frozen=True)
class Searches:
    """The searches for sigma, sigma', alpha and alpha' on one sample, each made when it is asked for.

    `draws` of Gaussian noise, each judged by `images_per_draw` images of the sample, or as many draws as give
    the relative `target_error`; the worst case from `starts`, each with `ascent_steps` up the loss on
    `ascent_images`. `tolerance` in log scale ends a search inside `scale_range`.
    """

    landscape: Landscape
    seed: int
    images_per_draw: int
    starts: int
    ascent_steps: int
    ascent_images: int
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
        return self.largest_box(even_box, self.sigma)

    @cached_property
    def alpha_mag(self) -> Scale:
        return self.largest_box(magnitude_box, self.sigma_mag)

    @cached_property
    def correct(self) -> Tensor:
        """(n,) bool: which images of the sample are classified correctly at the network's own weights."""
        return self.landscape.correct()

    def largest_noise(self, size: Size) -> Scale:
        low, high = self.scale_range
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

    def largest_box(self, size: BoxSize, noise: Scale) -> Scale:
        low, high = self.scale_range
        ascent = Ascent(
            self.landscape,
            self.correct,
            size,
            seed=self.seed,
            steps=self.ascent_steps,
            images=self.ascent_images,
        )
        return largest_worst_scale(
            ascent.worst_drop,
            starts=self.starts,
            low=low,
            high=high,
            tolerance=self.tolerance,
            # from below: near chance an ascent in a large box may end at chance where a smaller box has worse
            guess=min(noise.value * BOX_TO_NOISE, math.sqrt(low * high)),
        )


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


@dataclass(frozen=True)
class Ascent:
    """Projected gradient ascent on the loss inside a box around the weights, |u_i| <= size(scale, w)_i.

    `steps` in the steepest direction of the box's own norm (the gradient's sign; Madry et al. 2018, arXiv
    1706.06083), each on as many `images` of the sample. `correct` (n,): which images are classified
    correctly at w. An ascent ends where it has clearly lost what is allowed, unless `to_the_end`.
    """

    landscape: Landscape
    correct: Tensor
    size: BoxSize
    seed: int
    steps: int
    images: int
    to_the_end: bool = False

    def worst_drop(self, scale: float, start: int) -> float:
        """The most accuracy that is lost on the way up from the random start of that number in the box."""
        landscape, count = self.landscape, len(self.correct)
        stream = generator(self.seed, "ascent start", start, device=landscape.device)
        order = torch.randperm(count, generator=stream, device=landscape.device)
        with landscape.restoring_weights():
            landscape.move(partial(self.into_box, scale, stream))
            for _ in range(self.steps):
                index = torch.randint(count, (self.images,), generator=stream, device=landscape.device)
                gradient, still_correct = landscape.gradient(index)
                lost = (self.correct[index].double() - still_correct.double()).cpu()
                if not self.to_the_end and self.is_too_much(lost):
                    lost = self.judge(order)
                    if lost.mean() > MAX_DROP:
                        return lost.mean().item()
                landscape.move(partial(self.uphill, scale), gradient)
                del gradient  # before there is another
            return self.judge(order).mean().item()

    # in place where nobody needs the old: of a large layer every tensor counts

    def into_box(self, scale: float, stream: torch.Generator, w: Tensor, p: Tensor) -> Tensor:
        """A random point of the box around w."""
        return random_like(w, torch.rand, stream).mul_(2).sub_(1).mul_(self.size(scale, w)).add_(w)

    def uphill(self, scale: float, w: Tensor, p: Tensor, slope: Tensor) -> Tensor:
        """From p up the slope, and back into the box around w."""
        box = self.size(scale, w)
        u = slope.sign_().mul_(box).mul_(ASCENT_LENGTH / self.steps).add_(p).sub_(w)
        torch.minimum(u, box, out=u)
        torch.maximum(u, box.neg_(), out=u)
        return u.add_(w)

    def is_too_much(self, lost: Tensor) -> bool:
        """Whether a step's images show that more than the allowed drop is lost."""
        return bool(lost.mean() > MAX_DROP) and is_clear(lost, len(self.correct), BINOMIAL_SPREAD)

    def judge(self, order: Tensor) -> Tensor:
        """What images lose at the weights as they are, as many in `order` (n,) as decide the sign."""

        def items(first: int, last: int) -> Tensor:
            index = order[first:last]
            return (self.correct[index].double() - self.landscape.correct(index).double()).cpu()

        count = len(self.correct)
        first = count if self.to_the_end else FIRST_IMAGES
        return sample_until_decided(items, count, first, BINOMIAL_SPREAD)


def random_like(w: Tensor, draw: Callable[..., Tensor], stream: torch.Generator) -> Tensor:
    return draw(w.shape, generator=stream, device=w.device, dtype=w.dtype)
