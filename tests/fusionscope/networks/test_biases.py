"""Which layers REPAIR renormalises: hidden ones that no batch norm does, whatever works in place."""

import re

import cases
import pytest
import torch
from torch import nn

from fusionscope.alignment.groups import alignment_groups
from fusionscope.alignment.labels.records import CLASS_OUTPUT
from fusionscope.fusion.repair import goals_of, output_statistics, repaired_mean
from fusionscope.networks.biases import give_biases, renormalised_layers, warn_once
from fusionscope.networks.build import build


class Net(nn.Module):
    """Three kinds of reader behind three layers, a layer that is called twice, and a class output."""

    def __init__(self):
        super().__init__()
        self.to_norm = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.to_relu = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.to_both = nn.Conv2d(4, 4, 1, bias=False)
        self.norm_of_both = nn.BatchNorm2d(4)
        self.twice = nn.Conv2d(4, 4, 1, bias=False)
        self.unused = nn.Linear(2, 2, bias=False)
        self.classes = nn.Conv2d(4, 6, 1, bias=False)

    def forward(self, x):
        x = self.to_relu(self.norm(self.to_norm(x)).relu()).relu()
        x = self.to_both(x)
        x = self.norm_of_both(x) + x
        x = self.twice(self.twice(x)).relu()
        return self.classes(x).relu().mean([2, 3])


def test_repair_renormalises_what_no_batch_norm_does_and_not_the_classes():
    assert renormalised_layers(Net()) == ("to_relu", "to_both")
    assert renormalised_layers(build(10, model_type="RESNET18", width=cases.TINY)) == ()
    without = build(10, model_type="RESNET18_NOBN", width=cases.TINY)
    convolutions = [name for name, module in without.named_modules() if isinstance(module, nn.Conv2d)]
    assert set(renormalised_layers(without)) == set(convolutions)
    vgg = build(10, model_type="VGG11_NOBN", width=cases.TINY)
    assert renormalised_layers(vgg) == cases.VGG11_CONVS[False]


class Branches(nn.Linear):
    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else x


def test_a_network_that_cannot_be_traced_has_no_renormalised_layers_and_the_log_says_so_once(caplog):
    warn_once.cache_clear()
    for _ in range(3):
        assert renormalised_layers(Branches(3, 3)) == ()
        give_biases(Branches(3, 3, bias=False))
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "repair: torch.fx cannot trace Branches (" in record.message
    assert re.search(r"test_biases\.py:\d+: symbolically traced variables", record.message)
    assert "only the statistics of its batch norms are renewed" in record.message


class WorksInPlace(nn.Module):
    """One batch norm; a residual stream that is written to in place, as a whole and in part."""

    input_shape = (3, 8, 8)

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.branch, self.part = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 1, 1)
        self.wide, self.head = nn.Linear(8, 12), nn.Linear(12, 5)

    def forward(self, x):
        x = self.norm(self.stem(x)).relu_()
        stream = x
        x += self.branch(x)
        x[:, 0] = self.part(stream)[:, 0]
        return self.head(self.wide(stream.mean((2, 3))).relu())


def test_repair_finds_all_layers_that_alignment_finds_where_work_is_in_place():
    network = WorksInPlace().eval()
    found = alignment_groups(network)
    aligned = {axis.parameter for group in found.groups for axis in group.writers}
    aligned |= {f"{part.layer}.weight" for part in found.frozen if part.reason != CLASS_OUTPUT}
    assert aligned == {f"{layer}.weight" for layer in ("stem", "branch", "part", "wide")}
    assert renormalised_layers(network) == ("branch", "part", "wide")  # the stem has its batch norm


def test_repaired_layers_of_work_in_place_meet_their_goal():
    torch.manual_seed(0)
    network = WorksInPlace().double().eval()
    parents = [dict(WorksInPlace().double().state_dict()) for _ in range(2)]
    images = cases.labelled([0] * 30, size=8)
    weights = repaired_mean(network, parents, (0.5, 0.5), images)
    goals = goals_of(network, parents, images)
    for name, (mean, std) in output_statistics(network, weights, images, 30).items():
        assert torch.allclose(mean, (goals[0][name][0] + goals[1][name][0]) / 2, atol=1e-9)
        assert torch.allclose(std, (goals[0][name][1] + goals[1][name][1]) / 2, atol=1e-9)


class WritesItsOutputs(nn.Module):
    """Class outputs that two more layers write in place: directly, and through a view."""

    def __init__(self):
        super().__init__()
        self.hidden, self.head = nn.Linear(6, 8), nn.Linear(8, 4)
        self.first, self.last = nn.Linear(8, 1), nn.Linear(8, 1)

    def forward(self, x):
        x = self.hidden(x).relu()
        classes = self.head(x)
        classes[:, :1] = self.first(x)
        classes.view(-1, 2, 2)[:, 1, 1].copy_(self.last(x).flatten())
        return classes


def test_layers_whose_outputs_come_to_the_classes_by_work_in_place_are_not_hidden():
    assert renormalised_layers(WritesItsOutputs()) == ("hidden",)


def test_a_layer_that_is_not_what_its_class_says_is_left_out():
    """Its weight is computed from others: what repair folded in would be lost."""
    network = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    assert renormalised_layers(network) == ("0", "2")
    nn.utils.parametrizations.weight_norm(network[2])
    assert renormalised_layers(network) == ("0",)


DENSENET_BLOCKS = {1: 6, 2: 12, 3: 24, 4: 16}  # layers of each dense block of densenet121


def test_torchvisions_networks_have_the_renormalised_layers_that_they_should():
    """Batch norm does the work in two; in densenet121 what joins and pools stands between."""
    assert renormalised_layers(build(10, architecture="torchvision:resnet18")) == ()
    assert renormalised_layers(build(10, architecture="torchvision:mobilenet_v2")) == ()
    found = renormalised_layers(build(10, architecture="torchvision:densenet121"))
    last_of_layers = [
        f"features.denseblock{block}.denselayer{layer}.conv2"
        for block, layers in DENSENET_BLOCKS.items()
        for layer in range(1, layers + 1)
    ]
    transitions = [f"features.transition{number}.conv" for number in (1, 2, 3)]
    assert sorted(found) == sorted(last_of_layers + transitions)


def test_biases_are_given_where_they_are_missing_and_change_no_output():
    network = Net().eval()
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    before, expected = set(network.state_dict()), network(x)
    give_biases(network)
    assert set(network.state_dict()) - before == {"to_relu.bias", "to_both.bias"}
    assert network.to_relu.bias.shape == (4,)
    assert torch.equal(network(x), expected)


@pytest.mark.parametrize("model_type", cases.ALL_MODEL_TYPES)
def test_biases_that_are_there_already_stay(model_type):
    plain, with_biases = (build(10, **cases.spec_of(model_type), biases=biases) for biases in (False, True))
    gained = set(with_biases.state_dict()) - set(plain.state_dict())
    needs = not cases.has_norm(model_type) and (
        model_type in cases.RESNET_TYPES or not cases.has_bias(model_type)
    )
    assert gained == ({f"{name}.bias" for name in renormalised_layers(plain)} if needs else set())
