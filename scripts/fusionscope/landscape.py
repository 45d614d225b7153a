"""Loss and accuracy of one network on one fixed sample, as functions of its flat weight vector."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from fusionscope.images import Images


def flatten_parameters(network: nn.Module, weights: dict[str, Tensor] | None = None) -> Tensor:
    """All trainable parameters as one vector (omega,); buffers such as batch norm's are not part.

    From the state dict `weights` if given, else the network's own.
    """
    parameters = dict(network.named_parameters())
    source = parameters if weights is None else weights
    return torch.cat([source[name].detach().flatten() for name in parameters])


def farthest(w: Tensor, origins: Sequence[Tensor]) -> Tensor | None:
    """The one of `origins` (omega,) at the largest distance from `w`; None if there are none."""
    return max(origins, key=lambda origin: (w - origin).double().norm().item(), default=None)


class Landscape:
    """L(w) and acc(w) in eval mode; the network itself is never changed."""

    def __init__(self, network: nn.Module, images: Images, batch_size: int):
        self.network = network.eval()
        self.batches = list(images.batches(batch_size))
        self.size = len(images)
        self.shapes = {name: p.shape for name, p in network.named_parameters()}

    def logits(self, w: Tensor, x: Tensor) -> Tensor:
        """(n, classes) at weights `w` (omega,)."""
        parts = w.split([shape.numel() for shape in self.shapes.values()])
        parameters = {
            name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }
        return functional_call(self.network, parameters, (x,))

    @torch.no_grad()
    def accuracy(self, w: Tensor) -> float:
        """Share of the sample that is classified correctly, in [0, 1]."""
        return sum(hits(self.logits(w, x), y) for x, y in self.batches) / self.size

    def accuracy_and_gradient(self, w: Tensor) -> tuple[float, Tensor]:
        """Accuracy, and the gradient (omega,) of the mean cross-entropy, at `w`."""
        w = w.detach().requires_grad_()
        gradient, correct = torch.zeros_like(w), 0
        for x, y in self.batches:
            logits = self.logits(w, x)
            loss = F.cross_entropy(logits, y, reduction="sum") / self.size
            gradient += torch.autograd.grad(loss, w)[0]
            correct += hits(logits.detach(), y)
        return correct / self.size, gradient


def hits(logits: Tensor, labels: Tensor) -> int:
    return int(logits.argmax(1).eq(labels).sum())
