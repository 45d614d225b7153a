"""What a network answers on images, and how good the answers are."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fusionscope.images import Images


@torch.inference_mode()
def predict(network: nn.Module, images: Images, batch_size: int) -> Tensor:
    """Logits (n, classes) in eval mode."""
    network.eval()
    return torch.cat([network(batch) for batch, _ in images.batches(batch_size)])


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of images, in [0, 1], whose largest logit is at the label."""
    return logits.argmax(1).eq(labels).double().mean().item()


def mean_loss(logits: Tensor, labels: Tensor) -> float:
    """Mean cross-entropy in nats."""
    return F.cross_entropy(logits.double(), labels).item()
