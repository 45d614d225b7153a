"""Labels of one thing at several places, and of layers that are not what they seem."""

import pytest
import torch
from alignment_cases import prepared
from label_cases import Cases, Net
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from fusionscope.alignment.groups import alignment_groups

CASES = Cases()


@CASES.case(one=8, two=8)
class LayerTwiceInARow(Net):
    """Its outputs move as its inputs do."""

    def middle(self, x):
        return F.relu(self.two(F.relu(x)))


@CASES.case(one=8, two=8, other=8)
class LayerAtTwoPlaces(Net):
    def more(self):
        self.other = nn.Conv2d(3, 8, 5, padding=2)

    def forward(self, x):
        return self.end(self.two(self.one(x)) * self.two(F.relu(self.other(x))))


@CASES.case(one=8, two=8, alias=8)
class LayerUnderTwoNames(Net):
    """The state dict has it twice."""

    def more(self):
        self.alias = self.two

    def middle(self, x):
        return self.alias(x)


@CASES.case(one=8, two=8, other=8)
class TiedWeights(Net):
    """Two layers with one weight, and biases of their own."""

    def more(self):
        self.other = nn.Conv2d(8, 8, 3, padding=1)
        self.other.weight = self.two.weight

    def middle(self, x):
        return F.relu(self.other(x))


@CASES.case(one=8, two=8, other=8)
class TiedWeightsByData(Net):
    def more(self):
        self.other = nn.Conv2d(8, 8, 3, padding=1)
        self.other.weight = nn.Parameter(self.two.weight.data)

    def middle(self, x):
        return F.relu(self.other(x))


@CASES.case(one=8, two=8)
class WeightAlsoUsedByFunction(Net):
    """A tied autoencoder: the way back is not followed, so the way there cannot move."""

    def more(self):
        self.first, self.narrow = nn.Linear(8, 6), nn.Linear(6, 4)

    def end(self, x):
        code = self.narrow(F.relu(self.first(x.mean((2, 3)))))
        back = F.linear(code, self.narrow.weight.t())
        return torch.cat([code, back], 1)


@CASES.case()
class WeightSharedWithAnUnknownLayer(Net):
    def more(self):
        self.up = nn.ConvTranspose2d(8, 8, 3, padding=1)
        self.up.weight = self.two.weight

    def end(self, x):
        return self.up(F.relu(x)).mean((2, 3))


@CASES.case(two=8)
class WeightSeenInTwoShapes(Net):
    def more(self):
        self.first, self.second = nn.Conv2d(8, 8, 1), nn.Linear(8, 8)
        self.second.weight = nn.Parameter(self.first.weight.data.view(8, 8).t())

    def middle(self, x):
        return self.second(self.first(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


@CASES.case(two=8)
class OverlappingWeights(Net):
    """One tensor is a part of the other."""

    def more(self):
        self.scale = nn.Parameter(self.one.bias.data[2:6])

    def end(self, x):
        return self.head(x.mean((2, 3))) + (self.scale * self.scale).sum()


@CASES.case(two=8)
class ConstantThatIsPartOfAWeight(Net):
    """It is in no state dict, yet changes with the bias."""

    wide = 4

    def more(self):
        self.part = self.one.bias.detach()[2:6].view(4, 1, 1)

    def middle(self, x):
        return x[:, 4:] * self.part


@CASES.case(two=8)
class StatisticsUsedElsewhere(Net):
    """A batch norm's buffers are used by hand for another layer, in a way that is not followed."""

    def more(self):
        self.other, self.norm = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)

    def forward(self, x):
        y = self.norm(self.one(x)) + (self.other(x) * self.norm.running_var.cumsum(0).view(8, 1, 1))
        return self.end(self.two(y))


@CASES.case(one=8, two=8)
class NormByHand(Net):
    def more(self):
        self.norm = nn.BatchNorm2d(8, affine=False)

    def middle(self, x):
        mean, deviation = self.norm.running_mean, torch.sqrt(self.norm.running_var + 1e-3)
        return (x - mean[None, :, None, None]) / deviation.view(1, -1, 1, 1)


@CASES.case(one=8, two=8, other=8)
class OneNormForTwoLayers(Net):
    """Their channels move together then."""

    wide = 16

    def more(self):
        self.other, self.norm = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)

    def forward(self, x):
        return self.end(self.two(torch.cat([self.norm(self.one(x)), self.norm(self.other(x))], 1)))


# layers that are not what they seem


@CASES.case(two=8)
class NormalisedWeights(Net):
    """The weight is computed; the state dict has other things."""

    def more(self):
        self.one = parametrizations.weight_norm(self.one)


@CASES.case(two=8)
class SpectralNormOfOldKind(Net):
    def more(self):
        self.one = nn.utils.spectral_norm(self.one)


@CASES.case(two=8)
class Hooked(Net):
    def more(self):
        self.one.register_forward_hook(lambda module, inputs, output: output.cumsum(1))


@CASES.case(two=8)
class ForwardReplaced(Net):
    def more(self):
        usual = self.one.forward
        self.one.forward = lambda x: usual(x).cumsum(1)


class StandardisedConvolution(nn.Conv2d):
    """A user's layer is looked into."""

    def forward(self, x):
        weight = self.weight - self.weight.mean(0, keepdim=True)
        return self._conv_forward(x, weight, self.bias)


@CASES.case(two=8)
class UsersConvolution(Net):
    def more(self):
        self.one = StandardisedConvolution(3, 8, 3, padding=1)


@pytest.mark.parametrize("name", CASES)
def test_what_moves_changes_no_function_and_as_much_moves_as_worked_out_by_hand(name):
    CASES.check(name)


@pytest.mark.parametrize(
    ("name", "layer", "reason"),
    [
        ("WeightAlsoUsedByFunction", "first", "its weights are also used in another way"),
        ("Hooked", "one", "a layer that is unused, or used in an unknown way"),
    ],
)
def test_what_stays_says_why(name, layer, reason):
    CASES.check_reason(name, layer, reason)


def test_the_state_dict_has_a_shared_layer_twice_and_both_are_moved():
    group = alignment_groups(prepared(LayerUnderTwoNames)).groups[0]
    assert {member.parameter for member in group.readers} == {"two.weight", "alias.weight", "head.weight"}
