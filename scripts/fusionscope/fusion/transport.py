"""Couplings: which neurons of A go to which of B at the smallest cost (optimal transport, assignment)."""

from collections.abc import Callable

import torch
from torch import Tensor

from fusionscope.errors import InputError

Solver = Callable[[Tensor, Tensor, Tensor], Tensor]  # cost (n, m), masses (n,) and (m,) -> coupling (n, m)
MOST_ITERATIONS = 1000  # of Sinkhorn
SMALLEST_MASS = 1e-6  # of the mean, so that a dead neuron of B still receives something


def exact(cost: Tensor, mass_a: Tensor, mass_b: Tensor) -> Tensor:
    """The coupling (n, m) of masses (n,) and (m,) with the smallest total `cost` (n, m).

    Equal numbers of equal masses: an assignment (Peyre & Cuturi 2019, proposition 2.1), for which SciPy's
    solver (Crouse 2016) takes a third of the time of POT's network simplex, which solves all else. Raises
    InputError for costs that are not finite.
    """
    check_finite(cost)
    n, m = cost.shape
    if n == m and bool((mass_a == mass_a[0]).all() and (mass_b == mass_b[0]).all()):
        coupling = torch.zeros(n, m, dtype=torch.float64)
        coupling[torch.arange(n), assignment(cost)] = 1 / n
        return coupling
    import ot  # here: its import is slow, and most fusions do without

    masses = mass_a.numpy(), mass_b.numpy()
    return torch.from_numpy(ot.emd(*masses, cost.double().cpu().numpy(), numItermax=10_000_000))


def assignment(cost: Tensor) -> Tensor:
    """(n,): for each row its column, one to one, at the smallest total cost."""
    from scipy.optimize import linear_sum_assignment  # here: averaging does without

    return torch.from_numpy(linear_sum_assignment(cost.cpu().numpy())[1])


def sinkhorn(cost: Tensor, mass_a: Tensor, mass_b: Tensor, *, reg: float) -> Tensor:
    """The coupling (n, m) with the smallest total cost minus `reg` times its entropy (Cuturi 2013).

    `reg` is in units of the cost: the smaller, the nearer to `exact`, and the more iterations. In the log
    domain, so that no `reg` underflows. Below a hundredth or so of the cost's spread the last iteration
    comes first: one side's masses are then a few per cent off, and maps normalise them away. Raises
    InputError for costs that are not finite.
    """
    check_finite(cost)
    import ot

    masses = mass_a.numpy(), mass_b.numpy()
    plan = ot.sinkhorn(
        *masses,
        cost.double().cpu().numpy(),
        reg,
        method="sinkhorn_log",
        numItermax=MOST_ITERATIONS,
        stopThr=1e-6,
        warn=False,
    )
    return torch.from_numpy(plan)


def check_finite(cost: Tensor) -> None:
    """Raise InputError unless all costs (n, m) are finite."""
    if not cost.isfinite().all():
        raise InputError(
            "fuse: neurons cannot be matched: their weights or activations are so large that costs are not "
            "finite; train the parents again, with a smaller learning_rate or clip_norm"
        )


def uniform(size: int) -> Tensor:
    """(size,) equal masses that add to one."""
    return torch.full((size,), 1 / size, dtype=torch.float64)


def proportional(importance: Tensor) -> Tensor:
    """(n,) masses in proportion to `importance` (n,) >= 0, none quite zero, that add to one."""
    importance = importance.double().cpu()
    if not importance.any():
        return uniform(len(importance))
    mass = importance + SMALLEST_MASS * importance.mean()
    return mass / mass.sum()
