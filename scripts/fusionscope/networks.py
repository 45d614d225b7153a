"""The study's networks, VGG11 and ResNet18 for 32x32 images, in the widespread CIFAR layout.

Sources: Simonyan & Zisserman 2015 (arXiv 1409.1556), He et al. 2016 (arXiv 1512.03385). Parameter
names follow the layout in which CIFAR weights of these networks are commonly published, so that
such files load as they are.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

INPUT_SHAPE = (3, 32, 32)

VGG11_STAGES = (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool", 512, 512, "pool")
RESNET18_STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))  # channels, stride of the first block
BLOCKS_PER_STAGE = 2


class VGG11(nn.Module):
    """Eight convolutions and one linear layer; `width` scales the number of channels."""

    def __init__(self, num_classes: int, width: float = 1.0, *, bias: bool, batch_norm: bool):
        super().__init__()
        layers: list[nn.Module] = []
        channels = INPUT_SHAPE[0]
        for stage in VGG11_STAGES:
            if stage == "pool":
                layers.append(nn.MaxPool2d(2))
                continue
            wider = scaled(stage, width)
            layers.append(nn.Conv2d(channels, wider, 3, padding=1, bias=bias))
            if batch_norm:
                layers.append(nn.BatchNorm2d(wider))
            layers.append(nn.ReLU())
            channels = wider
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, num_classes, bias=bias)

    def forward(self, x: Tensor) -> Tensor:  # (n, 3, 32, 32) -> (n, classes) logits
        return self.classifier(torch.flatten(self.features(x), 1))


class BasicBlock(nn.Module):
    """Two convolutions beside a shortcut: the identity, or a 1x1 projection where shapes change."""

    def __init__(self, channels_in: int, channels: int, stride: int, *, batch_norm: bool):
        super().__init__()
        norm = nn.BatchNorm2d if batch_norm else nn.Identity
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = norm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = norm(channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels_in != channels:
            projection = nn.Conv2d(channels_in, channels, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, norm(channels))

    def forward(self, x: Tensor) -> Tensor:
        branch = F.relu(self.bn1(self.conv1(x)))
        branch = self.bn2(self.conv2(branch))
        return F.relu(branch + self.shortcut(x))


class ResNet18(nn.Module):
    """A convolution, four stages of two blocks, one linear layer; `width` scales the channels.

    As in the published layout, convolutions carry no bias: `bias` is about the linear layer.
    """

    def __init__(self, num_classes: int, width: float = 1.0, *, bias: bool, batch_norm: bool):
        super().__init__()
        channels = scaled(RESNET18_STAGES[0][0], width)
        self.conv1 = nn.Conv2d(INPUT_SHAPE[0], channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels) if batch_norm else nn.Identity()
        for number, (stage, stride) in enumerate(RESNET18_STAGES, start=1):
            blocks = []
            for block in range(BLOCKS_PER_STAGE):
                wider, step = scaled(stage, width), stride if block == 0 else 1
                blocks.append(BasicBlock(channels, wider, step, batch_norm=batch_norm))
                channels = wider
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
        self.linear = nn.Linear(channels, num_classes, bias=bias)

    def forward(self, x: Tensor) -> Tensor:  # (n, 3, 32, 32) -> (n, classes) logits
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.linear(torch.flatten(F.avg_pool2d(x, 4), 1))


def scaled(channels: int, width: float) -> int:
    """`channels` at relative `width`, at least one."""
    return max(1, round(channels * width))


MODEL_TYPES: dict[str, Callable[..., nn.Module]] = {
    name + suffix: partial(network, bias=bias, batch_norm=batch_norm)
    for name, network in (("VGG11", VGG11), ("RESNET18", ResNet18))
    for suffix, bias, batch_norm in (
        ("", True, True),
        ("_NOBIAS", False, True),
        ("_NOBN", True, False),
        ("_NOBIAS_NOBN", False, False),
    )
}


def build(model_type: str, num_classes: int, width: float = 1.0) -> nn.Module:
    """The network of `model_type`, in eval mode; weights are PyTorch's default, not yet ours."""
    return MODEL_TYPES[model_type](num_classes, width).eval()


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
        if isinstance(module, BasicBlock) and isinstance(module.bn2, nn.Identity):
            module.conv2.weight.zero_()
