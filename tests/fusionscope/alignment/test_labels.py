"""Following neurons through networks that users might write: what moves is right, what cannot be told stays.

Each network comes with the channels that should move, worked out by hand. Whatever moves is permuted at
random, and the function must stay: that is the proof. That enough moves is what the numbers say.
"""

import random

import pytest
import torch
from alignment_cases import ROUNDING, change_when_permuted, moving, prepared, reasons
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from fusionscope.alignment.groups import alignment_groups
from fusionscope.errors import InputError

CASES: dict[str, tuple[type[nn.Module], dict[str, int]]] = {}


def case(**expected: int):
    """A network of the table, with the channels of each layer that move (dots written as __)."""

    def enter(network: type[nn.Module]) -> type[nn.Module]:
        CASES[network.__name__] = (network, {name.replace("__", "."): n for name, n in expected.items()})
        return network

    return enter


class Net(nn.Module):
    """A convolution, something in between, a convolution and a linear layer over the channels."""

    wide = 8  # channels that come out of the middle

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(3, 8, 3, padding=1)
        self.two = nn.Conv2d(self.wide, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)
        self.more()

    def more(self):
        pass

    def middle(self, x):
        return F.relu(x)

    def end(self, x):
        return self.head(F.relu(x).mean((2, 3)))

    def forward(self, x):
        return self.end(self.two(self.middle(self.one(x))))


# what moves elements


@case(one=8, two=8)
class Plain(Net):
    pass


@case(one=8, two=8)
class SwappedHalves(Net):
    """Four neurons each come first and second; they are used alike within a half."""

    def middle(self, x):
        return torch.cat([x[:, 4:], x[:, :4]], 1)


@case(one=8, two=8)
class JoinedWithItself(Net):
    wide = 16

    def middle(self, x):
        return torch.cat([x, x], 1)


@case(one=8, two=8)
class JoinedWithItsMirrorImage(Net):
    wide = 16

    def middle(self, x):
        return torch.cat([x, x.flip(3)], 1)


@case(one=8, two=8)
class HalfOfItMirrored(Net):
    """Neurons of one half change places with each other, not with the other half."""

    def middle(self, x):
        return torch.cat([x[:, :4].flip(3), x[:, 4:]], 1)


@case(one=8, two=8)
class EveryOtherChannel(Net):
    """Channels that are read change places with each other, and so do those that nobody reads."""

    wide = 4

    def middle(self, x):
        return x[:, ::2]


@case(one=8, two=8)
class Shuffled(Net):
    def middle(self, x):
        return F.channel_shuffle(x, 2)


@case(one=8, two=8)
class ShuffledByHand(Net):
    def middle(self, x):
        n, c, h, w = x.size()
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


@case(one=8, two=8)
class Unflattened(Net):
    def middle(self, x):
        return x.unflatten(1, (2, 4)).flatten(1, 2)


@case(one=8, two=8)
class PixelsToChannels(Net):
    wide = 32

    def middle(self, x):
        return F.pixel_unshuffle(x, 2)


@case(two=8)
class ChannelsToPixels(Net):
    """Four channels make one: which is which pixel, no permutation may change."""

    wide = 2

    def middle(self, x):
        return F.pixel_shuffle(x, 2)


@case(one=8, two=8)
class Stacked(Net):
    wide = 16

    def middle(self, x):
        return torch.stack([x, x.relu()], 2).flatten(1, 2)


@case(one=8, two=8)
class Unbound(Net):
    wide = 16

    def middle(self, x):
        left, right = x.unflatten(3, (4, 2)).unbind(4)
        return torch.cat([left, right], 1)


@case(one=8, two=8)
class FlattenedPixels(Net):
    """Sixteen columns of the last layer belong to each channel."""

    def more(self):
        self.head = nn.Linear(128, 5)

    def end(self, x):
        return self.head(F.max_pool2d(x, 2).flatten(1))


@case(one=8, two=8)
class RepeatedChannels(Net):
    """Each channel twice, then told apart by a joined half that is not."""

    wide = 12

    def middle(self, x):
        return torch.cat([x, x.roll(1, 2)[:, :4]], 1)


