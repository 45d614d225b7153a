"""Coverage of the statistics over settings, and errors of those over seeds within settings, by simulation.

    python benchmarks/over_settings.py [--sets N] [--write docs/statistics_over_settings.md]

Needs NumPy and SciPy alone. --sets 20 is for trying.
"""

import argparse
import itertools
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")  # processes run side by side instead

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from fusionscope.measurement import NOT_CENSORED
from fusionscope.statistics.correlation import decide
from fusionscope.statistics.granulated import comparisons, granulated, neighbours, over_settings
from fusionscope.statistics.verdicts import LEVEL

SETS = 500
SEEDS = (5, 7, 10)
FAMILY = 20  # metrics: half of them follow the outcome over settings, by these shares
SHARES = (0.0, 0.3, 0.6, 0.9, 1.0)
TRUE_SEEDS = 4000  # of which true values are taken
PERMUTATIONS = 999
GRIDS = {
    "3 x 3": list(itertools.product(range(3), range(3))),
    "3 x 4": list(itertools.product(range(3), range(4))),
}

PAGE = """# Do the statistics over settings hold?

Made-up sweeps, {sets} of each kind, with {family} metrics each: a metric's level in a setting is its share
of the outcome's level and the rest of its own, and seeds add noise to both. True values are those of
{true_seeds} seeds of the very same settings: what is said is conditional on them. This page is made by

    python benchmarks/over_settings.py --sets {sets} --write docs/statistics_over_settings.md

- *granulated*: the share of 95 % intervals of granulated Kendall that hold the truth; *smallest*: of the
  shares of the outcome's level ({shares}), the one with the lowest coverage; *all at once*: the share of
  sweeps in which the intervals for the whole family hold the truth of all its metrics.
- *sign error*: the share of intervals of the worst pair's sign error that hold the truth, in the direction
  that the sample has.
- *family-wise*: the share of sweeps in which any metric that has nothing to do with the outcome *within*
  settings has an adjusted p-value below 5 % there, by permuting whole seeds in all settings at once. The
  metrics' levels do follow the outcome's over settings, which must not pass for a relation over seeds.

All in per cent; the Monte Carlo error is at most {error:.1f}. Aims: at least 93 for coverage, at most 6 for
family-wise errors.

"""


@dataclass(frozen=True)
class Scenario:
    """What seeds do. Without any of it: normal noise, as large as the levels' spread, new in each setting."""

    label: str
    noise: float = 1.0  # its spread over that of the levels
    heavy: bool = False  # Student's t with 2 degrees of freedom
    seed_effects: bool = False  # half of the noise's variance is a seed's in all settings alike
    ties: bool = False  # outcome and metrics are rounded, and the outcome has a floor
    collapse: bool = False  # one seed in seven is far worse in all settings


SCENARIOS = (
    Scenario("normal"),
    Scenario("little noise", noise=0.2),
    Scenario("much noise", noise=4.0),
    Scenario("heavy tails", heavy=True),
    Scenario("seed effects", seed_effects=True),
    Scenario("ties and a floor", ties=True),
    Scenario("some seeds collapse", seed_effects=True, collapse=True),
)


