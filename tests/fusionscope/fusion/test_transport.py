"""Couplings against SciPy's assignment, POT, and Sinkhorn's iterations written out."""

from functools import partial

import numpy as np
import ot
import pytest
import torch
from measure_cases import random_images
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from fusionscope.errors import InputError
from fusionscope.fusion.fuse import fuse
from fusionscope.fusion.transport import assignment, exact, proportional, sinkhorn, uniform
from fusionscope.networks.build import build


def random(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def masses(seed: int, n: int) -> np.ndarray:
    drawn = random(seed).random(n) + 0.1
    return drawn / drawn.sum()


COSTS = {
    "random": lambda random, n: random.random((n, n)),
    "ties": lambda random, n: random.integers(0, 3, (n, n)).astype(float),
    "equal": lambda random, n: np.ones((n, n)),
    "distances": lambda random, n: cdist(random.normal(size=(n, 5)), random.normal(size=(n, 5))),
    "equal columns": lambda random, n: np.repeat(random.random((n, 1)), n, axis=1),
    "negative": lambda random, n: -random.random((n, n)),
}


@pytest.mark.parametrize("n", [1, 2, 7, 64, 200])
@pytest.mark.parametrize("kind", COSTS)
def test_exact_transport_of_equal_masses_is_the_optimal_assignment(kind, n):
    cost = COSTS[kind](random(n), n)
    coupling = exact(torch.from_numpy(cost), uniform(n), uniform(n)).numpy()
    assert ((np.abs(n * coupling - 1) < 1e-12) | (coupling == 0)).all()
    assert ((coupling > 0).sum(0) == 1).all()
    assert ((coupling > 0).sum(1) == 1).all()
    best = cost[linear_sum_assignment(cost)].sum()
    assert n * (coupling * cost).sum() == pytest.approx(best, rel=1e-12)
    assert n * ot.emd2(np.full(n, 1 / n), np.full(n, 1 / n), cost) == pytest.approx(best, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("n", "m"), [(6, 4), (4, 6), (5, 5), (30, 40), (1, 3)])
@pytest.mark.parametrize("equal", [True, False])
def test_exact_transport_keeps_any_masses_and_costs_what_linear_programming_says(n, m, equal):
    from scipy.optimize import linprog

    cost = random(n).random((n, m))
    a, b = (np.full(n, 1 / n), np.full(m, 1 / m)) if equal else (masses(1, n), masses(2, m))
    coupling = exact(*(torch.from_numpy(part) for part in (cost, a, b))).numpy()
    assert coupling.min() >= 0
    assert coupling.sum(1) == pytest.approx(a, abs=1e-12)
    assert coupling.sum(0) == pytest.approx(b, abs=1e-12)
    constraints = np.concatenate([np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))])
    best = linprog(cost.ravel(), A_eq=constraints, b_eq=np.concatenate([a, b]))
    assert (coupling * cost).sum() == pytest.approx(best.fun, rel=1e-9)


def test_equal_numbers_of_unequal_masses_are_no_assignment():
    cost = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    a, b = (torch.tensor(mass, dtype=torch.float64) for mass in ([0.75, 0.25], [0.5, 0.5]))
    assert exact(cost, a, b).tolist() == [[0.5, 0.25], [0.0, 0.25]]


def test_assignment_gives_for_each_row_its_column():
    cost = torch.tensor([[9.0, 1.0, 9.0], [9.0, 9.0, 2.0], [3.0, 9.0, 9.0]])
    assert assignment(cost).tolist() == [1, 2, 0]


def sinkhorn_by_hand(cost: np.ndarray, a: np.ndarray, b: np.ndarray, reg: float) -> np.ndarray:
    """Cuturi 2013, algorithm 1: rows and columns of exp(-cost / reg) scaled in turn."""
    kernel = np.exp(-cost / reg)
    v = np.ones(len(b))
    for _ in range(20_000):
        u = a / (kernel @ v)
        v = b / (kernel.T @ u)
    return u[:, None] * kernel * v


@pytest.mark.parametrize("reg", [0.05, 0.5, 5.0])
@pytest.mark.parametrize(("n", "m"), [(6, 4), (20, 20)])
def test_sinkhorn_is_the_scaling_of_the_kernel(n, m, reg):
    cost, a, b = random(3).random((n, m)), masses(4, n), masses(5, m)
    coupling = sinkhorn(*(torch.from_numpy(part) for part in (cost, a, b)), reg=reg).numpy()
    assert np.abs(coupling - sinkhorn_by_hand(cost, a, b, reg)).max() < 1e-6
    assert np.abs(coupling.sum(1) - a).max() < 1e-6
    assert np.abs(coupling.sum(0) - b).max() < 1e-6


def test_a_small_reg_comes_near_the_exact_coupling_and_a_large_one_near_the_independent():
    cost = torch.from_numpy(random(6).random((12, 12)))
    mass = uniform(12)
    near, best = sinkhorn(cost, mass, mass, reg=5e-3), exact(cost, mass, mass)
    assert torch.equal(near.argmax(0), best.argmax(0))
    assert 0 < ((near - best) * cost).sum() < 5e-3
    assert (sinkhorn(cost, mass, mass, reg=1e3) - torch.outer(mass, mass)).abs().max() < 1e-5


def test_no_reg_underflows():
    cost = 1e3 * torch.from_numpy(random(7).random((5, 5)))
    assert sinkhorn(cost, uniform(5), uniform(5), reg=1e-3).isfinite().all()


def test_masses_add_to_one_and_none_is_zero():
    assert uniform(4).tolist() == [0.25] * 4
    mass = proportional(torch.tensor([0.0, 1.0, 3.0]))
    assert mass.sum().item() == pytest.approx(1, rel=1e-15)
    assert 0 < mass[0] < 1e-6
    assert mass[1:].tolist() == pytest.approx([0.25, 0.75], rel=1e-5)
    assert torch.equal(proportional(torch.zeros(3)), uniform(3))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("size", [3, 4])  # by an assignment, by POT
def test_costs_that_are_not_finite_end_it_in_a_sentence(value, size):
    cost = torch.ones(3, size, dtype=torch.float64)
    cost[1, 2] = value
    for solve in (exact, partial(sinkhorn, reg=0.1)):
        with pytest.raises(InputError, match=r"^fuse: neurons cannot be matched: .* costs are not finite"):
            solve(cost, uniform(3), uniform(size))


def test_parents_whose_activations_overflow_are_not_matched_by_them():
    networks = [build(10, model_type="VGG11_NOBIAS_NOBN", width=1 / 16) for _ in range(2)]
    parents = [{name: 1e30 * tensor for name, tensor in network.state_dict().items()} for network in networks]
    images = random_images(4, dtype=torch.float32)
    options = {"method": "optimal_transport", "align_by": "activations"}
    with pytest.raises(InputError, match="costs are not finite"):
        fuse(networks, parents, images=images, **options)
