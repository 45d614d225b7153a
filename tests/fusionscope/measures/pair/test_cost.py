"""matching_cost_before and matching_cost_after, from what fusions write of their alignments."""

import networks_for_fusion as nets
import pytest
import torch
from torch import nn

from fusionscope.errors import InputError
from fusionscope.fusion.fuse import fuse
from fusionscope.fusion.summary import COLUMNS, write_alignment
from fusionscope.measurement import write_rows
from fusionscope.measures.pair.cost import DIFFERENT_WIDTHS, NOT_FINITE, NOTHING_ALIGNED, matching_costs


def written(path, *rows):
    """The file of an alignment, of rows (parent, cost_before, cost_after) or (parent, None) if frozen."""
    write_rows(
        path,
        COLUMNS,
        [
            dict.fromkeys(COLUMNS, "")
            | (
                {"parent": parent, "cost_before": costs[0], "cost_after": costs[1]}
                if costs[0] is not None
                else {"parent": parent, "frozen_because": "so"}
            )
            for parent, *costs in rows
        ],
    )
    return path


def values(path):
    return {
        name.removeprefix("matching_cost_"): number.value for name, number in matching_costs(path).items()
    }


def test_groups_are_added_and_parents_averaged_and_frozen_layers_cost_nothing(tmp_path):
    path = written(tmp_path / "a.csv", (1, 0.5, 0.25), (1, 2, 1), (1, None), (3, 1, 0.5), (3, 4, 2))
    assert values(path) == {"before": (2.5 + 5) / 2, "after": (1.25 + 2.5) / 2}


@pytest.mark.parametrize("method", ["optimal_transport", "weight_matching"])
@pytest.mark.parametrize("name", ["VGG11_NOBIAS_NOBN", "RESNET18", "own"])
def test_a_permuted_copy_costs_nothing_once_it_is_matched(tmp_path, method, name):
    network, weights = nets.network_of(name), nets.weights_of(name, 1)
    copy, _ = nets.permuted(network, weights, 3)
    write_alignment(tmp_path / "a.csv", fuse([network] * 2, [copy, weights], method=method))
    found = values(tmp_path / "a.csv")
    assert found["after"] == pytest.approx(0, abs=1e-6)
    assert found["before"] > 0.1


def test_the_costs_of_one_hidden_layer_are_by_hand_distances_of_unit_rows(tmp_path):
    """Two neurons, of which A's first is B's second turned by 90 degrees: sqrt(2) apart, and 2 unmatched."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False))
    network.input_shape = (2, 1, 1)
    a, b = ({"1.weight": torch.tensor(rows), "3.weight": torch.eye(2)} for rows in (
        [[0.0, 3.0], [-1.0, 0.0]],
        [[-2.0, 0.0], [1.0, 0.0]],
    ))  # fmt: skip
    write_alignment(tmp_path / "a.csv", fuse([network] * 2, [a, b], method="optimal_transport"))
    # unit rows: A (0, 1), (-1, 0); B (-1, 0), (1, 0)
    assert values(tmp_path / "a.csv") == pytest.approx(
        {"before": (2**0.5 + 2) / 2, "after": (2**0.5 + 0) / 2}
    )


def test_parents_of_different_widths_cost_only_as_they_are_matched(tmp_path):
    found = matching_costs(written(tmp_path / "a.csv", (1, "", 0.25), (1, "", 1)))
    assert found["matching_cost_before"].reason == DIFFERENT_WIDTHS
    assert found["matching_cost_after"].value == 1.25


@pytest.mark.parametrize("rows", [(), ((1, None),)])
def test_without_groups_there_are_no_costs(tmp_path, rows):
    found = matching_costs(written(tmp_path / "a.csv", *rows))
    assert {number.reason for number in found.values()} == {NOTHING_ALIGNED}


def test_costs_that_are_not_finite_are_none(tmp_path):
    found = matching_costs(written(tmp_path / "a.csv", (1, "inf", "nan")))
    assert {number.reason for number in found.values()} == {NOT_FINITE}


@pytest.mark.parametrize(
    "text", ["parent,group\n1,a\n", "", "frozen_because,cost_before,cost_after,parent\n,x,1,1\n"]
)
def test_a_damaged_file_is_named(tmp_path, text):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError, match=r"a\.csv: is damaged"):
        matching_costs(tmp_path / "a.csv")
