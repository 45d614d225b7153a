"""Networks whose code asks for numbers that depend on shapes: it goes as at the input size."""

import math
import operator

import pytest
import torch
from label_cases import Cases, Net
from torch import nn
from torch.nn import functional as F

from fusionscope.graph.trace import NotTraceable, trace_operations

CASES = Cases()


@CASES.case(one=8, two=8)
class EvenOrOdd(Net):
    def middle(self, x):
        height, width = x.shape[-2:]
        if height % 2 == 0 and width > 3:
            x = F.pad(x, (0, 1, 0, 1))
        assert x.shape[1] == self.wide, "channels"
        return x


@CASES.case(one=8, two=8)
class LengthsOfLoops(Net):
    def middle(self, x):
        for _ in range(x.shape[2] // 4):
            x = F.relu(x * 0.9)
        for _ in range(len(x.shape)):
            x = x + 1
        return F.avg_pool2d(x, int(math.sqrt(float(x.size(2)) * 2)) // 2)


@CASES.case(one=8, two=8)
class ShapesOneByOne(Net):
    def middle(self, x):
        sizes = list(x.shape)
        if list(x.shape)[1] > 4:
            x = F.relu(x)
        return x.reshape(sizes)


@CASES.case(one=8, two=8)
class LayerByTheNumberOfChannels(Net):
    def more(self):
        self.layers = nn.ModuleList(nn.Conv2d(8, 8, 1) for _ in range(3))

    def middle(self, x):
        return self.layers[operator.index(x.shape[1]) - 7](x) if x.is_floating_point() else x


LAYERS = {"one": 8, "two": 8, "layers.1": 8}


@pytest.mark.parametrize("name", CASES)
def test_what_moves_changes_no_function_and_as_much_moves_as_worked_out_by_hand(name):
    if name == LayerByTheNumberOfChannels.__name__:
        CASES[name] = (CASES[name][0], LAYERS)
    CASES.check(name)


class ByTheNumberOfImages(Net):
    def middle(self, x):
        return x * 2 if len(range(x.shape[0])) > 100 else x


class ByTheImages(Net):
    def middle(self, x):
        return x * 2 if x.sum() > 0 else x


class ByOnePixel(Net):
    def middle(self, x):
        return x * int(x[0, 0, 0, 0])


@pytest.mark.parametrize("make", [ByTheNumberOfImages, ByTheImages, ByOnePixel])
def test_what_depends_on_the_images_or_on_their_number_is_not_traced(make):
    with pytest.raises(NotTraceable, match=r"test_control_flow.py:\d+: "):
        trace_operations(make())


class ChangesItsBuffer(Net):
    def more(self):
        self.register_buffer("calls", torch.zeros(1))

    def middle(self, x):
        self.calls += 1
        return F.relu(x) if x.shape[2] > 2 else x


def test_looking_for_values_computes_nothing():
    network = ChangesItsBuffer()
    before = torch.random.get_rng_state()
    trace_operations(network)
    assert network.calls.item() == 0
    assert torch.equal(torch.random.get_rng_state(), before)