def levels(settings: int, stream: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Of the metrics (metrics, settings) and of the outcome (settings,)."""
    outcome = stream.normal(size=settings)
    share = np.resize(SHARES, FAMILY)[:, np.newaxis]
    return share * outcome + np.sqrt(1 - share**2) * stream.normal(size=(FAMILY, settings)), outcome


def noise(scenario: Scenario, settings: int, seeds: int, stream: np.random.Generator) -> np.ndarray:
    """Of the outcome and the metrics (1 + metrics, settings, seeds), unrelated to each other."""

    def drawn(*shape: int) -> np.ndarray:
        return stream.standard_t(2, shape) if scenario.heavy else stream.normal(size=shape)

    own = drawn(1 + FAMILY, settings, seeds)
    if scenario.seed_effects:
        own = np.sqrt(0.5) * own + np.sqrt(0.5) * drawn(1 + FAMILY, 1, seeds)
    if scenario.collapse:
        own[0] -= 8 * (stream.random(seeds) < 1 / 7)
    return scenario.noise * own


def study(
    scenario: Scenario, x: np.ndarray, y: np.ndarray, seeds: int, stream: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Metrics (metrics, settings, seeds) and outcome (settings, seeds) around their levels."""
    own = noise(scenario, len(y), seeds, stream)
    values, outcome = x[:, :, np.newaxis] + own[1:], y[:, np.newaxis] + own[0]
    if scenario.ties:
        values, outcome = np.round(values), np.maximum(np.round(2 * outcome) / 2, -0.5)
    return values, outcome


def exact(values: np.ndarray) -> np.ndarray:
    return np.full(values.shape, NOT_CENSORED, dtype="<U5")


def one_set(task: tuple[str, Scenario, int, int]) -> dict[str, np.ndarray]:
    """What held in one made-up sweep."""
    grid, scenario, seeds, number = task
    stream = np.random.default_rng([number, seeds, SCENARIOS.index(scenario), list(GRIDS).index(grid)])
    settings, pairs = GRIDS[grid], neighbours(GRIDS[grid])
    x, y = levels(len(settings), stream)
    large = study(scenario, x, y, TRUE_SEEDS, stream)
    products, known, compared = comparisons(*large, exact(large[0]), pairs)
    truth = np.nanmean(granulated(products, known, pairs.axis), axis=1)
    values, outcome = study(scenario, x, y, seeds, stream)
    found = over_settings(values, outcome, pairs, censored=exact(values))
    way = np.where(found.value < 0, -1, 1)[:, np.newaxis, np.newaxis]
    share = (np.where(compared, 1 - way * products, 0) / 2).sum(axis=2) / np.maximum(compared.sum(axis=2), 1)
    worst = np.where(compared.any(axis=2), share, 0).max(axis=1)
    within = decide(values, outcome, exact(values), np.zeros(FAMILY, dtype=bool), 1, PERMUTATIONS)
    adjusted = [metric.p_adjusted for metric in within if metric.p_adjusted is not None]
    return {
        "granulated": (found.low <= truth) & (truth <= found.high),
        "all": np.array([((found.family_low <= truth) & (truth <= found.family_high)).all()]),
        "sign": (found.sign_error_low <= worst) & (worst <= found.sign_error_high),
        "family": np.array([min(adjusted, default=1.0) < LEVEL]),
    }


def cells(sets: int, processes: int) -> Iterator[str]:
    """The rows of the table."""
    yield "| settings | seeds | noise | granulated | smallest | all at once | sign error | family-wise |"
    yield "| --- | --: | --- | --: | --: | --: | --: | --: |"
    with ProcessPoolExecutor(processes) as pool:
        for grid, seeds, scenario in itertools.product(GRIDS, SEEDS, SCENARIOS):
            tasks = [(grid, scenario, seeds, number) for number in range(sets)]
            held = list(pool.map(one_set, tasks, chunksize=10))
            together = {name: np.stack([one[name] for one in held]) for name in held[0]}
            by_share = together["granulated"].reshape(sets, -1, len(SHARES)).mean(axis=(0, 1))
            numbers = [
                together["granulated"].mean(),
                by_share.min(),
                together["all"].mean(),
                together["sign"].mean(),
                together["family"].mean(),
            ]
            shown = " | ".join(f"{100 * number:.1f}" for number in numbers)
            line = f"| {grid} | {seeds} | {scenario.label} | {shown} |"
            print(line, flush=True)
            yield line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=SETS)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    lines = list(cells(arguments.sets, arguments.processes))
    page = PAGE.format(
        sets=arguments.sets,
        family=FAMILY,
        true_seeds=TRUE_SEEDS,
        shares=", ".join(f"{share:g}" for share in SHARES),
        error=100 * np.sqrt(0.25 / arguments.sets),
    )
    text = page + "\n".join(lines) + "\n"
    if arguments.write:
        arguments.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
