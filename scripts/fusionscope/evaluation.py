"""What a network answers on images, and how good the answers are."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fusionscope.errors import InputError
from fusionscope.images import Images


def predict(network: nn.Module, images: Images, batch_size: int, *, name: str | None = None) -> Tensor:
    """Logits (n, classes) in eval mode.

    Raises InputError where they are not finite: no number that is made of such is worth anything. The
    sentence calls the network `name`, or by the file that its weights came from.
    """
    logits = raw_logits(network, images, batch_size)
    check_finite(logits, network, name)
    return logits


@torch.inference_mode()
def raw_logits(network: nn.Module, images: Images, batch_size: int) -> Tensor:
    """Logits (n, classes) in eval mode, finite or not."""
    network.eval()
    return torch.cat([network(batch) for batch, _ in images.batches(batch_size)])


def check_finite(logits: Tensor, network: nn.Module, name: str | None = None) -> None:
    """Raise InputError unless all `logits` (n, classes) of `network` are finite; `name` as of `predict`."""
    broken = ~logits.isfinite().all(1)
    if broken.any():
        name = name or getattr(network, "weights_file", type(network).__name__)
        raise InputError(
            f"{name}: its outputs are not finite on {int(broken.sum())} of {len(logits)} images (the first "
            f"is number {int(broken.nonzero()[0])}), so nothing can be measured of it; train it, or the "
            "parents that it is made of, again, with a smaller learning_rate or clip_norm"
        )


def is_correct(logits: Tensor, labels: Tensor) -> Tensor:
    """(n,) bool: whether the largest logit is at the label; never where a logit is not finite."""
    return logits.argmax(1).eq(labels) & logits.isfinite().all(1)


def margins(logits: Tensor, labels: Tensor, into: int | None = None) -> Tensor:
    """(n,): by how much the label's logit exceeds the largest of the others, or that of the class `into`."""
    own = logits.gather(1, labels.view(-1, 1)).squeeze(1)
    if into is None:
        return own - logits.scatter(1, labels.view(-1, 1), -math.inf).amax(1)
    return own - logits[:, into]


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of images, in [0, 1], that are classified correctly (see `is_correct`)."""
    return is_correct(logits, labels).double().mean().item()


def mean_loss(logits: Tensor, labels: Tensor) -> float:
    """Mean cross-entropy in nats."""
    return F.cross_entropy(logits.double(), labels).item()