@case()
class RepeatedAlike(Net):
    """Copies side by side: the labels cannot tell which copy is which."""

    wide = 16

    def middle(self, x):
        return x.repeat(1, 2, 1, 1)

    def forward(self, x):
        return self.head(self.two(self.middle(self.one(x))).mean((2, 3)).softmax(1))


@case(two=8)
class MergedWithTheBatch(Net):
    """Right for one image, and wrong for several: channels of one image come to another."""

    def middle(self, x):
        n, c, h, w = x.shape
        return x.transpose(0, 1).reshape(n, c, h, w)


@case(one=8, two=8)
class HalvesAsImagesOfTheirOwn(Net):
    """Rows of pixels go to the batch and come back."""

    def middle(self, x):
        n, c, h, w = x.shape
        return F.relu(x.view(n, c, 2, h // 2, w).transpose(1, 2).reshape(n * 2, c, h // 2, w))

    def end(self, x):
        return self.head(x.mean((2, 3))).unflatten(0, (-1, 2)).sum(1)


# what combines elements


@case(one=8, two=8, between=8)
class Residual(Net):
    def more(self):
        self.between = nn.Conv2d(8, 8, 1)

    def middle(self, x):
        return x + self.between(F.relu(x))


@case(one=8, two=8, between=8, short=8)
class JoinedAtDifferentDepthWithSkip(Net):
    wide = 16

    def more(self):
        self.between, self.short = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1)

    def middle(self, x):
        y = F.relu(self.between(F.relu(x)))
        return torch.cat([x + y, self.short(y)], 1)


@case(two=8)
class AddedToItsMirrorImageInChannels(Net):
    def middle(self, x):
        return x + x.flip(1)


@case(one=8, two=8)
class AddedToItsMirrorImageInPixels(Net):
    def middle(self, x):
        return x + x.flip(3)


@case(two=8)
class GatedLinearUnit(Net):
    """A channel moves with its gate, and both are rows of one layer: not told apart."""

    wide = 4

    def middle(self, x):
        a, b = x.chunk(2, 1)
        return a * torch.sigmoid(b)


@case(one=8, two=8, gate=8)
class GatedByAnotherLayer(Net):
    def more(self):
        self.gate = nn.Conv2d(3, 8, 1)

    def forward(self, x):
        return self.end(self.two(self.one(x) * torch.sigmoid(self.gate(x))))


@case(one=8, two=8, down=4, up=8)
class SqueezeAndExcitation(Net):
    def more(self):
        self.down, self.up = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)

    def middle(self, x):
        return x * torch.sigmoid(self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1)))))


@case(one=8, two=8, down=4, up=8)
class SqueezeAndExcitationByLinearLayers(Net):
    def more(self):
        self.down, self.up = nn.Linear(8, 4), nn.Linear(4, 8)

    def middle(self, x):
        n, c, _, _ = x.size()
        y = torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3)).view(n, c)))))
        return x * y.view(n, c, 1, 1).expand_as(x)


@case(one=8, two=8)
class SpatialGate(Net):
    """One channel that multiplies all others; it stays."""

    def more(self):
        self.gate = nn.Conv2d(8, 1, 3, padding=1)

    def middle(self, x):
        return x * torch.sigmoid(self.gate(x))


@case(one=7, two=8)
class FirstChannelGates(Net):
    def middle(self, x):
        return x * x[:, :1]


@case(two=8)
class MeanOverChannels(Net):
    wide = 1

    def middle(self, x):
        return x.mean(1, keepdim=True)


@case(two=8)
class LargestOfChannels(Net):
    wide = 1

    def middle(self, x):
        return x.max(1, keepdim=True).values


@case(two=8)
class SoftmaxOverChannels(Net):
    def middle(self, x):
        return x.softmax(1)


@case(two=8)
class NeighbouringChannels(Net):
    def middle(self, x):
        return F.local_response_norm(x, 3)


@case(one=8, two=8)
class MeanOverColumns(Net):
    def middle(self, x):
        return x - x.mean(3, keepdim=True)


@case(one=8, two=8)
class LargestPixels(Net):
    def end(self, x):
        return self.head(torch.amax(x, dim=(-1, -2)))


@case(two=8)
class MeanOfEverything(Net):
    def middle(self, x):
        return x / x.mean()


