"""What a network gets right, and the gradient of its loss, on one fixed sample and at perturbed weights."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fusionscope.evaluation import check_finite, is_correct
from fusionscope.images import Images
from fusionscope.measures.undefined import check_has_gradient, check_perturbable
from fusionscope.precision import arithmetic

Losses = Callable[[Tensor, Tensor], Tensor]  # (logits (k, classes), labels (k,)) -> of each image (k,)
CROSS_ENTROPY: Losses = partial(F.cross_entropy, reduction="none")
FEWEST_CHANNELS = 8  # of a vector register: see `fastest_layout`


def flatten_parameters(network: nn.Module, weights: dict[str, Tensor] | None = None) -> Tensor:
    """All trainable parameters as one vector (omega,); buffers such as batch norm's are not part.

    From the state dict `weights` if given, else the network's own.
    """
    parameters = dict(network.named_parameters())
    source = parameters if weights is None else weights
    parts = [source[name].detach().flatten() for name in parameters]
    return torch.cat(parts) if parts else torch.empty(0)


def fastest_layout(network: nn.Module) -> torch.memory_format:
    """Channels last, in which a forward pass on a CPU is up to 1.7 times as fast; else channels first.

    On processors without AVX-512, oneDNN (PyTorch 2.14) writes beyond its memory in the backward pass of a
    strided pointwise convolution of fewer than 8 channels that lie last: jobs died by SIGSEGV.
    """
    strided = (
        module
        for module in network.modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and max(module.stride) > 1
    )
    crashes = any(module.in_channels // module.groups < FEWEST_CHANNELS for module in strided)
    return torch.contiguous_format if crashes else torch.channels_last


class Landscape:
    """A network in eval mode whose weights are moved in place and put back bit for bit.

    Three copies of the parameters at the most: the network's own, `weights` as they were, and a gradient
    while it is used (beside what is made for one layer, and autocast's rounded weights). `evaluated` and
    `differentiated` count images, for those who want to know the work.
    """

    def __init__(self, network: nn.Module, images: Images, batch_size: int, *, precision: str = "single"):
        """`precision`: of the network's operations, 'bfloat16' for autocast; 'single': the network's own."""
        self.network = network.eval()
        self.parameters = list(network.parameters())
        self.weights = [p.detach().clone() for p in self.parameters]
        self.images, self.x, self.y = images, images.normalised(), images.labels
        self.batch_size, self.precision = batch_size, precision
        self.moved = False  # whether weights are others than the network's own
        self.evaluated = self.differentiated = 0

    def __len__(self) -> int:
        """The number of images of the sample."""
        return len(self.y)

    @property
    def device(self) -> torch.device:
        return self.y.device

    @contextmanager
    def restoring_weights(self) -> Iterator[None]:
        """Weights may be moved inside; afterwards they are what they were."""
        try:
            yield
        finally:
            self.move(lambda w, p: w)
            self.moved = False

    @torch.no_grad()
    def move(self, to: Callable[..., Tensor], *others: Sequence[Tensor]) -> None:
        """Set each parameter to `to(w, p, ...)`: what it was, what it is, its part of each of `others`."""
        self.moved = True
        for w, p, *parts in zip(self.weights, self.parameters, *others, strict=True):
            p.copy_(to(w, p, *parts))

    @torch.inference_mode()
    def correct(self, index: Tensor | None = None) -> Tensor:
        """Which of the images at `index` (k,) are classified correctly: (k,) bool. All without an index.

        None is whose logits are not finite; raises InputError for such logits of the network's own weights.
        """
        return is_correct(self.logits(index), self.y if index is None else self.y[index])

    @torch.inference_mode()
    def logits(self, index: Tensor | None = None) -> Tensor:
        """(k, classes) of the images at `index` (k,), or of all."""
        x = self.x if index is None else self.x[index]
        self.evaluated += len(x)
        with self.arithmetic():
            logits = torch.cat([self.network(batch) for batch in x.split(self.batch_size)])
        self.check(logits)
        return logits.to(x.dtype)

    def gradient(self, index: Tensor, losses: Losses = CROSS_ENTROPY) -> tuple[list[Tensor], Tensor]:
        """The gradient of the mean loss on the images at `index` (k,), and their logits (k, classes).

        Raises NotDefined where no gradient can be taken by the weights.
        """
        check_perturbable(self.parameters)
        self.differentiated += len(index)
        self.network.zero_grad(set_to_none=True)
        x, y = self.x[index], self.y[index]
        logits = []
        for batch, labels in zip(x.split(self.batch_size), y.split(self.batch_size), strict=True):
            with self.arithmetic():
                answers = self.network(batch).to(x.dtype)
            check_has_gradient(answers)
            # backward() adds up in place, where grad() would need a second gradient
            (losses(answers, labels).sum() / len(y)).backward()
            self.check(answers)
            logits.append(answers.detach())
        gradient = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        self.network.zero_grad(set_to_none=True)
        return gradient, torch.cat(logits)

    def check(self, logits: Tensor) -> None:
        """Raise InputError for logits of the network's own weights that are not finite."""
        if not self.moved:
            check_finite(logits, self.network)

    def arithmetic(self) -> torch.autocast:
        return arithmetic(self.device, self.precision)
