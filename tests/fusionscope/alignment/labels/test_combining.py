"""Labels of what combines elements: sums, gates, joins, reductions, pools, borders."""

import pytest
import torch
from label_cases import Cases, Net
from torch import nn
from torch.nn import functional as F

CASES = Cases()


@CASES.case(one=8, two=8, between=8)
class Residual(Net):
    def more(self):
        self.between = nn.Conv2d(8, 8, 1)

    def middle(self, x):
        return x + self.between(F.relu(x))


@CASES.case(one=8, two=8, between=8, short=8)
class JoinedAtDifferentDepthWithSkip(Net):
    wide = 16

    def more(self):
        self.between, self.short = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1)

    def middle(self, x):
        y = F.relu(self.between(F.relu(x)))
        return torch.cat([x + y, self.short(y)], 1)


@CASES.case(two=8)
class AddedToItsMirrorImageInChannels(Net):
    def middle(self, x):
        return x + x.flip(1)


@CASES.case(one=8, two=8)
class AddedToItsMirrorImageInPixels(Net):
    def middle(self, x):
        return x + x.flip(3)


@CASES.case(two=8)
class GatedLinearUnit(Net):
    """A channel moves with its gate, and both are rows of one layer: not told apart."""

    wide = 4

    def middle(self, x):
        a, b = x.chunk(2, 1)
        return a * torch.sigmoid(b)


@CASES.case(one=8, two=8, gate=8)
class GatedByAnotherLayer(Net):
    def more(self):
        self.gate = nn.Conv2d(3, 8, 1)

    def forward(self, x):
        return self.end(self.two(self.one(x) * torch.sigmoid(self.gate(x))))


@CASES.case(one=8, two=8, down=4, up=8)
class SqueezeAndExcitation(Net):
    def more(self):
        self.down, self.up = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)

    def middle(self, x):
        return x * torch.sigmoid(self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1)))))


@CASES.case(one=8, two=8, down=4, up=8)
class SqueezeAndExcitationByLinearLayers(Net):
    def more(self):
        self.down, self.up = nn.Linear(8, 4), nn.Linear(4, 8)

    def middle(self, x):
        n, c, _, _ = x.size()
        y = torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3)).view(n, c)))))
        return x * y.view(n, c, 1, 1).expand_as(x)


@CASES.case(one=8, two=8)
class SpatialGate(Net):
    """One channel that multiplies all others; it stays."""

    def more(self):
        self.gate = nn.Conv2d(8, 1, 3, padding=1)

    def middle(self, x):
        return x * torch.sigmoid(self.gate(x))


@CASES.case(one=7, two=8)
class FirstChannelGates(Net):
    def middle(self, x):
        return x * x[:, :1]


@CASES.case(two=8)
class MeanOverChannels(Net):
    wide = 1

    def middle(self, x):
        return x.mean(1, keepdim=True)


@CASES.case(two=8)
class LargestOfChannels(Net):
    wide = 1

    def middle(self, x):
        return x.max(1, keepdim=True).values


@CASES.case(two=8)
class SoftmaxOverChannels(Net):
    def middle(self, x):
        return x.softmax(1)


@CASES.case(two=8)
class NeighbouringChannels(Net):
    def middle(self, x):
        return F.local_response_norm(x, 3)


@CASES.case(one=8, two=8)
class MeanOverColumns(Net):
    def middle(self, x):
        return x - x.mean(3, keepdim=True)


@CASES.case(one=8, two=8)
class LargestPixels(Net):
    def end(self, x):
        return self.head(torch.amax(x, dim=(-1, -2)))


@CASES.case(two=8)
class MeanOfEverything(Net):
    def middle(self, x):
        return x / x.mean()


@CASES.case(one=8, two=8, between=8)
class OneChannelInBetween(Net):
    """A layer of a single channel has nothing that could change places."""

    wide = 1

    def more(self):
        self.between = nn.Conv2d(8, 8, 1)
        self.narrow = nn.Conv2d(8, 1, 1)

    def middle(self, x):
        return self.narrow(self.between(x)) + self.narrow(self.between(F.relu(x)))


@CASES.case(two=8)
class PoolOverAnImageWithoutBatch(Net):
    """(c, h, w) with the channels in the middle: PyTorch pools over them."""

    def middle(self, x):
        rows = x.shape[2]
        x = x.permute(0, 2, 1, 3).flatten(0, 1)  # to the pool, images of c times w pixels
        x = F.max_pool2d(x, 3, 1, 1)
        return x.unflatten(0, (-1, rows)).permute(0, 2, 1, 3)


@CASES.case(one=8, two=8)
class PaddedPixels(Net):
    def more(self):
        self.pad, self.norm = nn.ZeroPad2d(1), nn.BatchNorm2d(8)

    def middle(self, x):
        return F.relu(self.norm(F.pad(self.pad(x), (0, 1, 0, 1))))


@CASES.case(one=8, two=8, wider=16)
class PaddedChannels(Net):
    """The shortcut of published CIFAR ResNets: new channels are zeros."""

    wide = 16

    def more(self):
        self.wider = nn.Conv2d(8, 16, 3, 2, padding=1)

    def middle(self, x):
        return F.relu(self.wider(x) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4), "constant", 0))


@CASES.case(one=8, two=8)
class PaddedOnEitherSide(Net):
    """Zeros are told apart from neurons, so that the two places of a neuron are."""

    wide = 16

    def middle(self, x):
        x = F.adaptive_avg_pool2d(x, 1)
        return F.pad(x, (0, 0, 0, 0, 8, 0)) + F.pad(x, (0, 0, 0, 0, 0, 8))


@CASES.case(one=8, two=8, other=8)
class PaddedChannelsNormalised(Net):
    """A batch norm makes padded zeros differ from channel to channel."""

    wide = 12

    def more(self):
        self.norm, self.other = nn.BatchNorm2d(12), nn.Conv2d(3, 12, 3, padding=1)

    def forward(self, x):
        padded = F.pad(self.one(x), (0, 0, 0, 0, 0, 4))
        return self.end(self.two(F.relu(self.norm(padded) + self.other(x))))


@pytest.mark.parametrize("name", CASES)
def test_what_moves_changes_no_function_and_as_much_moves_as_worked_out_by_hand(name):
    CASES.check(name)


@pytest.mark.parametrize(
    ("name", "layer", "reason"),
    [
        ("GatedLinearUnit", "one", "two of its places cannot be told apart"),
        ("SpatialGate", "gate", "one channel that acts on all others"),
        ("SoftmaxOverChannels", "one", "read or made by softmax"),
        ("OneChannelInBetween", "narrow", "no other neuron is used alike"),
    ],
)
def test_what_stays_says_why(name, layer, reason):
    CASES.check_reason(name, layer, reason)