@case(one=8, two=8, between=8)
class OneChannelInBetween(Net):
    """A layer of a single channel has nothing that could change places."""

    wide = 1

    def more(self):
        self.between = nn.Conv2d(8, 8, 1)
        self.narrow = nn.Conv2d(8, 1, 1)

    def middle(self, x):
        return self.narrow(self.between(x)) + self.narrow(self.between(F.relu(x)))


@case(two=8)
class PoolOverAnImageWithoutBatch(Net):
    """(c, h, w) with the channels in the middle: PyTorch pools over them."""

    def middle(self, x):
        rows = x.shape[2]
        x = x.permute(0, 2, 1, 3).flatten(0, 1)  # to the pool, images of c times w pixels
        x = F.max_pool2d(x, 3, 1, 1)
        return x.unflatten(0, (-1, rows)).permute(0, 2, 1, 3)


@case(one=8, two=8)
class PaddedPixels(Net):
    def more(self):
        self.pad, self.norm = nn.ZeroPad2d(1), nn.BatchNorm2d(8)

    def middle(self, x):
        return F.relu(self.norm(F.pad(self.pad(x), (0, 1, 0, 1))))


@case(one=8, two=8, wider=16)
class PaddedChannels(Net):
    """The shortcut of published CIFAR ResNets: new channels are zeros."""

    wide = 16

    def more(self):
        self.wider = nn.Conv2d(8, 16, 3, 2, padding=1)

    def middle(self, x):
        return F.relu(self.wider(x) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4), "constant", 0))


@case(one=8, two=8)
class PaddedOnEitherSide(Net):
    """Zeros are told apart from neurons, so that the two places of a neuron are."""

    wide = 16

    def middle(self, x):
        x = F.adaptive_avg_pool2d(x, 1)
        return F.pad(x, (0, 0, 0, 0, 8, 0)) + F.pad(x, (0, 0, 0, 0, 0, 8))


@case(one=8, two=8, other=8)
class PaddedChannelsNormalised(Net):
    """A batch norm makes padded zeros differ from channel to channel."""

    wide = 12

    def more(self):
        self.norm, self.other = nn.BatchNorm2d(12), nn.Conv2d(3, 12, 3, padding=1)

    def forward(self, x):
        padded = F.pad(self.one(x), (0, 0, 0, 0, 0, 4))
        return self.end(self.two(F.relu(self.norm(padded) + self.other(x))))


# layers


@case(one=8, two=8)
class ManyModules(Net):
    def more(self):
        self.layers = nn.Sequential(
            nn.BatchNorm2d(8), nn.LeakyReLU(0.1), nn.Dropout2d(0.5), nn.MaxPool2d(3, 1, 1), nn.Hardswish(),
            nn.AvgPool2d(2), nn.InstanceNorm2d(8, affine=True, track_running_stats=True), nn.ELU(),
            nn.AdaptiveAvgPool2d(3), nn.Softplus(), nn.Identity(), nn.Tanh(), nn.PReLU(8), nn.PReLU(),
        )  # fmt: skip

    def middle(self, x):
        return self.layers(x)


@case(one=8, two=8, deep__0=8, deep__2=16)
class Depthwise(Net):
    """With a multiplier of two: both places of a channel move with it."""

    wide = 16

    def more(self):
        self.deep = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1, groups=8)
        )

    def middle(self, x):
        return self.deep(x)


@case(one=8, two=8, grouped__0=8, grouped__1=12)
class GroupedTwice(Net):
    """Two groups, then four: channels stay within their group."""

    wide = 12

    def more(self):
        self.grouped = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.Conv2d(8, 12, 3, padding=1, groups=4)
        )

    def middle(self, x):
        return self.grouped(x)


@case(one=8, two=8, grouped=8)
class GroupedAndShuffled(Net):
    def more(self):
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2)

    def middle(self, x):
        return self.grouped(F.channel_shuffle(self.grouped(x), 4))


@case(one=8, two=8)
class GroupNormalised(Net):
    def more(self):
        self.norm = nn.GroupNorm(2, 8)

    def middle(self, x):
        return self.norm(x)


