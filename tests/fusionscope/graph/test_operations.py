"""One table of operations: all who ask find an entry there, and a look-alike is not the real one."""

import inspect
import operator

import pytest
import torch
from alignment_cases import change_when_permuted, moving, prepared
from torch import fx, nn
from torch.nn import functional as F

from fusionscope.graph import operations
from fusionscope.graph.operations import Kind, Operation, look_up, of_module, works_in_place
from fusionscope.graph.trace import operation, trace_operations
from fusionscope.measures.input.operator_norms import NoBound, lipschitz_upper_bound
from fusionscope.measures.parameter.gauss_newton import is_piecewise_linear
from fusionscope.networks.biases import renormalised_layers


def with_operations(monkeypatch, *more: Operation) -> None:
    """The table with `more` entries, for the rest of the test."""
    monkeypatch.setattr(operations, "OPERATIONS", (*operations.OPERATIONS, *more))
    for cached in (operations.table, operations.kinds_by_name):
        cached.cache_clear()


@pytest.fixture(autouse=True)
def own_table():
    yield
    for cached in (operations.table, operations.kinds_by_name):
        cached.cache_clear()


def through(function):
    """A network with `function` between two convolutions."""

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
            self.head = nn.Linear(64, 5)

        def forward(self, x):
            return self.head(torch.flatten(self.two(function(self.one(x))), 1))

    return prepared(Network)


def test_an_entry_is_all_that_an_operation_needs(monkeypatch):
    """torch.atan is unknown to all; one entry, and it moves, has a bound, and is what the entry says."""
    network = through(torch.atan)
    assert moving(network) == {"two": 4}
    with pytest.raises(NoBound, match="no Lipschitz constant is known for atan"):
        lipschitz_upper_bound(network)
    assert not is_piecewise_linear(network)

    with_operations(monkeypatch, Operation(Kind.ELEMENTWISE, (torch.atan,), slope=2.0, piecewise_linear=True))
    assert moving(network) == {"one": 4, "two": 4}
    assert change_when_permuted(network) < 1e-12
    plain = through(torch.relu)
    plain.load_state_dict(network.state_dict())
    assert lipschitz_upper_bound(network) == pytest.approx(2 * lipschitz_upper_bound(plain), rel=1e-12)
    assert is_piecewise_linear(network)


def test_repair_reads_the_table(monkeypatch):
    network = through(torch.relu)
    assert renormalised_layers(network) == ("one", "two")
    without = tuple(entry for entry in operations.OPERATIONS if entry.kind is not Kind.CONVOLUTION)
    monkeypatch.setattr(operations, "OPERATIONS", without)
    operations.table.cache_clear()
    assert renormalised_layers(network) == ()


def test_every_spelling_and_every_name_has_one_entry():
    spellings = [spelling for entry in operations.OPERATIONS for spelling in entry.spellings]
    assert len(spellings) == len(set(spellings))
    kinds: dict[str, set[Kind]] = {}
    for entry in operations.OPERATIONS:
        for spelling in entry.spellings:
            if not inspect.isclass(spelling):
                name = spelling if isinstance(spelling, str) else spelling.__name__
                kinds.setdefault(name, set()).add(entry.kind)
    assert all(len(found) == 1 for found in kinds.values()), kinds


def test_an_activation_is_no_steeper_than_its_entry_says():
    x = torch.linspace(-6, 6, 200_001, dtype=torch.float64).view(1, 1, 1, -1)
    for entry in operations.OPERATIONS:
        for spelling in entry.spellings:
            if entry.kind is Kind.ELEMENTWISE and entry.slope is not None and not isinstance(spelling, str):
                function = spelling().eval() if inspect.isclass(spelling) else spelling
                steepest = (function(x.clone()).diff() / x.diff()).abs().max().item()
                assert steepest <= entry.slope * (1 + 1e-6), spelling
                assert steepest > entry.slope * 0.99, spelling


class OwnReLU(nn.ReLU):
    def forward(self, x):
        return 3 * super().forward(x)


@fx.wrap
def relu(x):
    return 3 * F.relu(x)


def test_what_only_looks_like_an_operation_is_unknown():
    assert look_up(OwnReLU()) is None
    assert look_up(relu) is None
    assert look_up(torch.abs) is None  # known by its name: nothing but its kind
    assert of_module(nn.Softmax(1)) is None


def test_a_function_is_known_by_its_name_only_if_it_is_pytorchs():
    network = through(lambda x: relu(x))
    assert moving(network) == {"two": 4}
    with pytest.raises(NoBound, match="no Lipschitz constant is known for relu"):
        lipschitz_upper_bound(network)
    assert not is_piecewise_linear(network)
    assert moving(through(torch.abs)) == {"one": 4, "two": 4}


def called(function) -> tuple:
    """The last call in the graph of `function` of one tensor, and what it calls."""

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.overwrites, self.leaves = nn.ReLU(inplace=True), nn.ReLU()

        def forward(self, x):
            return function(self, x)

    traced = trace_operations(Network())
    node = next(node for node in reversed(traced.graph.nodes) if node.op != "output")
    return node, operation(node, traced)


def set_item(_, x):
    x[:, 0] = 1


def add_to_it(_, x):
    x += 1
    return x


IN_PLACE = {
    "module": lambda s, x: s.overwrites(x),
    "function": lambda s, x: torch.relu_(x),
    "by keyword": lambda s, x: F.relu(x, inplace=True),
    "by position": lambda s, x: F.relu(x, True),
    "after other options": lambda s, x: F.leaky_relu(x, 0.1, True),
    "method": lambda s, x: x.add_(1),
    "item": set_item,
    "operator": add_to_it,
}
OUT_OF_PLACE = {
    "module": lambda s, x: s.leaves(x),
    "function": lambda s, x: torch.relu(x),
    "by keyword": lambda s, x: F.relu(x, inplace=False),
    "by position": lambda s, x: F.relu(x, False),
    "after other options": lambda s, x: F.leaky_relu(x, 0.1),
    "method": lambda s, x: x.add(1),
    "item": lambda s, x: x[:, 0],
    "operator": lambda s, x: operator.add(x, 1),
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_work_in_place_is_told_from_work_out_of_place(name):
    assert works_in_place(*called(IN_PLACE[name]))
    assert not works_in_place(*called(OUT_OF_PLACE[name]))
