"""Labels of parameters, buffers and constants that a network uses outside of layers."""

import pytest
import torch
from label_cases import Cases, Net
from torch import nn

CASES = Cases()


@CASES.case(one=8, two=8)
class OwnScale(Net):
    def more(self):
        self.scale = nn.Parameter(torch.ones(8, 1, 1))

    def middle(self, x):
        return x * self.scale


@CASES.case(one=8, two=8)
class OwnScaleInABuffer(Net):
    def more(self):
        self.register_buffer("scale", torch.ones(1, 8, 1, 1))

    def middle(self, x):
        return x * self.scale


@CASES.case(one=8, two=8)
class OneNumberForAll(Net):
    def more(self):
        self.scale = nn.Parameter(torch.tensor(0.7))

    def middle(self, x):
        return x * self.scale + 2


@CASES.case(two=8)
class BufferThatIsNotSaved(Net):
    """What is not in the state dict cannot be moved."""

    def more(self):
        self.register_buffer("scale", torch.arange(1.0, 9).view(8, 1, 1), persistent=False)

    def middle(self, x):
        return x * self.scale


@CASES.case(two=8)
class PlainTensor(Net):
    def more(self):
        self.scale = torch.arange(1.0, 9, dtype=torch.float64).view(8, 1, 1)

    def middle(self, x):
        return x * self.scale


@CASES.case(two=8)
class ConstantInTheForwardPass(Net):
    def middle(self, x):
        return x + torch.arange(8.0, dtype=torch.float64).view(8, 1, 1)


@CASES.case(one=8, two=8)
class MaskOfPixels(Net):
    """A constant that is the same for all channels."""

    def more(self):
        self.register_buffer("mask", torch.linspace(0, 1, 64).view(1, 1, 8, 8))

    def middle(self, x):
        return x * self.mask


@CASES.case(two=8)
class HalfOfThemScaled(Net):
    """A constant that tells two halves apart."""

    def middle(self, x):
        return x * torch.tensor([1.0, 1, 1, 1, 2, 2, 2, 2], dtype=torch.float64).view(8, 1, 1)


@CASES.case(two=8)
class PositionalEmbedding(Net):
    """A number for each pixel of each channel: not followed."""

    def more(self):
        self.position = nn.Parameter(torch.zeros(1, 8, 8, 8))

    def middle(self, x):
        return x + self.position


@CASES.case(one=8, two=8)
class ClassToken(Net):
    def more(self):
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.norm = nn.LayerNorm(8)

    def end(self, x):
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x.flatten(2).transpose(1, 2)], 1)
        return self.head(self.norm(x).mean(1))


@pytest.mark.parametrize("name", CASES)
def test_what_moves_changes_no_function_and_as_much_moves_as_worked_out_by_hand(name):
    CASES.check(name)


@pytest.mark.parametrize(
    ("name", "layer", "reason"),
    [
        ("ConstantInTheForwardPass", "one", "used with the tensor _tensor_constant0"),
        ("PositionalEmbedding", "one", "used with the tensor position"),
    ],
)
def test_what_stays_says_why(name, layer, reason):
    CASES.check_reason(name, layer, reason)