@case(one=8, two=8)
class LayerNormalised(Net):
    def more(self):
        self.norm, self.root = nn.LayerNorm(8), nn.RMSNorm(8)

    def middle(self, x):
        return self.root(self.norm(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)


@case(one=8, two=8)
class LayerNormFunction(Net):
    def more(self):
        self.weight, self.bias = nn.Parameter(torch.ones(8)), nn.Parameter(torch.zeros(8))

    def middle(self, x):
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, normalized_shape=x.shape[-1:], weight=self.weight, bias=self.bias)
        return x.permute(0, 3, 1, 2)


@case(two=8)
class LayerNormOverPixelsAndChannels(Net):
    """Its weight has a number for every pixel of every channel: not followed."""

    def more(self):
        self.norm = nn.LayerNorm([8, 8, 8])

    def middle(self, x):
        return self.norm(x)


@case(two=8)
class InstanceNormOverAnImageWithoutBatch(Net):
    """Three dimensions are taken for one image, whose rows are its channels: (c, n, w)."""

    def more(self):
        self.norm = nn.InstanceNorm2d(8)

    def middle(self, x):
        rows = [self.norm(x[:, :, row].transpose(0, 1)).transpose(0, 1) for row in range(8)]
        return torch.stack(rows, 2)


@case(one=8, first=16, second=16, two=8)
class TokensThroughLinearLayers(Net):
    wide = 16

    def more(self):
        self.first, self.norm, self.second = nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 16)

    def middle(self, x):
        n, _, h, w = x.shape
        x = self.first(x.flatten(2).transpose(1, 2))
        x = self.norm(x.flatten(0, 1)).unflatten(0, (n, h * w))
        return self.second(F.gelu(x)).transpose(1, 2).reshape(n, 16, h, w)


@case(two=8)
class LinearOverColumns(Net):
    """A layer that reads pixels of each channel alike."""

    def more(self):
        self.columns = nn.Linear(8, 8)

    def middle(self, x):
        return self.columns(x)


@case(two=8)
class Attention(Net):
    """A block of attention with a skip: frozen, all else moves."""

    def more(self):
        self.queries = nn.MultiheadAttention(8, 2, batch_first=True)

    def middle(self, x):
        n, c, h, w = x.shape
        x = x.flatten(2).transpose(1, 2)
        x = x + self.queries(x, x, x, need_weights=False)[0]
        return x.transpose(1, 2).reshape(n, c, h, w)


@case(two=8)
class Recurrent(Net):
    """Outputs in tuples of tuples, some of which are unused."""

    def more(self):
        self.cell = nn.LSTM(8, 8, batch_first=True)

    def middle(self, x):
        x, (last, _) = self.cell(x.flatten(2).transpose(1, 2))
        return x.transpose(1, 2).unflatten(2, (8, 8)) + last[0][:, :, None, None]


@case(two=8)
class Transposed(Net):
    """Transposed convolutions are not followed."""

    def more(self):
        self.up = nn.ConvTranspose2d(8, 8, 2, 2)

    def middle(self, x):
        return self.up(x)


# parameters, buffers, constants


@case(one=8, two=8)
class OwnScale(Net):
    def more(self):
        self.scale = nn.Parameter(torch.ones(8, 1, 1))

    def middle(self, x):
        return x * self.scale


@case(one=8, two=8)
class OwnScaleInABuffer(Net):
    def more(self):
        self.register_buffer("scale", torch.ones(1, 8, 1, 1))

    def middle(self, x):
        return x * self.scale


@case(one=8, two=8)
class OneNumberForAll(Net):
    def more(self):
        self.scale = nn.Parameter(torch.tensor(0.7))

    def middle(self, x):
        return x * self.scale + 2


@case(two=8)
class BufferThatIsNotSaved(Net):
    """What is not in the state dict cannot be moved."""

    def more(self):
        self.register_buffer("scale", torch.arange(1.0, 9).view(8, 1, 1), persistent=False)

    def middle(self, x):
        return x * self.scale


@case(two=8)
class PlainTensor(Net):
    def more(self):
        self.scale = torch.arange(1.0, 9, dtype=torch.float64).view(8, 1, 1)

    def middle(self, x):
        return x * self.scale


@case(two=8)
class ConstantInTheForwardPass(Net):
    def middle(self, x):
        return x + torch.arange(8.0, dtype=torch.float64).view(8, 1, 1)


