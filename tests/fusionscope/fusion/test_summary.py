"""What people are told of an alignment: groups, frozen layers with reasons, and the share that moves."""

import csv

import networks_for_fusion as nets
import torch
from torch import nn
from torch.nn import functional as F

from fusionscope.fusion.fuse import Fusion, fuse
from fusionscope.fusion.summary import COLUMNS, sentences, write_alignment
from fusionscope.networks.build import build


class Gated(nn.Module):
    """Six neurons that may move, and five that the network's input is added to."""

    def __init__(self):
        super().__init__()
        self.free = nn.Linear(12, 6)
        self.tied = nn.Linear(6, 12)
        self.out = nn.Linear(12, 3)
        self.input_shape = (3, 2, 2)

    def forward(self, x):
        x = x.flatten(1)
        return self.out(x + self.tied(F.relu(self.free(x))))


def fusion_of(network: nn.Module, **options) -> Fusion:
    parents = [nets.drawn(network, seed) for seed in (1, 2, 3)]
    return fuse([network.double()] * 3, parents, **options)


def written(fusion: Fusion, folder) -> list[dict[str, str]]:
    write_alignment(folder / "alignment.csv", fusion)
    with open(folder / "alignment.csv", newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    assert tuple(reader.fieldnames) == COLUMNS
    return rows


def test_the_table_names_every_group_and_every_frozen_layer_of_each_aligned_parent(tmp_path):
    fusion = fusion_of(Gated(), method="optimal_transport")
    rows = written(fusion, tmp_path)
    assert [(row["parent"], row["group"], row["neurons"]) for row in rows] == [
        ("1", "free", "6"),
        ("3", "free", "6"),
        *((parent, *layer) for parent in "13" for layer in (("tied", "12"), ("out", "3"))),
    ]
    assert {float(row["share_that_moves"]) for row in rows} == {6 / 18} == {fusion.share_that_moves}
    groups, frozen = rows[:2], rows[2:]
    assert all(row["frozen_because"] == "" and float(row["cost_after"]) > 0 for row in groups)
    reasons = {row["group"]: row["frozen_because"] for row in frozen}
    assert reasons == {layer.layer: layer.reason for layer in fusion.frozen}
    assert all((row["moved"], row["cost_after"], row["passes"]) == ("0", "", "") for row in frozen)


def test_a_fusion_that_aligns_nothing_has_a_table_without_rows_and_says_so(tmp_path):
    fusion = fusion_of(Gated(), method="average")
    assert written(fusion, tmp_path) == []
    assert sentences(fusion) == ["nothing is aligned: neurons are merged by their numbers"]
    assert fusion.share_that_moves == 0
    assert fusion.frozen == ()


def test_the_log_says_the_share_and_each_frozen_layer_with_its_reason():
    share, frozen = sentences(fusion_of(Gated(), method="optimal_transport"))
    assert share == "33.3 % of the hidden neurons may move, in 1 group(s)"
    assert "tied (12): added to or joined with the network's input" in frozen
    assert "out (3): an output of the network" in frozen


def test_many_layers_with_one_reason_do_not_flood_the_log():
    class Many(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(12, 12) for _ in range(30))
            self.out = nn.Linear(12, 3)
            self.input_shape = (3, 2, 2)

        def forward(self, x):
            x = x.flatten(1)
            for layer in self.layers:
                x = x + layer(x)
            return self.out(x)

    lines = sentences(fusion_of(Many(), method="weight_matching"))
    assert len(lines) == 2
    assert "layers.4 (12) and 25 more: " in lines[1]
    assert len(lines[1]) < 300


def test_biases_that_repair_gives_are_named():
    network = build(10, model_type="VGG11_NOBIAS_NOBN", width=0.0625)
    parents = [{k: v.float() for k, v in nets.drawn(network, seed).items()} for seed in (1, 2)]
    fusion = fuse([network] * 2, parents, method="average", repair=True, images=nets.images())
    assert fusion.gained_biases == tuple(name for name in fusion.child if name not in parents[0])
    assert "repair gave a bias to layers that had none: features.0.bias, " in sentences(fusion)[1]
    assert all(torch.equal(t, fusion.network.state_dict()[name]) for name, t in fusion.child.items())
