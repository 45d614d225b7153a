"""ResNet18 in the layout for CIFAR (He et al. 2016, arXiv 1512.03385)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fusionscope.networks.width import scaled

RESNET18_STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))  # channels, stride of the first block
BLOCKS_PER_STAGE = 2


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

    def start_as_identity(self) -> None:
        """Zero the branch's last weights, unless a batch norm keeps the branch in bounds (`initialise`)."""
        if isinstance(self.bn2, nn.Identity):
            self.conv2.weight.zero_()

    def forward(self, x: Tensor) -> Tensor:
        branch = F.relu(self.bn1(self.conv1(x)))
        branch = self.bn2(self.conv2(branch))
        return F.relu(branch + self.shortcut(x))


class ResNet18(nn.Module):
    """A convolution, four stages of two blocks, one linear layer; `width` scales the channels.

    As in the published layout, convolutions carry no bias: `bias` is about the linear layer.
    """

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(
        self,
        num_classes: int,
        *,
        input_shape: tuple[int, int, int],
        width: float,
        bias: bool,
        batch_norm: bool,
    ):
        super().__init__()
        channels = scaled(RESNET18_STAGES[0][0], width)
        self.conv1 = nn.Conv2d(input_shape[0], channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels) if batch_norm else nn.Identity()
        for number, (stage, stride) in enumerate(RESNET18_STAGES, start=1):
            blocks = []
            for block in range(BLOCKS_PER_STAGE):
                wider, step = scaled(stage, width), stride if block == 0 else 1
                blocks.append(BasicBlock(channels, wider, step, batch_norm=batch_norm))
                channels = wider
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
        self.linear = nn.Linear(channels, num_classes, bias=bias)

    def forward(self, x: Tensor) -> Tensor:  # (n, channels, 32, 32) -> (n, classes) logits
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.linear(torch.flatten(F.avg_pool2d(x, 4), 1))