@case(one=8, two=8)
class MaskOfPixels(Net):
    """A constant that is the same for all channels."""

    def more(self):
        self.register_buffer("mask", torch.linspace(0, 1, 64).view(1, 1, 8, 8))

    def middle(self, x):
        return x * self.mask


@case(two=8)
class HalfOfThemScaled(Net):
    """A constant that tells two halves apart."""

    def middle(self, x):
        return x * torch.tensor([1.0, 1, 1, 1, 2, 2, 2, 2], dtype=torch.float64).view(8, 1, 1)


@case(two=8)
class PositionalEmbedding(Net):
    """A number for each pixel of each channel: not followed."""

    def more(self):
        self.position = nn.Parameter(torch.zeros(1, 8, 8, 8))

    def middle(self, x):
        return x + self.position


@case(one=8, two=8)
class ClassToken(Net):
    def more(self):
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.norm = nn.LayerNorm(8)

    def end(self, x):
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x.flatten(2).transpose(1, 2)], 1)
        return self.head(self.norm(x).mean(1))


@case(two=8)
class ConvolutionByFunction(Net):
    """Parameters used by functions are not followed, and stay."""

    def more(self):
        self.kernel = nn.Parameter(torch.randn(8, 8, 3, 3))

    def middle(self, x):
        return F.conv2d(x, self.kernel, padding=1)


@case(two=8)
class NormByFunction(Net):
    def more(self):
        self.norm = nn.BatchNorm2d(8)

    def middle(self, x):
        return F.batch_norm(x, self.norm.running_mean, self.norm.running_var, self.norm.weight)


# one thing at several places


@case(one=8, two=8)
class LayerTwiceInARow(Net):
    """Its outputs move as its inputs do."""

    def middle(self, x):
        return F.relu(self.two(F.relu(x)))


@case(one=8, two=8, other=8)
class LayerAtTwoPlaces(Net):
    def more(self):
        self.other = nn.Conv2d(3, 8, 5, padding=2)

    def forward(self, x):
        return self.end(self.two(self.one(x)) * self.two(F.relu(self.other(x))))


@case(one=8, two=8, alias=8)
class LayerUnderTwoNames(Net):
    """The state dict has it twice."""

    def more(self):
        self.alias = self.two

    def middle(self, x):
        return self.alias(x)


@case(one=8, two=8, other=8)
class TiedWeights(Net):
    """Two layers with one weight, and biases of their own."""

    def more(self):
        self.other = nn.Conv2d(8, 8, 3, padding=1)
        self.other.weight = self.two.weight

    def middle(self, x):
        return F.relu(self.other(x))


@case(one=8, two=8, other=8)
class TiedWeightsByData(Net):
    def more(self):
        self.other = nn.Conv2d(8, 8, 3, padding=1)
        self.other.weight = nn.Parameter(self.two.weight.data)

    def middle(self, x):
        return F.relu(self.other(x))


@case(one=8, two=8)
class WeightAlsoUsedByFunction(Net):
    """A tied autoencoder: the way back is not followed, so the way there cannot move."""

    def more(self):
        self.first, self.narrow = nn.Linear(8, 6), nn.Linear(6, 4)

    def end(self, x):
        code = self.narrow(F.relu(self.first(x.mean((2, 3)))))
        back = F.linear(code, self.narrow.weight.t())
        return torch.cat([code, back], 1)


@case()
class WeightSharedWithAnUnknownLayer(Net):
    def more(self):
        self.up = nn.ConvTranspose2d(8, 8, 3, padding=1)
        self.up.weight = self.two.weight

    def end(self, x):
        return self.up(F.relu(x)).mean((2, 3))


