"""Labels of layers and norms that are called as functions, and of what looks at a tensor's form alone."""

import pytest
import torch
from label_cases import Cases, Net
from torch import nn
from torch.nn import functional as F

CASES = Cases()


@CASES.case(one=8, two=8, kernel=8)
class Convolution(Net):
    def more(self):
        self.kernel = nn.Parameter(torch.randn(8, 8, 3, 3))
        self.bias = nn.Parameter(torch.randn(8))

    def middle(self, x):
        return F.conv2d(F.relu(x), self.kernel, self.bias, padding=1)


@CASES.case(one=8, two=8, between=8)
class ConvolutionOfAModule(Net):
    """As modules do that pad by themselves."""

    def more(self):
        self.between = nn.Conv2d(8, 8, 3)

    def middle(self, x):
        return F.conv2d(F.pad(x, (1, 1, 1, 1)), self.between.weight, bias=self.between.bias)


@CASES.case(one=8, two=8, kernel=8)
class Depthwise(Net):
    def more(self):
        self.kernel = nn.Parameter(torch.randn(8, 1, 3, 3))

    def middle(self, x):
        return F.conv2d(x, self.kernel, None, 1, 1, 1, 8)


@CASES.case(one=8, two=8, kernel=8)
class TwoGroups(Net):
    def more(self):
        self.kernel = nn.Parameter(torch.randn(8, 4, 3, 3))

    def middle(self, x):
        return F.conv2d(x, self.kernel, groups=2)


@CASES.case(one=8, two=8, matrix=6)
class LinearFunction(Net):
    wide = 6

    def more(self):
        self.matrix = nn.Parameter(torch.randn(6, 8))
        self.offset = nn.Parameter(torch.randn(6))

    def middle(self, x):
        return F.linear(x.movedim(1, -1), self.matrix, self.offset).movedim(-1, 1)


@CASES.case(two=8)
class ScaledKernel(Net):
    """A weight that is computed is not followed."""

    def more(self):
        self.kernel = nn.Parameter(torch.randn(8, 8, 3, 3))

    def middle(self, x):
        return F.conv2d(x, self.kernel * 2)


@CASES.case(two=8)
class KernelUsedOtherwise(Net):
    """As it is the kernel could move; with its first row added it cannot."""

    def more(self):
        self.kernel = nn.Parameter(torch.randn(8, 8, 1, 1))

    def middle(self, x):
        return F.conv2d(x, self.kernel) + self.kernel[:1].mean(1)


@CASES.case(two=8)
class KernelReadAsNumbers(Net):
    def more(self):
        self.kernel = nn.Parameter(torch.randn(8, 8, 1, 1))

    def middle(self, x):
        return F.conv2d(x, self.kernel) * torch.linspace(1, 2, 8).view(8, 1, 1) + self.kernel[0, 0].item()


@CASES.case(two=8)
class KernelAsImage(Net):
    """What a convolution reads is not its weight."""

    def more(self):
        self.kernel = nn.Parameter(torch.randn(8, 8, 1, 1))

    def middle(self, x):
        return F.conv2d(x, self.kernel) + F.conv2d(self.kernel, self.kernel)[:1]


@CASES.case(one=8, two=8)
class BatchNorm(Net):
    def more(self):
        self.norm = nn.BatchNorm2d(8)

    def middle(self, x):
        norm = self.norm
        return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)


@CASES.case(one=8, two=8)
class BatchNormOfTheBatch(Net):
    def middle(self, x):
        return F.batch_norm(x, None, None, training=True)


@CASES.case(one=8, two=8)
class InstanceNorm(Net):
    def more(self):
        self.scale = nn.Parameter(torch.rand(8))

    def middle(self, x):
        return F.instance_norm(x, weight=self.scale)


@CASES.case(one=8, two=8)
class GroupNormOfTwoSets(Net):
    def more(self):
        self.norm = nn.GroupNorm(2, 8)

    def middle(self, x):
        return F.group_norm(x, self.norm.num_groups, self.norm.weight, self.norm.bias, self.norm.eps)


@CASES.case(one=8, two=8)
class LayerNorm(Net):
    def more(self):
        self.norm = nn.LayerNorm(8)

    def middle(self, x):
        x = F.layer_norm(x.movedim(1, -1), self.norm.normalized_shape, self.norm.weight, self.norm.bias)
        return x.movedim(-1, 1)


@CASES.case(one=8, two=8)
class RMSNormWithAnOffset(Net):
    """Its scale is computed from a parameter, number by number."""

    def more(self):
        self.scale = nn.Parameter(torch.rand(8))

    def middle(self, x):
        return F.rms_norm(x.movedim(1, -1), (8,), self.scale + 1).movedim(-1, 1)


@CASES.case(one=8, two=8)
class NormScaledByImages(Net):
    """Its scale moves with the channels that it is made of."""

    def middle(self, x):
        return F.layer_norm(x.movedim(1, -1), (8,), x.mean((0, 2, 3))).movedim(-1, 1)


@CASES.case(one=8, two=8)
class TypeOfAWeight(Net):
    def middle(self, x):
        return x.to(self.one.weight.dtype).type_as(self.two.weight).to(self.one.weight)


@CASES.case(one=8, two=8)
class ShapeOfAWeight(Net):
    def middle(self, x):
        return x.view(-1, self.two.weight.shape[1], x.shape[2], x.size(3)) / self.one.weight.dim()


@CASES.case()
class TypeThatIsNot(Net):
    """A weight in the type of an activation is a weight all the same."""

    def middle(self, x):
        return x + self.two.weight.type_as(x).mean()


@pytest.mark.parametrize("name", CASES)
def test_what_moves_changes_no_function_and_as_much_moves_as_worked_out_by_hand(name):
    CASES.check(name)
