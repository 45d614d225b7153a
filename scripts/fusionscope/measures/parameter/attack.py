"""The worst perturbation of the weights inside a box, as an attack finds it that aims at lost images.

What is sought is any perturbation that costs a given number of images, whichever they are. In a small box the
margins are nearly linear in the weights, and images fall together where the gradients of their margins agree:
often those that can be driven into one and the same class. So attacks set out towards one class each, or
towards none, and then close in on those images that have come nearest.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from fusionscope.evaluation import is_correct, margins
from fusionscope.measures.parameter.landscape import Landscape, Losses
from fusionscope.measures.parameter.search import MAX_DROP

SPARE = 1.75  # images that are aimed at, over those that have to be lost
FIRST_SOFTNESS, LAST_SOFTNESS = 0.3, 0.06  # of the count, in mean margins of the images that are aimed at
FIRST_STEP, NEXT_STEP, LAST_STEP = 1.0, 0.5, 0.05  # in half-widths of the box; later tries set out smaller
LOOK_EVERY = 3  # steps until all images are looked at, and those that are aimed at chosen anew
CLOSING_FROM = 0.5  # the share of the steps after which an attack closes in on just as many as are needed
MOST_CLASSES = 20  # that attacks may set out towards

BoxSize = Callable[[float, Tensor], Tensor]  # (scale, weights) -> half-width of the box in each weight


@dataclass(frozen=True)
class Target:
    """A network, the boxes around its weights w, and what is lost of it.

    `correct` (n,) bool: the images that are classified correctly at w. `size(scale, w)`: the half-width of
    the box, linear in the scale.
    """

    landscape: Landscape
    correct: Tensor
    size: BoxSize

    @property
    def needed(self) -> int:
        """The fewest images that are more than is allowed to be lost."""
        return math.floor(MAX_DROP * len(self.correct)) + 1

    def is_broken(self, logits: Tensor) -> bool:
        """Whether more of the accuracy than allowed is lost at these `logits` (n, classes) of all images."""
        kept = is_correct(logits, self.landscape.y)
        return (self.correct.double().mean() - kept.double().mean()).item() > MAX_DROP

    def nearest(self, logits: Tensor, count: int, into: int | None = None) -> Tensor:
        """(count,) or fewer images correct at w, those of the smallest margins at `logits` (n, classes).

        With `into`, by the margins over that class.
        """
        labels = self.landscape.y
        can_be_lost = self.correct if into is None else self.correct & (labels != into)
        ways = torch.where(can_be_lost, margins(logits, labels, into), math.inf)
        return ways.argsort(stable=True)[: min(count, int(can_be_lost.sum()))]

    def nearest_of_the_wrong(self, logits: Tensor, count: int) -> Tensor:
        """(count,) or fewer images wrong at w, those of the largest margins at `logits` (n, classes)."""
        ways = torch.where(self.correct, math.inf, -margins(logits, self.landscape.y))
        return ways.argsort(stable=True)[: min(count, int((~self.correct).sum()))]

    def won(self, logits: Tensor) -> int:
        """How many images that are wrong at w are correct at these `logits` (n, classes)."""
        return int((is_correct(logits, self.landscape.y) & ~self.correct).sum())


@dataclass(frozen=True)
class Direction:
    """What an attack sets out towards: the class `into`, or none.

    `scale`: where it would break the network if margins were linear in the weights. `random`: None to set out
    from w, else the number of a random point in the box.
    """

    scale: float
    into: int | None = None
    random: int | None = None


def directions(target: Target, count: int) -> list[Direction]:
    """The `count` most promising directions: no class and each class by their scales, then random points."""
    logits = target.landscape.logits()
    classes: list[int | None] = [None, *nearest_classes(target, logits)]
    found = [Direction(first_order_scale(target, logits, into), into) for into in classes]
    fill = [Direction(found[0].scale, random=number) for number in range(count - len(found))]
    return (sorted(found, key=lambda direction: direction.scale) + fill)[:count]


def nearest_classes(target: Target, logits: Tensor) -> list[int]:
    """MOST_CLASSES at the most: those into which the images that are needed have the least way to go."""
    ways = {}
    for into in range(logits.shape[1]):
        index = target.nearest(logits, target.needed, into)
        if len(index) == target.needed:
            ways[into] = margins(logits[index], target.landscape.y[index], into).mean().item()
    return sorted(ways, key=ways.__getitem__)[:MOST_CLASSES]


def first_order_scale(target: Target, logits: Tensor, into: int | None) -> float:
    """The scale at which the nearest images' mean margin would be 0, were margins linear in the weights."""
    landscape, index = target.landscape, target.nearest(logits, target.needed, into)
    gradient, _ = landscape.gradient(index, partial(margins, into=into))

    def taken(scale: float) -> float:
        """What the worst corner of the box takes from the mean margin."""
        boxes = (target.size(scale, w) for w in landscape.weights)
        parts = [(part.abs() * box).sum() for part, box in zip(gradient, boxes, strict=True)]
        return sum(torch.stack(parts).tolist())  # a GPU is waited for once

    mean = margins(logits[index], landscape.y[index], into).mean().item()
    slope = taken(1.0) - taken(0.0)
    return (mean - taken(0.0)) / slope if slope > 0 and math.isfinite(mean) else math.inf