@case(two=8)
class WeightSeenInTwoShapes(Net):
    def more(self):
        self.first, self.second = nn.Conv2d(8, 8, 1), nn.Linear(8, 8)
        self.second.weight = nn.Parameter(self.first.weight.data.view(8, 8).t())

    def middle(self, x):
        return self.second(self.first(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@case(two=8)
class OverlappingWeights(Net):
    """One tensor is a part of the other."""

    def more(self):
        self.scale = nn.Parameter(self.one.bias.data[2:6])

    def end(self, x):
        return self.head(x.mean((2, 3))) + (self.scale * self.scale).sum()


@case(two=8)
class ConstantThatIsPartOfAWeight(Net):
    """It is in no state dict, yet changes with the bias."""

    wide = 4

    def more(self):
        self.part = self.one.bias.detach()[2:6].view(4, 1, 1)

    def middle(self, x):
        return x[:, 4:] * self.part


@case(two=8)
class StatisticsUsedElsewhere(Net):
    """A batch norm's buffers are used by hand for another layer, in a way that is not followed."""

    def more(self):
        self.other, self.norm = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)

    def forward(self, x):
        y = self.norm(self.one(x)) + (self.other(x) * self.norm.running_var.cumsum(0).view(8, 1, 1))
        return self.end(self.two(y))


@case(one=8, two=8)
class NormByHand(Net):
    def more(self):
        self.norm = nn.BatchNorm2d(8, affine=False)

    def middle(self, x):
        mean, deviation = self.norm.running_mean, torch.sqrt(self.norm.running_var + 1e-3)
        return (x - mean[None, :, None, None]) / deviation.view(1, -1, 1, 1)


@case(one=8, two=8, other=8)
class OneNormForTwoLayers(Net):
    """Their channels move together then."""

    wide = 16

    def more(self):
        self.other, self.norm = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)

    def forward(self, x):
        return self.end(self.two(torch.cat([self.norm(self.one(x)), self.norm(self.other(x))], 1)))


# layers that are not what they seem


@case(two=8)
class NormalisedWeights(Net):
    """The weight is computed; the state dict has other things."""

    def more(self):
        self.one = parametrizations.weight_norm(self.one)


@case(two=8)
class SpectralNormOfOldKind(Net):
    def more(self):
        self.one = nn.utils.spectral_norm(self.one)


@case(two=8)
class Hooked(Net):
    def more(self):
        self.one.register_forward_hook(lambda module, inputs, output: output.cumsum(1))


@case(two=8)
class ForwardReplaced(Net):
    def more(self):
        usual = self.one.forward
        self.one.forward = lambda x: usual(x).cumsum(1)


class StandardisedConvolution(nn.Conv2d):
    """A user's layer is looked into."""

    def forward(self, x):
        weight = self.weight - self.weight.mean(0, keepdim=True)
        return self._conv_forward(x, weight, self.bias)


@case(two=8)
class UsersConvolution(Net):
    def more(self):
        self.one = StandardisedConvolution(3, 8, 3, padding=1)


# work in place


@case(one=8, two=8)
class ReluInPlace(Net):
    """What came before it has changed when it is added."""

    def more(self):
        self.relu = nn.ReLU(inplace=True)

    def middle(self, x):
        y = self.relu(x)
        return x + y


@case(two=8)
class HalfChangedInPlace(Net):
    """The whole has changed in one half only."""

    def middle(self, x):
        F.relu(x[:, :4], inplace=True)
        return x


@case(one=8, two=8)
class ViewChangedInPlace(Net):
    """Half of the channels are added to themselves, shifted; the other name sees it."""

    def middle(self, x):
        other = x.view(x.shape)
        other.add_(torch.cat([x[:, :4].roll(1, 2), x[:, 4:]], 1))
        return x


@case(one=8, two=8)
class AddedInPlaceAndRead(Net):
    """The first name is read again after the addition."""

    def middle(self, x):
        y = x
        y += torch.cat([x[:, :4].roll(1, 2), x[:, 4:]], 1)
        return x


@case(two=8)
class CopiedOver(Net):
    def more(self):
        self.other = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        y = self.one(x)
        y[:, :4].copy_(self.other(x))
        return self.end(self.two(F.relu(y)))


@case(two=8)
class ItemsSet(Net):
    def middle(self, x):
        x[:, :4] = x[:, 4:].roll(1, 2)
        return x


@case(two=8)
class ItemsAddedTo(Net):
    def middle(self, x):
        x[:, :4] += x[:, 4:].roll(1, 2)
        return x


# numbers that depend on values


@case(two=8)
class SlicedByAValue(Net):
    """Where to cut depends on the image."""

    wide = 4

    def more(self):
        self.other = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, x):
        start = (x.mean() > 0).int().item() * 4
        y = self.other(x) + self.one(x)
        return self.end(self.two(y.narrow(1, start, 4)))


