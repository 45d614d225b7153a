"""Training a parent: SGD or AdamW on images in memory, the best epoch chosen on validation data."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from fusionscope.errors import InputError
from fusionscope.evaluation import accuracy, mean_loss, raw_logits
from fusionscope.images import AUGMENTATIONS, Images
from fusionscope.precision import arithmetic, rounded_products
from fusionscope.state import copy_of
from fusionscope.weights import set_weights, weights_of

EVALUATION_BATCH = 512  # images; changes speed and memory only


@dataclass(frozen=True)
class Epoch:
    """One row of the learning curve. Losses in nats, accuracies in [0, 1]."""

    epoch: int
    learning_rate: float  # of the epoch's last step
    train_loss: float  # running mean while the weights move
    train_accuracy: float  # likewise
    validation_loss: float
    validation_accuracy: float

    def as_row(self) -> dict[str, float]:
        return asdict(self)


@dataclass(frozen=True)
class Trained:
    """The weights with the smallest validation loss, and how training went."""

    best_weights: dict[str, Tensor]
    best_epoch: int
    curve: list[Epoch]


def steps(
    optimizer: Optimizer, steps_per_epoch: int, epochs: int, *, at: list[int], factor: float
) -> LRScheduler:
    """The learning rate times `factor` after each of the epochs `at`."""
    return lr_scheduler.MultiStepLR(optimizer, [epoch * steps_per_epoch for epoch in at], factor)


def one_cycle(optimizer: Optimizer, steps_per_epoch: int, epochs: int) -> LRScheduler:
    """Up to the learning rate and down to nearly zero (Smith & Topin 2018, arXiv 1708.07120)."""
    peak = optimizer.param_groups[0]["lr"]
    return lr_scheduler.OneCycleLR(optimizer, peak, steps_per_epoch * epochs, cycle_momentum=False)


def constant(optimizer: Optimizer, steps_per_epoch: int, epochs: int) -> LRScheduler:
    """The learning rate as it is."""
    return lr_scheduler.ConstantLR(optimizer, factor=1.0)


def linear(optimizer: Optimizer, steps_per_epoch: int, epochs: int, *, warmup_epochs: int) -> LRScheduler:
    """Up to the learning rate in `warmup_epochs` and down to zero, step by step."""
    total, rising = steps_per_epoch * epochs, steps_per_epoch * warmup_epochs

    def factor(step: int) -> float:
        """Of the step that comes after `step` others. Zero is reached one step after the last."""
        if step < rising:
            return (step + 1) / rising
        return (total - step) / (total - rising)

    return lr_scheduler.LambdaLR(optimizer, factor)


SCHEDULES: dict[str, Callable[..., LRScheduler]] = {
    "steps": steps,
    "one_cycle": one_cycle,
    "constant": constant,
    "linear": linear,
}


def train(
    network: nn.Module,
    train_images: Images,
    validation_images: Images,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
    clip_norm: float | None,
    schedule: dict[str, Any],
    augmentation: str,
    precision: str = "single",
    optimiser: str = "sgd",
    order: torch.Generator,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    resume: dict[str, Any] | None = None,
    keep: Callable[[dict[str, Any]], None] | None = None,
) -> Trained:
    """Train `network` in place and return the weights of its best epoch.

    `schedule` names an entry of SCHEDULES under `kind`, the rest are its options. `clip_norm` bounds
    the Euclidean norm of each step's gradient (None: as it is). `order` drives the order of the
    images and their augmentation. `precision` is that of the network's operations in a training step
    (see `fusionscope.precision`); weights and validation are in single precision. Raises InputError, naming
    the step, when the loss stops being finite.

    `keep` is given, after each epoch, all that an interrupted training needs to go on: tensors and plain
    values. The last of them as `resume`, with the other arguments as they were, ends in the very weights
    of an unbroken run; `on_epoch` is told again of the epochs that lie behind.
    """
    optimizer = make_optimizer(network, optimiser, learning_rate, momentum, weight_decay)
    batch_sizes = sizes_of_batches(network, train_images, batch_size)
    steps_per_epoch = len(batch_sizes)
    options = {key: value for key, value in schedule.items() if key != "kind"}
    advice = against_divergence(optimiser, learning_rate, momentum, weight_decay)
    scheduler = SCHEDULES[schedule["kind"]](optimizer, steps_per_epoch, epochs, **options)
    moving = Moving(network, optimizer, scheduler, order)

    best, curve = Best(), list[Epoch]()
    if resume is not None:
        restore(resume, moving)
        best, curve = Best(**resume["best"]), [Epoch(**row) for row in resume["curve"]]
        for epoch in curve:
            on_epoch(epoch)
    for number in range(len(curve) + 1, epochs + 1):
        with rounded_products(precision), told_what_a_step_takes(max(batch_sizes)):
            passed = run_epoch(
                moving, train_images, batch_sizes, clip_norm, AUGMENTATIONS[augmentation], precision
            )
        check_finite(passed.losses, (number - 1) * steps_per_epoch + 1, advice)
        epoch = describe(number, passed, network, train_images, validation_images)
        if not epoch.validation_loss < float("inf"):
            raise diverged(number * steps_per_epoch, advice)
        curve.append(epoch)
        on_epoch(epoch)
        if epoch.validation_loss < best.loss:
            # a copy: the live weights go on moving
            weights = {k: v.detach().cpu().clone() for k, v in weights_of(network).items()}
            best = Best(weights, epoch.validation_loss, number)
        if keep is not None:
            past = {"best": dict(vars(best)), "curve": [epoch.as_row() for epoch in curve]}
            keep(snapshot(moving) | past)
    return Trained(best.weights, best.epoch, curve)


def make_optimizer(
    network: nn.Module, optimiser: str, learning_rate: float, momentum: float, weight_decay: float
) -> Optimizer:
    """SGD, or AdamW, which takes no `momentum`."""
    if optimiser == "adamw":
        return torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=weight_decay)
    return torch.optim.SGD(
        network.parameters(), lr=learning_rate, momentum=momentum, weight_decay=weight_decay
    )


@dataclass(frozen=True)
class Best:
    """The epoch with the smallest validation loss so far."""

    weights: dict[str, Tensor] = field(default_factory=dict)
    loss: float = float("inf")
    epoch: int = 0


@dataclass(frozen=True)
class Moving:
    """All that a training step changes."""

    network: nn.Module
    optimizer: Optimizer
    scheduler: LRScheduler
    order: torch.Generator


@dataclass(frozen=True)
class Pass:
    """What one pass over the training images showed, while the weights moved."""

    losses: Tensor  # (steps,), of each step's batch
    sizes: Tensor  # (steps,), images of each step's batch
    hits: int  # images with the right answer
    learning_rate: float  # of the last step


def describe(
    number: int, passed: Pass, network: nn.Module, train_images: Images, validation_images: Images
) -> Epoch:
    """The row of the learning curve after epoch `number`."""
    logits = raw_logits(network, validation_images, EVALUATION_BATCH)
    return Epoch(
        epoch=number,
        learning_rate=passed.learning_rate,
        train_loss=(passed.losses @ passed.sizes).item() / len(train_images),
        train_accuracy=passed.hits / len(train_images),
        validation_loss=mean_loss(logits, validation_images.labels),
        validation_accuracy=accuracy(logits, validation_images.labels),
    )


def snapshot(moving: Moving) -> dict[str, Any]:
    """What the next step depends on: weights, momentum, schedule, and the state of every random stream."""
    return {
        "network": weights_of(moving.network),
        "optimizer": moving.optimizer.state_dict(),
        "scheduler": moving.scheduler.state_dict(),
        "order": moving.order.get_state(),
        "random": torch.get_rng_state(),
        "random_gpu": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
    }


def restore(state: dict[str, Any], moving: Moving) -> None:
    """Undo `snapshot`."""
    set_weights(moving.network, state["network"])
    moving.optimizer.load_state_dict(state["optimizer"])
    moving.scheduler.load_state_dict(state["scheduler"])
    moving.order.set_state(state["order"])
    torch.set_rng_state(state["random"])
    if state["random_gpu"] is not None and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(state["random_gpu"])


def sizes_of_batches(network: nn.Module, images: Images, batch_size: int) -> list[int]:
    """How many of `images` each step of an epoch takes.

    The last step takes what is left. A single image joins those of the step before where `network` cannot
    learn from one: a batch norm that sees one value per channel. Raises InputError where no step has two.
    """
    whole, rest = divmod(len(images), batch_size)
    sizes = [batch_size] * whole + [rest] * (rest > 0)
    if sizes[-1] > 1 or learns_from_one_image(network, images):
        return sizes
    if max(sizes) == 1:
        raise InputError(
            f"training: a batch norm of {type(network).__name__} sees one value per channel of an image, and "
            f"learns from two at least; set 'batch_size' to 2 or more ({len(images)} images to train on)"
        )
    return [*sizes[:-2], batch_size + 1]


def learns_from_one_image(network: nn.Module, images: Images) -> bool:
    """Whether a step on one image is possible; `network` and the random streams stay as they are."""
    copy = copy_of(network).train()
    device = images.labels.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
        try:
            copy(images.take(torch.zeros(1, dtype=torch.long)).normalised())
        except ValueError as error:
            if "more than 1 value per channel" in str(error):
                return False
            raise
    return True


def run_epoch(
    moving: Moving,
    images: Images,
    batch_sizes: list[int],
    clip_norm: float | None,
    augment: Callable[[Tensor, torch.Generator], Tensor],
    precision: str,
) -> Pass:
    """Train on all `images` once, in a new order; `batch_sizes` add up to their number."""
    network, optimizer, order = moving.network, moving.optimizer, moving.order
    network.train()
    losses: list[Tensor] = []
    sizes: list[int] = []
    hits = torch.zeros((), dtype=torch.long, device=images.labels.device)
    shuffled = torch.randperm(len(images), generator=order).to(images.labels.device)  # no copy in a step
    for index in shuffled.split(batch_sizes):
        batch = images.take(index)
        with arithmetic(images.labels.device, precision):
            logits = network(augment(batch.normalised(), order))
            loss = F.cross_entropy(logits, batch.labels)  # in single precision whatever the logits are in
        optimizer.zero_grad()
        loss.backward()
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(network.parameters(), clip_norm)
        optimizer.step()
        rate = optimizer.param_groups[0]["lr"]
        moving.scheduler.step()
        # kept on the device: asking for a number here would make a GPU wait at every step
        losses.append(loss.detach().double())
        sizes.append(len(index))
        hits += logits.detach().argmax(1).eq(batch.labels).sum()
    together = torch.stack(losses)
    return Pass(together, together.new_tensor(sizes), int(hits), rate)


@contextmanager
def told_what_a_step_takes(images: int) -> Iterator[None]:
    """Where a GPU's memory runs out, a note on the error: fewer images would be another training."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        error.add_note(f"a training step takes {images} images, the recipe's batch_size")
        raise


def check_finite(losses: Tensor, first_step: int, advice: str) -> None:
    """Raise at the first step whose loss is not finite; `losses` (steps,) start at `first_step`."""
    broken = (~losses.isfinite()).nonzero()
    if len(broken):
        raise diverged(first_step + int(broken[0]), advice)


def diverged(step: int, advice: str) -> InputError:
    return InputError(f"training diverged at step {step}: the loss is not finite; try {advice}")


def against_divergence(optimiser: str, learning_rate: float, momentum: float, weight_decay: float) -> str:
    """What to try where training diverges.

    Weight decay alone makes SGD diverge where learning_rate * weight_decay >= 2 (1 + momentum), AdamW where
    it is 2 or more: a step then takes a weight further past zero than it was away.
    """
    largest_product = 2 * (1 + momentum) if optimiser == "sgd" else 2
    if learning_rate * weight_decay >= largest_product:
        return (
            f"a weight_decay well below {largest_product / learning_rate:g}: with a learning_rate of "
            f"{learning_rate:g}, a larger one makes weights grow from step to step"
        )
    return f"a learning_rate below {learning_rate:g}, a clip_norm of 1, or a model_type with batch norm"
