"""The multilayer perceptron."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn


class MLP(nn.Module):
    """`depth` hidden layers of `width` units each with ReLU, on the flattened image, and one linear layer."""

    def __init__(self, num_classes: int, *, input_shape: tuple[int, int, int], depth: int, width: int):
        super().__init__()
        sizes = [math.prod(input_shape), *[width] * depth]
        layers = [layer for size, units in pairwise(sizes) for layer in (nn.Linear(size, units), nn.ReLU())]
        self.hidden = nn.Sequential(*layers)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:  # (n, channels, height, width) -> (n, classes) logits
        return self.classifier(self.hidden(torch.flatten(x, 1)))
