"""Labels of layers: convolutions, linear layers, norms, and layers that nobody knows."""

import pytest
import torch
from label_cases import Cases, Net
from torch import nn
from torch.nn import functional as F

CASES = Cases()


@CASES.case(one=8, two=8)
class ManyModules(Net):
    def more(self):
        self.layers = nn.Sequential(
            nn.BatchNorm2d(8), nn.LeakyReLU(0.1), nn.Dropout2d(0.5), nn.MaxPool2d(3, 1, 1), nn.Hardswish(),
            nn.AvgPool2d(2), nn.InstanceNorm2d(8, affine=True, track_running_stats=True), nn.ELU(),
            nn.AdaptiveAvgPool2d(3), nn.Softplus(), nn.Identity(), nn.Tanh(), nn.PReLU(8), nn.PReLU(),
        )  # fmt: skip

    def middle(self, x):
        return self.layers(x)


@CASES.case(one=8, two=8, deep__0=8, deep__2=16)
class Depthwise(Net):
    """With a multiplier of two: both places of a channel move with it."""

    wide = 16

    def more(self):
        self.deep = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1, groups=8)
        )

    def middle(self, x):
        return self.deep(x)


@CASES.case(one=8, two=8, grouped__0=8, grouped__1=12)
class GroupedTwice(Net):
    """Two groups, then four: channels stay within their group."""

    wide = 12

    def more(self):
        self.grouped = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.Conv2d(8, 12, 3, padding=1, groups=4)
        )

    def middle(self, x):
        return self.grouped(x)


@CASES.case(one=8, two=8, grouped=8)
class GroupedAndShuffled(Net):
    def more(self):
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2)

    def middle(self, x):
        return self.grouped(F.channel_shuffle(self.grouped(x), 4))


@CASES.case(one=8, two=8)
class GroupNormalised(Net):
    def more(self):
        self.norm = nn.GroupNorm(2, 8)

    def middle(self, x):
        return self.norm(x)


@CASES.case(one=8, two=8)
class LayerNormalised(Net):
    def more(self):
        self.norm, self.root = nn.LayerNorm(8), nn.RMSNorm(8)

    def middle(self, x):
        return self.root(self.norm(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)


@CASES.case(one=8, two=8)
class LayerNormFunction(Net):
    def more(self):
        self.weight, self.bias = nn.Parameter(torch.ones(8)), nn.Parameter(torch.zeros(8))

    def middle(self, x):
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, normalized_shape=x.shape[-1:], weight=self.weight, bias=self.bias)
        return x.permute(0, 3, 1, 2)


@CASES.case(two=8)
class LayerNormOverPixelsAndChannels(Net):
    """Its weight has a number for every pixel of every channel: not followed."""

    def more(self):
        self.norm = nn.LayerNorm([8, 8, 8])

    def middle(self, x):
        return self.norm(x)


@CASES.case(two=8)
class InstanceNormOverAnImageWithoutBatch(Net):
    """Three dimensions are taken for one image, whose rows are its channels: (c, n, w)."""

    def more(self):
        self.norm = nn.InstanceNorm2d(8)

    def middle(self, x):
        rows = [self.norm(x[:, :, row].transpose(0, 1)).transpose(0, 1) for row in range(8)]
        return torch.stack(rows, 2)


@CASES.case(one=8, first=16, second=16, two=8)
class TokensThroughLinearLayers(Net):
    wide = 16

    def more(self):
        self.first, self.norm, self.second = nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 16)

    def middle(self, x):
        n, _, h, w = x.shape
        x = self.first(x.flatten(2).transpose(1, 2))
        x = self.norm(x.flatten(0, 1)).unflatten(0, (n, h * w))
        return self.second(F.gelu(x)).transpose(1, 2).reshape(n, 16, h, w)


@CASES.case(two=8)
class LinearOverColumns(Net):
    """A layer that reads pixels of each channel alike."""

    def more(self):
        self.columns = nn.Linear(8, 8)

    def middle(self, x):
        return self.columns(x)


@CASES.case(two=8)
class Attention(Net):
    """A block of attention with a skip: frozen, all else moves."""

    def more(self):
        self.queries = nn.MultiheadAttention(8, 2, batch_first=True)

    def middle(self, x):
        n, c, h, w = x.shape
        x = x.flatten(2).transpose(1, 2)
        x = x + self.queries(x, x, x, need_weights=False)[0]
        return x.transpose(1, 2).reshape(n, c, h, w)


@CASES.case(two=8)
class Recurrent(Net):
    """Outputs in tuples of tuples, some of which are unused."""

    def more(self):
        self.cell = nn.LSTM(8, 8, batch_first=True)

    def middle(self, x):
        x, (last, _) = self.cell(x.flatten(2).transpose(1, 2))
        return x.transpose(1, 2).unflatten(2, (8, 8)) + last[0][:, :, None, None]


@CASES.case(two=8)
class Transposed(Net):
    """Transposed convolutions are not followed."""

    def more(self):
        self.up = nn.ConvTranspose2d(8, 8, 2, 2)

    def middle(self, x):
        return self.up(x)


@pytest.mark.parametrize("name", CASES)
def test_what_moves_changes_no_function_and_as_much_moves_as_worked_out_by_hand(name):
    CASES.check(name)


@pytest.mark.parametrize(
    ("name", "layer", "reason"),
    [
        ("Attention", "one", "read or made by MultiheadAttention 'queries'"),
    ],
)
def test_what_stays_says_why(name, layer, reason):
    CASES.check_reason(name, layer, reason)
