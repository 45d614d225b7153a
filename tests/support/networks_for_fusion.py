"""Small networks of the kinds fusion has to get right, and weights in which every neuron does something."""

import copy
from collections.abc import Callable
from functools import cache

import cases
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models
from torchvision.models.efficientnet import MBConvConfig
from torchvision.models.resnet import Bottleneck, conv1x1
from torchvision.ops import Conv2dNormActivation

from fusionscope.alignment.groups import (
    alignment_groups,
)
from fusionscope.alignment.move import (
    move,
)
from fusionscope.fusion.pair import Pair, permutation_map
from fusionscope.images import Images
from fusionscope.networks.build import build
from fusionscope.weights import Weights

CLASSES = cases.NUM_CLASSES


def bottlenecks() -> nn.Module:
    """ResNet50's blocks on two thin streams: identity and projection shortcuts."""

    def down(channels_in: int, channels: int, stride: int) -> nn.Module:
        return nn.Sequential(conv1x1(channels_in, channels, stride), nn.BatchNorm2d(channels))

    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        Bottleneck(8, 4, downsample=down(8, 16, 1)),
        Bottleneck(16, 4),
        Bottleneck(16, 6, 2, down(16, 24, 2)),
        Bottleneck(24, 6),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, CLASSES),
    )


def densenet() -> nn.Module:
    return models.DenseNet(growth_rate=4, block_config=(2, 3), num_init_features=8, num_classes=CLASSES)


def mobilenet() -> nn.Module:
    setting = [[1, 8, 1, 1], [3, 8, 2, 2], [3, 16, 2, 1]]
    network = models.MobileNetV2(CLASSES, width_mult=0.25, inverted_residual_setting=setting)
    network.features[-1] = Conv2dNormActivation(8, 24, kernel_size=1, activation_layer=nn.ReLU6)
    network.classifier[1] = nn.Linear(24, CLASSES)  # its own last layer has 1,280 neurons
    return network


def efficientnet() -> nn.Module:
    setting = [
        MBConvConfig(1, 3, 1, 8, 8, 1),
        MBConvConfig(4, 3, 2, 8, 8, 2),
        MBConvConfig(4, 5, 2, 8, 16, 1),
    ]
    return models.EfficientNet(setting, dropout=0.2, last_channel=24, num_classes=CLASSES)


class Own(nn.Module):
    """What a user may write: a concatenation, a skip over three layers, one over one, and a wide flatten."""

    def __init__(self, width: int = 6):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.left = nn.Conv2d(width, 5, 3, padding=1)
        self.right = nn.Sequential(nn.Conv2d(width, 4, 1), nn.BatchNorm2d(4), nn.GELU())
        self.deep = nn.Sequential(
            nn.Conv2d(9, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 9, 3, padding=1),
        )
        self.shallow = nn.Conv2d(9, 9, 1)
        self.hidden = nn.Linear(9 * 2 * 2, 12)
        self.norm = nn.BatchNorm1d(12)
        self.out = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        both = torch.cat([F.relu(self.left(x)), self.right(x)], dim=1)
        x = F.relu(both + self.deep(both))
        x = x + F.relu(self.shallow(x))
        x = F.adaptive_avg_pool2d(x, 2).flatten(1)
        return self.out(F.relu(self.norm(self.hidden(x))))


SMALL: dict[str, Callable[[], nn.Module]] = {
    "bottlenecks": bottlenecks,
    "densenet": densenet,
    "mobilenet": mobilenet,
    "efficientnet": efficientnet,
    "own": Own,
}
TORCHVISION = ("resnet50", "densenet121", "mobilenet_v2", "efficientnet_b0")  # as they are


@cache
def network_of(name: str) -> nn.Module:
    """In float64 and eval mode: one of cases.ALL_MODEL_TYPES, of SMALL or of TORCHVISION."""
    if name in SMALL:
        return SMALL[name]().double().eval()
    if name in TORCHVISION:
        return build(CLASSES, architecture=f"torchvision:{name}").double()
    return cases.network_of(name)


@cache
def weights_of(name: str, seed: int) -> Weights:
    """Float64 weights in which nothing is left at a value that would hide a mistake.

    Every neuron is on for some inputs and off for others: rows add to zero, and batch norm statistics are
    those of images, give or take.
    """
    random = torch.Generator().manual_seed(seed)
    network = copy.deepcopy(network_of(name))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(generator=random)
            if parameter.dim() > 1:
                rows = parameter.flatten(1)
                parameter -= rows.mean(1).view(-1, *[1] * (parameter.dim() - 1)) * (rows.shape[1] > 2)
                parameter /= parameter[0].numel() ** 0.5
            else:
                parameter *= 0.3
        norms = [part for part in network.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            norm.weight.uniform_(0.5, 1.5, generator=random)
            norm.train()
            norm.momentum = 1.0
        network(probe())
        for norm in norms:
            noise = torch.randn(norm.num_features, generator=random, dtype=torch.float64)
            norm.running_mean += 0.2 * norm.running_var.sqrt() * noise
            norm.running_var *= torch.empty_like(noise).uniform_(0.7, 1.4, generator=random)
            norm.num_batches_tracked.random_(0, 1000, generator=random)
    return network.state_dict()


def images(count: int = 32) -> Images:
    """Random, and smooth enough that pooling leaves something of them."""
    random = torch.Generator().manual_seed(12)
    return Images(
        pixels=torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=random),
        labels=torch.zeros(count, dtype=torch.int64),
        mean=torch.tensor([0.5, 0.5, 0.5]),
        std=torch.tensor([0.25, 0.25, 0.25]),
        num_classes=CLASSES,
        size=32,
    )


def probe() -> Tensor:
    return images().normalised().double()


@torch.no_grad()
def answers(network: nn.Module, weights: Weights) -> Tensor:
    return torch.func.functional_call(network, weights, (probe()[:12],))


def permuted(network: nn.Module, weights: Weights, seed: int) -> tuple[Weights, list[Tensor]]:
    """The same function with the neurons of each group in another order, and the orders: j was order[j]."""
    random = torch.Generator().manual_seed(seed)
    groups = alignment_groups(network)
    orders = [torch.randperm(group.size, generator=random) for group in groups.groups]
    return move(weights, groups, groups, [permutation_map(order) for order in orders], like=weights), orders


def pair_of(name: str) -> Pair:
    """Two unrelated parents."""
    network = network_of(name)
    return Pair(network, network, weights_of(name, 1), weights_of(name, 2))


def drawn(network: nn.Module, seed: int) -> Weights:
    """Standard normal weights in float64."""
    random = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(tensor.shape, dtype=torch.float64, generator=random)
        for name, tensor in network.state_dict().items()
    }


def rows(seed: int, n: int, d: int = 7) -> Tensor:
    """(n, d) standard normal numbers in float64."""
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