class Attack:
    """Signed gradient descent (Madry et al. 2018, arXiv 1706.06083) that goes on from one box to the next.

    At each scale it first lowers the number of images that would be kept if logistic noise were added to
    their margins: this finds out which can be lost together. Then it closes in on those with the smallest
    margins, just as many as have to be lost, by a smooth hinge loss: how far one is lost does not count. The
    perturbation is kept in the landscape's own weights, relative to the box; whoever calls it puts them back.
    """

    def __init__(self, target: Target, direction: Direction, *, steps: int, stream: torch.Generator):
        """`stream`: of the random point, if the direction has one."""
        self.target, self.landscape = target, target.landscape
        self.direction, self.steps, self.stream = direction, steps, stream
        self.scale: float | None = None  # of the box that it was last in

    def breaks(self, scale: float) -> bool:
        """Whether it finds more lost than allowed in the box of `scale`, within `steps` from where it is."""
        first_time = self.scale is None
        first_step = FIRST_STEP if first_time else NEXT_STEP
        self.enter_box(scale)
        logits = self.landscape.logits()
        for step in range(self.steps):
            if step % LOOK_EVERY == 0:
                logits = logits if step == 0 else self.landscape.logits()
                if self.target.is_broken(logits):
                    return True
            share = step / self.steps
            index, losses = self.aim(logits, share, self.direction.into if first_time else None)
            gradient, seen = self.landscape.gradient(index, losses)
            if self.may_be_broken(index, seen) and self.target.is_broken(self.landscape.logits()):
                return True
            length = LAST_STEP + (first_step - LAST_STEP) * (1 + math.cos(math.pi * share)) / 2
            self.landscape.move(partial(self.downhill, length), gradient)
            del gradient  # before there is another
        return self.target.is_broken(self.landscape.logits())

    def aim(self, logits: Tensor, share: float, into: int | None) -> tuple[Tensor, Losses]:
        """The images (k,) to lose after this `share` of the steps, by all `logits`, and the loss to lower."""
        target, closing = self.target, share >= CLOSING_FROM
        into = None if closing else into
        index = target.nearest(logits, round(SPARE * target.needed), into)
        mean = margins(logits[index], self.landscape.y[index], into).abs().mean().item()
        softness = FIRST_SOFTNESS * (LAST_SOFTNESS / FIRST_SOFTNESS) ** share * mean
        softness = max(softness, torch.finfo(logits.dtype).tiny)
        if closing:
            index = target.nearest(logits, target.needed + target.won(logits))
            return index, partial(hinge, softness=softness)
        if into is None:
            index = torch.cat([index, target.nearest_of_the_wrong(logits, target.needed)])
        return index, partial(kept, softness=softness, into=into)

    def may_be_broken(self, index: Tensor, logits: Tensor) -> bool:
        """Whether enough of the images at `index` (k,) are lost at their `logits` (k, classes)."""
        lost = self.target.correct[index] & ~is_correct(logits, self.landscape.y[index])
        return int(lost.sum()) >= self.target.needed

    # in place where nobody needs the old: of a large layer every tensor counts

    def enter_box(self, scale: float) -> None:
        """Into the box of `scale`: to where it was in the last one, relative to its size."""
        if self.scale is None:
            self.landscape.move(partial(self.set_out, scale))
        elif scale != self.scale:
            self.landscape.move(partial(self.resize, self.scale, scale))
        self.scale = scale

    def set_out(self, scale: float, w: Tensor, p: Tensor) -> Tensor:
        """w, or a random point of the box around it."""
        if self.direction.random is None:
            return w
        u = torch.rand(w.shape, generator=self.stream, device=w.device, dtype=w.dtype)
        return u.mul_(2).sub_(1).mul_(self.target.size(scale, w)).add_(w)

    def resize(self, before: float, after: float, w: Tensor, p: Tensor) -> Tensor:
        size = self.target.size
        return (p - w).mul_(size(after, w).div_(size(before, w))).add_(w)

    def downhill(self, length: float, w: Tensor, p: Tensor, slope: Tensor) -> Tensor:
        """From p down the slope, `length` half-widths of the box, and back into the box around w."""
        assert self.scale is not None
        box = self.target.size(self.scale, w)
        u = slope.sign_().nan_to_num_(0.0).mul_(box).mul_(-length).add_(p).sub_(w)
        torch.minimum(u, box, out=u)
        torch.maximum(u, box.neg_(), out=u)
        return u.add_(w)


def kept(logits: Tensor, labels: Tensor, *, softness: float, into: int | None) -> Tensor:
    """(k,): the chance that an image stays correct if logistic noise of this scale is added to its margin."""
    return torch.sigmoid(margins(logits, labels, into) / softness)


def hinge(logits: Tensor, labels: Tensor, *, softness: float) -> Tensor:
    """(k,): the margins above zero, in units of `softness`, with a kink as soft as that."""
    return F.softplus(margins(logits, labels) / softness)
