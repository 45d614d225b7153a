"""Fresh weights for the study's networks, drawn from a generator of their own."""

import torch
from torch import nn


@torch.no_grad()
def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Draw fresh weights in place.

    Convolutions: normal with variance 2 / fan_in, which keeps the scale of the signal through ReLU
    layers (He et al. 2015, arXiv 1502.01852). PyTorch's own default has a sixth of that variance:
    after VGG11's eight layers the signal is 6^-4 of what it was, and without batch norm training
    stays at chance for epochs. The last convolution of a residual branch without batch norm: zero.
    Otherwise the variance of the stream would grow with every block, by orders of magnitude over
    eight; branches that start at zero make every block the identity at first, whatever the depth
    (Zhang et al. 2019, "Fixup Initialization", arXiv 1901.09321). The linear layer: uniform within
    1 / sqrt(fan_in). Biases: zero. Batch norm: one and zero.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
        elif isinstance(module, nn.Linear):
            bound = module.in_features**-0.5
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            module.bias.zero_()
    for module in network.modules():
        if hasattr(module, "start_as_identity"):
            module.start_as_identity()  # type: ignore[operator]  # a method; stubs say a tensor