@case(two=8)
class ScaledByAValue(Net):
    def middle(self, x):
        return x * x[0, 0].mean().item()


# the whole


@case(one=8, two=8)
class SeveralOutputs(Net):
    def end(self, x):
        y = self.head(x.mean((2, 3)))
        return {"logits": y, "more": (y.relu(), None)}


@case(one=8)
class HiddenLayerIsAnOutput(Net):
    def end(self, x):
        return self.head(x.mean((2, 3))), x


@case(body__0__one=8, body__0__two=8, body__1__one=8, body__1__two=8)
class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        first, second = Net(), Net()
        first.head, second.one = nn.Linear(8, 3 * 64), nn.Conv2d(3, 8, 1)
        self.body = nn.Sequential(first, second)
        self.body[0].end = lambda x: first.head(x.mean((2, 3))).unflatten(1, (3, 8, 8))

    def forward(self, x):
        return self.body(x)


@pytest.mark.parametrize("name", CASES)
def test_what_moves_changes_no_function_and_as_much_moves_as_worked_out_by_hand(name):
    make, expected = CASES[name]
    network = prepared(make)
    assert change_when_permuted(network) < ROUNDING
    assert moving(network) == {layer: count for layer, count in expected.items() if count}


def test_the_state_dict_has_a_shared_layer_twice_and_both_are_moved():
    group = alignment_groups(prepared(LayerUnderTwoNames)).groups[0]
    assert {member.parameter for member in group.readers} == {"two.weight", "alias.weight", "head.weight"}


REASONS = {
    "GatedLinearUnit": ("one", "two of its places cannot be told apart"),
    "SpatialGate": ("gate", "one channel that acts on all others"),
    "SoftmaxOverChannels": ("one", "read or made by softmax"),
    "Attention": ("one", "read or made by MultiheadAttention 'queries'"),
    "ConstantInTheForwardPass": ("one", "used with the tensor _tensor_constant0"),
    "PositionalEmbedding": ("one", "used with the tensor position"),
    "WeightAlsoUsedByFunction": ("first", "its weights are also used in another way"),
    "HalfChangedInPlace": ("one", "changed in place by relu"),
    "ItemsSet": ("one", "read or made by setitem"),
    "ScaledByAValue": ("one", "read or made by mean"),
    "HiddenLayerIsAnOutput": ("two", "an output of the network"),
    "Hooked": ("one", "a layer that is unused, or used in an unknown way"),
    "OneChannelInBetween": ("narrow", "no other neuron is used alike"),
}


@pytest.mark.parametrize("name", REASONS)
def test_what_stays_says_why(name):
    layer, reason = REASONS[name]
    assert reason in reasons(prepared(CASES[name][0]))[layer]


class AddedToInput(nn.Module):
    """A stream that begins at the network's input cannot move."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)
        self.head = nn.Linear(3, 5)

    def forward(self, x):
        x = x + self.two(F.relu(self.one(x)))
        return self.head(x.mean((2, 3)))


def test_what_is_added_to_the_networks_input_stays():
    network = prepared(AddedToInput)
    assert change_when_permuted(network) < ROUNDING
    assert moving(network) == {"one": 8}
    assert reasons(network)["two"] == {"added to or joined with the network's input"}


class DecidesByValue(Net):
    def middle(self, x):
        return x if x.mean() > 0 else -x


class RandomEveryTime(Net):
    def middle(self, x):
        return F.dropout(x, 0.5, training=True)


class CountsItsCalls(Net):
    """Python's own variables are seen once, when the network is traced."""

    calls = 0

    def middle(self, x):
        self.calls += 1
        return x * self.calls


@pytest.mark.parametrize("make", [DecidesByValue, RandomEveryTime, CountsItsCalls])
def test_a_network_whose_graph_is_not_its_function_can_only_be_averaged(make):
    with pytest.raises(InputError, match="method 'average'"):
        alignment_groups(prepared(make))


class Block(nn.Module):
    """A function of one activation with the layers that it uses."""

    def __init__(self, function, **layers: nn.Module | None):
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x):
        return self.function(self, x)


