"""Steps of the user's own: a way to align and a way to merge that lie outside of the repository."""

import re
from pathlib import Path

import networks_for_fusion as nets
import pytest
import torch
import yaml

from fusionscope.errors import InputError
from fusionscope.fusion.fuse import fuse
from fusionscope.fusion.options import check_fusion
from fusionscope.fusion.steps import match_neurons

STEPS = '''
from dataclasses import dataclass

import torch

from fusionscope.fusion.pair import Match
from fusionscope.options import Count, Options


@dataclass(frozen=True)
class Shifted:
    """Neuron i of A goes to i + by of B."""

    by: int = 1

    def align(self, pair, images, seed):
        couplings = [torch.eye(a.size, dtype=torch.float64).roll(self.by, 1) / a.size for a, _ in pair.groups]
        return Match.of(couplings, [torch.zeros_like(coupling) for coupling in couplings])


class Checked(Options):
    by: Count = 1

    align = Shifted.align


class Reference:
    """The child is the reference."""

    def merge(self, aligned, shares):
        return {name: tensor.clone() for name, tensor in aligned[-1].items()}


class Small:
    def align(self, pair, images, seed):
        return Match.of([torch.eye(2)], [torch.eye(2)])

    def merge(self, aligned, shares):
        return {name: tensor[:1] for name, tensor in aligned[-1].items()}


class Nothing:
    def align(self, pair, images, seed):
        return 3


class Stays:
    def align(self, pair, images, seed):
        return None


class Fails:
    def __init__(self):
        raise ValueError("no.")

    align = None.__class__
'''
NAME = "VGG11_NOBIAS_NOBN"
STEP_KEYS = ("method", "merge")


@pytest.fixture
def package(tmp_path, monkeypatch) -> str:
    """The name of a package of the user's own in the current folder, another one for each test."""
    name = f"own_{tmp_path.name}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "steps.py").write_text(STEPS)
    monkeypatch.chdir(tmp_path)
    return f"{name}.steps"


def child_of(method: str, **options):
    network = nets.network_of(NAME)
    parents = [nets.weights_of(NAME, 1), nets.weights_of(NAME, 2)]
    return fuse([network] * 2, parents, method=method, **options)


@pytest.mark.parametrize("name", ["Shifted", "Checked"])
def test_an_alignment_of_one_s_own_moves_neurons_as_it_says(package, name):
    fusion = child_of(f"{package}:{name}", by=2)
    parent = nets.weights_of(NAME, 1)
    moved = fusion.aligned[0]["features.0.weight"]
    assert torch.equal(moved, parent["features.0.weight"].roll(2, 0))
    second = parent["features.3.weight"].roll(2, 0).roll(2, 1)
    assert torch.equal(fusion.aligned[0]["features.3.weight"], second)
    assert {record.moved for record in fusion.records} == {r.neurons for r in fusion.records}
    by_default = child_of(f"{package}:{name}").aligned[0]["features.0.weight"]
    assert torch.equal(by_default, parent["features.0.weight"].roll(1, 0))


def test_an_alignment_of_one_s_own_may_leave_all_where_it_is(package):
    assert match_neurons(f"{package}:Stays", nets.pair_of(NAME)) is None
    fusion, average = child_of(f"{package}:Stays"), child_of("average")
    assert all(torch.equal(fusion.child[name], tensor) for name, tensor in average.child.items())
    assert fusion.groups is None


def test_a_merge_of_one_s_own_makes_the_child(package):
    fusion = child_of("average", merge=f"{package}:Reference")
    expected = nets.weights_of(NAME, 2)
    assert all(torch.equal(fusion.child[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"method": "owm.steps:Mine"}, "method owm.steps:Mine: there is no module owm in "),
        ({"method": "{}:Shiftd"}, "has no function or class 'Shiftd'; define it, or name another"),
        ({"method": "{}:Reference"}, "{}:Reference: has no method 'align'; name a class that has one"),
        ({"method": "{}:Shifted", "bye": 2}, "{}:Shifted: unknown option 'bye'; did you mean 'by'?"),
        ({"method": "{}:Checked", "bye": 2}, "{}:Checked: unknown key 'bye'; did you mean 'by'?"),
        ({"method": "{}:Checked", "by": 0}, "{}:Checked.by: 0 is not right; expected a whole number"),
        ({"method": "{}:Fails"}, "{}:Fails: cannot be made with its options (ValueError: no); fix them"),
        ({"method": "{}:Nothing"}, "{}:Nothing: align gave a int; return a Match, or None"),
        ({"method": "{}:Small"}, "{}:Small: align gave couplings of shapes [(2, 2)], expected [("),
        ({"method": "average", "merge": "{}:Shifted"}, "{}:Shifted: has no method 'merge'"),
        ({"method": "average", "merge": "{}:Small"}, "{}:Small: gave features.0.weight of shape (1, "),
    ],
)
def test_what_is_wrong_with_one_s_own_step_is_said_in_one_sentence(package, options, sentence):
    named = {key: str(value).format(package) if key in STEP_KEYS else value for key, value in options.items()}
    with pytest.raises(InputError) as caught:
        child_of(**named)
    assert sentence.replace("{}", package) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_alignment_of_the_documentation_does_what_it_says(tmp_path, monkeypatch):
    page = (Path(__file__).parents[3] / "docs/adding_a_fusion.md").read_text()
    module = f"documented_{tmp_path.name}"
    (tmp_path / f"{module}.py").write_text(re.search(r"```python\n(.*?)```", page, re.DOTALL).group(1))
    monkeypatch.chdir(tmp_path)
    fusion = child_of(f"{module}:ByNorm", descending=True)
    aligned, reference = (
        weights["features.0.weight"].flatten(1).norm(dim=1)
        for weights in (fusion.aligned[0], fusion.aligned[1])
    )
    assert torch.equal(aligned[reference.argsort()], aligned.sort().values)
    (definition,) = yaml.safe_load(re.search(r"```yaml\n(fusions:.*?)```", page, re.DOTALL).group(1))[
        "fusions"
    ].values()
    assert check_fusion(definition)["descending"] is True
