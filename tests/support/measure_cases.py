"""Small networks, images and matrices that the tests of the measurements share."""

import math

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from fusionscope.images import Images

torch.set_num_threads(1)  # the machine's cores are shared

WIDTH = 1 / 16  # of the study's networks: 4 to 32 channels


def random_images(
    count: int, *, size: int = 32, classes: int = 10, seed: int = 0, dtype: torch.dtype = torch.float64
) -> Images:
    """Noise with random labels; batches come in `dtype`, in which the mean and std are stored."""
    stream = torch.Generator().manual_seed(seed)
    return Images(
        pixels=torch.randint(0, 256, (count, 3, size, size), generator=stream, dtype=torch.uint8),
        labels=torch.randint(0, classes, (count,), generator=stream),
        mean=torch.full((3,), 0.5, dtype=dtype),
        std=torch.full((3,), 0.25, dtype=dtype),
        num_classes=classes,
    )


@torch.no_grad()
def randomise(network: nn.Module, seed: int) -> nn.Module:
    """`network` in float64 and eval mode with random weights, biases and batch norm statistics."""
    stream = torch.Generator().manual_seed(seed)

    def uniform(tensor: Tensor, low: float, high: float) -> None:
        tensor.copy_(low + (high - low) * torch.rand(tensor.shape, generator=stream))

    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            uniform(module.weight, -1.5, 1.5)
            uniform(module.bias, -0.5, 0.5)
            uniform(module.running_mean, -0.5, 0.5)
            uniform(module.running_var, 0.2, 2.0)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            fan_in = module.weight[0].numel()
            module.weight.copy_(torch.randn(module.weight.shape, generator=stream) * math.sqrt(2 / fan_in))
            if module.bias is not None:
                uniform(module.bias, -0.2, 0.2)
    return network.double().eval()


def smooth_network(*, batch_norm: bool = False, seed: int = 0) -> nn.Module:
    """A convolution and two linear layers with tanh on (3, 4, 4) images; some 275 parameters."""
    layers = [nn.Conv2d(3, 4, 3), *([nn.BatchNorm2d(4)] if batch_norm else []), nn.Tanh(), nn.Flatten()]
    layers += [nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3)]
    return randomise(nn.Sequential(*layers), seed)


def flat_loss(network: nn.Module, x: Tensor, y: Tensor):
    """The mean cross-entropy as a function of the flat vector of all parameters, and that vector."""
    names, tensors = zip(*network.named_parameters(), strict=True)

    def loss(w: Tensor) -> Tensor:
        parts = w.split([t.numel() for t in tensors])
        parameters = {n: p.view_as(t) for n, p, t in zip(names, parts, tensors, strict=True)}
        return F.cross_entropy(functional_call(network, parameters, (x,)), y)

    return loss, torch.cat([t.detach().flatten() for t in tensors])


def dense_hessian(network: nn.Module, images: Images) -> Tensor:
    """The Hessian (omega, omega) of the mean loss, in full, by automatic differentiation."""
    loss, w = flat_loss(network, images.normalised(), images.labels)
    return torch.func.hessian(loss)(w).detach()
