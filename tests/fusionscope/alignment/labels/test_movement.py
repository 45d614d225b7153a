"""Labels of what moves elements: what is used alike goes together, wherever it is put."""

import pytest
import torch
from label_cases import Cases, Net
from torch import nn
from torch.nn import functional as F

CASES = Cases()


@CASES.case(one=8, two=8)
class Plain(Net):
    pass


@CASES.case(one=8, two=8)
class SwappedHalves(Net):
    """Four neurons each come first and second; they are used alike within a half."""

    def middle(self, x):
        return torch.cat([x[:, 4:], x[:, :4]], 1)


@CASES.case(one=8, two=8)
class JoinedWithItself(Net):
    wide = 16

    def middle(self, x):
        return torch.cat([x, x], 1)


@CASES.case(one=8, two=8)
class JoinedWithItsMirrorImage(Net):
    wide = 16

    def middle(self, x):
        return torch.cat([x, x.flip(3)], 1)


@CASES.case(one=8, two=8)
class HalfOfItMirrored(Net):
    """Neurons of one half change places with each other, not with the other half."""

    def middle(self, x):
        return torch.cat([x[:, :4].flip(3), x[:, 4:]], 1)


@CASES.case(one=8, two=8)
class EveryOtherChannel(Net):
    """Channels that are read change places with each other, and so do those that nobody reads."""

    wide = 4

    def middle(self, x):
        return x[:, ::2]


@CASES.case(one=8, two=8)
class Shuffled(Net):
    def middle(self, x):
        return F.channel_shuffle(x, 2)


@CASES.case(one=8, two=8)
class ShuffledByHand(Net):
    def middle(self, x):
        n, c, h, w = x.size()
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


@CASES.case(one=8, two=8)
class Unflattened(Net):
    def middle(self, x):
        return x.unflatten(1, (2, 4)).flatten(1, 2)


@CASES.case(one=8, two=8)
class PixelsToChannels(Net):
    wide = 32

    def middle(self, x):
        return F.pixel_unshuffle(x, 2)


@CASES.case(two=8)
class ChannelsToPixels(Net):
    """Four channels make one: which is which pixel, no permutation may change."""

    wide = 2

    def middle(self, x):
        return F.pixel_shuffle(x, 2)


@CASES.case(one=8, two=8)
class Stacked(Net):
    wide = 16

    def middle(self, x):
        return torch.stack([x, x.relu()], 2).flatten(1, 2)


@CASES.case(one=8, two=8)
class Unbound(Net):
    wide = 16

    def middle(self, x):
        left, right = x.unflatten(3, (4, 2)).unbind(4)
        return torch.cat([left, right], 1)


@CASES.case(one=8, two=8)
class FlattenedPixels(Net):
    """Sixteen columns of the last layer belong to each channel."""

    def more(self):
        self.head = nn.Linear(128, 5)

    def end(self, x):
        return self.head(F.max_pool2d(x, 2).flatten(1))


@CASES.case(one=8, two=8)
class RepeatedChannels(Net):
    """Each channel twice, then told apart by a joined half that is not."""

    wide = 12

    def middle(self, x):
        return torch.cat([x, x.roll(1, 2)[:, :4]], 1)


@CASES.case()
class RepeatedAlike(Net):
    """Copies side by side: the labels cannot tell which copy is which."""

    wide = 16

    def middle(self, x):
        return x.repeat(1, 2, 1, 1)

    def forward(self, x):
        return self.head(self.two(self.middle(self.one(x))).mean((2, 3)).softmax(1))


@CASES.case(two=8)
class MergedWithTheBatch(Net):
    """Right for one image, and wrong for several: channels of one image come to another."""

    def middle(self, x):
        n, c, h, w = x.shape
        return x.transpose(0, 1).reshape(n, c, h, w)


@CASES.case(one=8, two=8)
class HalvesAsImagesOfTheirOwn(Net):
    """Rows of pixels go to the batch and come back."""

    def middle(self, x):
        n, c, h, w = x.shape
        return F.relu(x.view(n, c, 2, h // 2, w).transpose(1, 2).reshape(n * 2, c, h // 2, w))

    def end(self, x):
        return self.head(x.mean((2, 3))).unflatten(0, (-1, 2)).sum(1)


@pytest.mark.parametrize("name", CASES)
def test_what_moves_changes_no_function_and_as_much_moves_as_worked_out_by_hand(name):
    CASES.check(name)
