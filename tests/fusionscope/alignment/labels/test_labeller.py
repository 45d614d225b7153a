"""Labels of whole networks: work in place, numbers that depend on values, random blocks."""

import random

import pytest
import torch
from alignment_cases import ROUNDING, change_when_permuted, moving, prepared, reasons
from label_cases import Cases, Net
from torch import nn
from torch.nn import functional as F

from fusionscope.alignment.groups import alignment_groups
from fusionscope.errors import InputError

CASES = Cases()


@CASES.case(one=8, two=8)
class ReluInPlace(Net):
    """What came before it has changed when it is added."""

    def more(self):
        self.relu = nn.ReLU(inplace=True)

    def middle(self, x):
        y = self.relu(x)
        return x + y


@CASES.case(two=8)
class HalfChangedInPlace(Net):
    """The whole has changed in one half only."""

    def middle(self, x):
        F.relu(x[:, :4], inplace=True)
        return x


@CASES.case(one=8, two=8)
class ViewChangedInPlace(Net):
    """Half of the channels are added to themselves, shifted; the other name sees it."""

    def middle(self, x):
        other = x.view(x.shape)
        other.add_(torch.cat([x[:, :4].roll(1, 2), x[:, 4:]], 1))
        return x


@CASES.case(one=8, two=8)
class AddedInPlaceAndRead(Net):
    """The first name is read again after the addition."""

    def middle(self, x):
        y = x
        y += torch.cat([x[:, :4].roll(1, 2), x[:, 4:]], 1)
        return x


@CASES.case(two=8)
class CopiedOver(Net):
    def more(self):
        self.other = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        y = self.one(x)
        y[:, :4].copy_(self.other(x))
        return self.end(self.two(F.relu(y)))


@CASES.case(two=8)
class ItemsSet(Net):
    def middle(self, x):
        x[:, :4] = x[:, 4:].roll(1, 2)
        return x


@CASES.case(two=8)
class ItemsAddedTo(Net):
    def middle(self, x):
        x[:, :4] += x[:, 4:].roll(1, 2)
        return x


# numbers that depend on values


@CASES.case(two=8)
class SlicedByAValue(Net):
    """Where to cut depends on the image."""

    wide = 4

    def more(self):
        self.other = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, x):
        start = (x.mean() > 0).int().item() * 4
        y = self.other(x) + self.one(x)
        return self.end(self.two(y.narrow(1, start, 4)))


@CASES.case(two=8)
class ScaledByAValue(Net):
    def middle(self, x):
        return x * x[0, 0].mean().item()


# the whole


@CASES.case(one=8, two=8)
class SeveralOutputs(Net):
    def end(self, x):
        y = self.head(x.mean((2, 3)))
        return {"logits": y, "more": (y.relu(), None)}


@CASES.case(one=8)
class HiddenLayerIsAnOutput(Net):
    def end(self, x):
        return self.head(x.mean((2, 3))), x


@CASES.case(body__0__one=8, body__0__two=8, body__1__one=8, body__1__two=8)
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
    CASES.check(name)


@pytest.mark.parametrize(
    ("name", "layer", "reason"),
    [
        ("HalfChangedInPlace", "one", "changed in place by relu"),
        ("ItemsSet", "one", "read or made by setitem"),
        ("ScaledByAValue", "one", "read or made by mean"),
        ("HiddenLayerIsAnOutput", "two", "an output of the network"),
    ],
)
def test_what_stays_says_why(name, layer, reason):
    CASES.check_reason(name, layer, reason)


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
