"""VGG11 in the layout for CIFAR (Simonyan & Zisserman 2015, arXiv 1409.1556)."""

import torch
from torch import Tensor, nn

from fusionscope.networks.width import scaled

VGG11_STAGES = (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool", 512, 512, "pool")


class VGG11(nn.Module):
    """Eight convolutions and one linear layer; `width` scales the number of channels."""

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
        layers: list[nn.Module] = []
        channels = input_shape[0]
        for stage in VGG11_STAGES:
            if isinstance(stage, str):
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

    def forward(self, x: Tensor) -> Tensor:  # (n, channels, 32, 32) -> (n, classes) logits
        return self.classifier(torch.flatten(self.features(x), 1))
