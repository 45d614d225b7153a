"""Training a parent: plain SGD on images in memory, the best epoch chosen on validation data."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import lr_scheduler

from fusionscope.errors import InputError
from fusionscope.evaluation import accuracy, mean_loss, predict
from fusionscope.images import AUGMENTATIONS, Images
from fusionscope.weights import set_weights

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


def steps(optimizer, steps_per_epoch: int, epochs: int, *, at: list[int], factor: float):
    """The learning rate times `factor` after each of the epochs `at`."""
    return lr_scheduler.MultiStepLR(optimizer, [epoch * steps_per_epoch for epoch in at], factor)


def one_cycle(optimizer, steps_per_epoch: int, epochs: int):
    """Up to the learning rate and down to nearly zero (Smith & Topin 2018, arXiv 1708.07120)."""
    peak = optimizer.param_groups[0]["lr"]
    return lr_scheduler.OneCycleLR(optimizer, peak, steps_per_epoch * epochs, cycle_momentum=False)


def constant(optimizer, steps_per_epoch: int, epochs: int):
    """The learning rate as it is."""
    return lr_scheduler.ConstantLR(optimizer, factor=1.0)


SCHEDULES = {"steps": steps, "one_cycle": one_cycle, "constant": constant}


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
    schedule: dict,
    augmentation: str,
    order: torch.Generator,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    resume: dict | None = None,
    keep: Callable[[dict], None] | None = None,
) -> Trained:
    """Train `network` in place by SGD and return the weights of its best epoch.

    `schedule` names an entry of SCHEDULES under `kind`, the rest are its options. `clip_norm` bounds
    the Euclidean norm of each step's gradient (None: as it is). `order` drives the order of the
    images and their augmentation. Raises InputError, naming the step, when the loss
    stops being finite.

    `keep` is given, after each epoch, all that an interrupted training needs to go on: tensors and plain
    values. The last of them as `resume`, with the other arguments as they were, ends in the very weights
    of an unbroken run; `on_epoch` is told again of the epochs that lie behind.
    """
    optimizer = torch.optim.SGD(
        network.parameters(), lr=learning_rate, momentum=momentum, weight_decay=weight_decay
    )
    steps_per_epoch = -(-len(train_images) // batch_size)
    options = {key: value for key, value in schedule.items() if key != "kind"}
    scheduler = SCHEDULES[schedule["kind"]](optimizer, steps_per_epoch, epochs, **options)
    augment = AUGMENTATIONS[augmentation]

    best, curve = {"weights": {}, "loss": float("inf"), "epoch": 0}, []
    if resume is not None:
        restore(resume, network, optimizer, scheduler, order)
        best, curve = resume["best"], [Epoch(**row) for row in resume["curve"]]
        for epoch in curve:
            on_epoch(epoch)
    for number in range(len(curve) + 1, epochs + 1):
        losses, sizes, hits, last_rate = run_epoch(
            network, train_images, batch_size, optimizer, scheduler, clip_norm, augment, order
        )
        check_finite(losses, first_step=(number - 1) * steps_per_epoch + 1, learning_rate=learning_rate)
        logits = predict(network, validation_images, EVALUATION_BATCH)
        epoch = Epoch(
            epoch=number,
            learning_rate=last_rate,
            train_loss=(losses @ sizes).item() / len(train_images),
            train_accuracy=hits / len(train_images),
            validation_loss=mean_loss(logits, validation_images.labels),
            validation_accuracy=accuracy(logits, validation_images.labels),
        )
        if not epoch.validation_loss < float("inf"):
            raise diverged(number * steps_per_epoch, learning_rate)
        curve.append(epoch)
        on_epoch(epoch)
        if epoch.validation_loss < best["loss"]:
            # a copy: the live weights go on moving
            weights = {k: v.detach().cpu().clone() for k, v in network.state_dict().items()}
            best = {"weights": weights, "loss": epoch.validation_loss, "epoch": number}
        if keep is not None:
            state = snapshot(network, optimizer, scheduler, order)
            keep(state | {"best": best, "curve": [epoch.as_row() for epoch in curve]})
    return Trained(best["weights"], best["epoch"], curve)


def snapshot(network, optimizer, scheduler, order) -> dict:
    """What the next step depends on: weights, momentum, schedule, and the state of every random stream."""
    return {
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "order": order.get_state(),
        "random": torch.get_rng_state(),
        "random_gpu": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
    }


def restore(state: dict, network, optimizer, scheduler, order) -> None:
    """Undo `snapshot`."""
    set_weights(network, state["network"])
    optimizer.load_state_dict(state["optimizer"])
    scheduler.load_state_dict(state["scheduler"])
    order.set_state(state["order"])
    torch.set_rng_state(state["random"])
    if state["random_gpu"] is not None and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(state["random_gpu"])


def run_epoch(
    network, images, batch_size, optimizer, scheduler, clip_norm, augment, order
) -> tuple[Tensor, Tensor, int, float]:
    """One pass over `images`.

    Loss and size of each step's batch (steps,), correct answers, and the last step's learning rate.
    """
    network.train()
    losses, sizes = [], []
    hits = torch.zeros((), dtype=torch.long, device=images.labels.device)
    for index in torch.randperm(len(images), generator=order).split(batch_size):
        batch = images.take(index)
        logits = network(augment(batch.normalised(), order))
        loss = F.cross_entropy(logits, batch.labels)
        optimizer.zero_grad()
        loss.backward()
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(network.parameters(), clip_norm)
        optimizer.step()
        rate = optimizer.param_groups[0]["lr"]
        scheduler.step()
        # kept on the device: asking for a number here would make a GPU wait at every step
        losses.append(loss.detach().double())
        sizes.append(len(index))
        hits += logits.detach().argmax(1).eq(batch.labels).sum()
    losses = torch.stack(losses)
    return losses, losses.new_tensor(sizes), int(hits), rate


def check_finite(losses: Tensor, first_step: int, learning_rate: float) -> None:
    """Raise at the first step whose loss is not finite; `losses` (steps,) start at `first_step`."""
    broken = (~losses.isfinite()).nonzero()
    if len(broken):
        raise diverged(first_step + int(broken[0]), learning_rate)


def diverged(step: int, learning_rate: float) -> InputError:
    return InputError(
        f"training diverged at step {step}: the loss is not finite; "
        f"try a learning_rate below {learning_rate:g}, or a model_type with batch norm"
    )