def blocks(c: int) -> list[tuple[Block, int]]:
    """Things to do with an activation of `c` channels (a multiple of four), and how many come out."""
    conv = nn.Conv2d
    return [
        (Block(lambda s, x: F.relu(s.conv(x)), conv=conv(c, 8, 3, padding=1)), 8),
        (Block(lambda s, x: s.norm(s.conv(x)), conv=conv(c, 12, 1, bias=False), norm=nn.BatchNorm2d(12)), 12),
        (Block(lambda s, x: x + s.b(F.relu(s.a(x))), a=conv(c, 8, 1), b=conv(8, c, 3, padding=1)), c),
        (Block(lambda s, x: torch.cat([x, s.conv(x)], 1), conv=conv(c, 4, 3, padding=1)), c + 4),
        (Block(lambda s, x: torch.cat([s.conv(x), x.relu()], 1), conv=conv(c, 8, 1)), c + 8),
        (Block(lambda s, x: s.conv(x), conv=conv(c, c, 3, padding=1, groups=c)), c),
        (Block(lambda s, x: s.conv(x), conv=conv(c, 2 * c, 3, padding=1, groups=c)), 2 * c),
        (Block(lambda s, x: s.conv(x).sigmoid(), conv=conv(c, 8, 3, padding=1, groups=2)), 8),
        (Block(lambda s, x: s.norm(x), norm=nn.GroupNorm(2, c)), c),
        (Block(lambda s, x: s.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), norm=nn.LayerNorm(c)), c),
        (Block(lambda s, x: s.prelu(s.norm(x)), norm=nn.InstanceNorm2d(c), prelu=nn.PReLU(c)), c),
        (Block(lambda s, x: x * s.b(s.a(x.mean((2, 3))).relu())[..., None, None],
               a=nn.Linear(c, 4), b=nn.Linear(4, c)), c),
        (Block(lambda s, x: x * s.gate(x).sigmoid(), gate=conv(c, 1, 1)), c),
        (Block(lambda s, x: F.channel_shuffle(x, 2)), c),
        (Block(lambda s, x: F.channel_shuffle(torch.cat([x[:, : c // 2], s.conv(x[:, c // 2 :])], 1), 4),
               conv=conv(c // 2, c // 2, 1)), c),
        (Block(lambda s, x: torch.cat([x[:, c // 2 :], x[:, : c // 2]], 1)), c),
        (Block(lambda s, x: x + x.flip(3)), c),
        (Block(lambda s, x: x + x.flip(1)), c),
        (Block(lambda s, x: x[:, : c // 2].tanh() * s.conv(x)[:, c // 2 :], conv=conv(c, c, 1)), c // 2),
        (Block(lambda s, x: F.pad(x, (0, 0, 0, 0, 2, 2)) + s.conv(x), conv=conv(c, c + 4, 1)), c + 4),
        (Block(lambda s, x: F.max_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 1)), c),
        (Block(lambda s, x: x.softmax(1)), c),
        (Block(lambda s, x: F.relu(x, inplace=True) + x), c),
        (Block(lambda s, x: x.mul_(x.roll(1, 2)) - x), c),
        (Block(lambda s, x: torch.stack([x, x.abs()], 2).flatten(1, 2)), 2 * c),
        (Block(lambda s, x: s.twice(F.relu(s.twice(x))), twice=conv(c, c, 3, padding=1)), c),
        (Block(lambda s, x: s.up(x.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, (8, 8)),
               up=nn.Linear(c, 8)), 8),
    ]  # fmt: skip


def random_network(seed: int) -> nn.Module:
    """Three to six blocks, one after the other, between a convolution and a classifier."""
    choose, channels = random.Random(seed), 8
    layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1)]
    for _ in range(choose.randint(3, 6)):
        channels += -channels % 4
        layer, wider = choose.choice([(b, n) for b, n in blocks(channels) if n % 4 == 0])
        layers.append(layer)
        channels = wider
    head = nn.Conv2d(channels, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5)
    return nn.Sequential(*layers, *head)


@pytest.mark.parametrize("seed", range(60))
def test_random_networks_keep_their_function(seed):
    network = prepared(lambda: random_network(seed), seed)
    assert change_when_permuted(network, seed=seed) < ROUNDING
    assert moving(network)
