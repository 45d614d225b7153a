"""Fresh weights: those that the study's networks start from, and two ways that suit any network."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from fusionscope.errors import InputError

RESETS = ("reset_parameters", "_reset_parameters")  # what PyTorch's layers call it


@torch.no_grad()
def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Draw fresh weights in place.

    Convolutions and hidden linear layers: normal with variance 2 / fan_in, which keeps the scale of the
    signal through ReLU layers (He et al. 2015, arXiv 1502.01852). PyTorch's own default has a sixth of
    that variance: after VGG11's eight layers the signal is 6^-4 of what it was, and without batch norm
    training stays at chance for epochs. The last convolution of a residual branch without batch norm:
    zero. Otherwise the variance of the stream would grow with every block, by orders of magnitude over
    eight; branches that start at zero make every block the identity at first, whatever the depth
    (Zhang et al. 2019, "Fixup Initialization", arXiv 1901.09321). The last linear layer: uniform within
    1 / sqrt(fan_in). Biases: zero. Batch norm: one and zero.
    """
    *_, last = (module for module in network.modules() if isinstance(module, nn.Linear))
    for module in network.modules():
        if module is last:
            bound = last.in_features**-0.5
            nn.init.uniform_(last.weight, -bound, bound, generator=generator)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            module.bias.zero_()
    for module in network.modules():
        if hasattr(module, "start_as_identity"):
            module.start_as_identity()  # type: ignore[operator]  # a method; stubs say a tensor


@torch.no_grad()
def draw_pytorch_defaults(network: nn.Module) -> None:
    """Draw the weights of PyTorch's layers anew, in place, each by its own default.

    From PyTorch's global stream. What is no layer of PyTorch's keeps the weights that it has. Raises
    InputError for a layer whose weight is computed from other tensors.
    """
    # inner layers first: attention wishes another bias for the linear layer inside it than that itself
    for name, module in reversed(list(network.named_modules())):
        for reset in (getattr(module, reset, None) for reset in RESETS):
            if reset is not None and reset.__module__.startswith("torch.nn.modules."):
                check_can_be_drawn(name, module)
                reset()


@torch.no_grad()
def draw_he(network: nn.Module) -> None:
    """Draw the weights of convolutions and linear layers anew, in place; their biases are zero.

    Normal with variance 2 / fan_in (He et al. 2015, arXiv 1502.01852, equation 10): signals keep their
    scale on the way forward through ReLU layers. From PyTorch's global stream. Other layers, and
    convolutions that are transposed, keep the weights that they have; residual branches are not scaled
    down, as `initialise` does. Raises InputError for a layer whose weight is computed from other tensors.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear):
            check_can_be_drawn(name, module)
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                module.bias.zero_()


def check_can_be_drawn(name: str, module: nn.Module) -> None:
    """Raise InputError for a layer with, say, weight normalisation: what is drawn would not last."""
    weight = getattr(module, "weight", None)
    if weight is not None and not isinstance(weight, nn.Parameter):
        raise InputError(
            f"initialisation: {name}.weight is computed from other tensors and cannot be drawn; "
            "use 'initialisation: network'"
        )


def redraw(network: nn.Module, initialisation: str, generator: torch.Generator) -> None:
    """Weights by an entry of REDRAWS, in place, that depend on the generator's seed alone; "network": none.

    PyTorch's global stream is afterwards as it was. Raises InputError as the entries do.
    """
    if initialisation != "network":
        with global_stream(generator):
            REDRAWS[initialisation](network)


@contextmanager
def global_stream(generator: torch.Generator) -> Iterator[None]:
    """Inside, PyTorch's global stream is seeded by the generator's seed; afterwards it is as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator.initial_seed())
        yield


# What is drawn where a recipe does not leave the weights as the network's own code draws them.
REDRAWS: dict[str, Callable[[nn.Module], None]] = {"pytorch": draw_pytorch_defaults, "he": draw_he}
