"""Size, family-wise error, coverage and power of the statistics over seeds, by simulation.

    python benchmarks/size_and_power.py [--sets N] [--processes N] [--write docs/statistics.md]

Needs NumPy and SciPy alone. --sets 20 is for trying.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")  # processes run side by side instead

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from fusionscope.measurement import NOT_CENSORED, RIGHT
from fusionscope.statistics.correlation import decide
from fusionscope.statistics.pairs import pairs_within
from fusionscope.statistics.result import Correlation
from fusionscope.statistics.verdicts import LEVEL

SETS, PERMUTATIONS = 2000, 999
SETS_PER_TASK = 100
SEEDS, MODELS = (5, 7, 10, 20), (1, 4, 8)
FAMILY = 20  # metrics
RELATED = (0.5, 0.7, 0.9, 0.98)  # r of the first metrics with the outcome, before a scenario does its work
ALIKE, ALIKE_SHARE = 10, 0.8  # so many of the unrelated metrics have this share of their variance in common
INTRACLASS = 0.5  # the share of the variance that is between seeds
LOW = -0.6  # the outcome of 27 % of normal points is lower
TRUE_SEEDS, TRUE_SETS = 100, 1000  # of the sets that true values of tau are taken from
PERFECT_SEEDS, PERFECT_FAMILIES, PERFECT_SETS = (4, 5, 6, 7), (1, 15, 25, 35), 20
STRICT = 0.01
MOST_ERRORS, LEAST_COVERAGE, MANY_SEEDS = 0.06, 0.93, 10  # the aims


@dataclass(frozen=True)
class Scenario:
    """What data are like. Without any of it: normal, models of a seed independent of each other."""

    label: str
    heavy: bool = False  # Student's t with 2 degrees of freedom for the normal distribution
    ties: bool = False  # outcome and metrics are rounded to a few levels
    censored: bool = False  # at the end of a range, and by chance below the true value
    unequal: bool = False  # each model's spread is ten times that of the one before
    seed_effects: bool = False  # half of the variance of outcome and metrics is between seeds
    between_seeds: bool = False  # and it is only the seeds' parts that are related
    undefined: bool = False  # no value where the outcome is low
    collapse: bool = False  # in a seventh of the seeds all models collapse: outcome, and related metrics
    unconverged: bool = False  # half of the searches do not converge where the outcome is low
    experiments: int = 1


SCENARIOS = (
    Scenario("normal"),
    Scenario("heavy tails", heavy=True),
    Scenario("ties", ties=True),
    Scenario("censored", censored=True),
    Scenario("unequal spread between models", unequal=True),
    Scenario("seed effects", seed_effects=True),
    Scenario("seed effects, related between seeds alone", seed_effects=True, between_seeds=True),
    Scenario("seed effects, two experiments", seed_effects=True, experiments=2),
    Scenario("undefined where the outcome is low", undefined=True),
    Scenario("some seeds collapse", collapse=True),
    Scenario(
        "heavy tails, ties, censored, seed effects, undefined where the outcome is low",
        heavy=True, ties=True, censored=True, seed_effects=True, undefined=True,
    ),
    Scenario("searches that do not converge where the outcome is low", unconverged=True),
)  # fmt: skip
WITHOUT_PROMISE = SCENARIOS[-1]


@dataclass(frozen=True)
class Cell:
    """Data of one kind and size."""

    scenario: Scenario
    seeds: int  # of each experiment
    models: int


@dataclass(frozen=True)
class Study:
    """Values and what is censored (metrics, strata, seeds), and the outcome (strata, seeds)."""

    values: np.ndarray
    censored: np.ndarray
    outcome: np.ndarray


def draw(cell: Cell, related: Sequence[float], unrelated: int, stream: np.random.Generator) -> Study:
    """A study whose first metrics are related to the outcome, and the others not."""
    parts = [one_experiment(cell, related, unrelated, stream) for _ in range(cell.scenario.experiments)]
    if len(parts) == 1:
        return parts[0]
    strata, seeds = cell.models, cell.seeds
    shape = (len(parts) * strata, len(parts) * seeds)
    metrics = (len(related) + unrelated, *shape)
    study = Study(np.full(metrics, np.nan), np.full(metrics, NOT_CENSORED, "<U5"), np.full(shape, np.nan))
    for i, part in enumerate(parts):
        where = slice(i * strata, (i + 1) * strata), slice(i * seeds, (i + 1) * seeds)
        study.values[:, *where], study.censored[:, *where] = part.values, part.censored
        study.outcome[where] = part.outcome
    return study


def one_experiment(
    cell: Cell, related: Sequence[float], unrelated: int, stream: np.random.Generator
) -> Study:
    r = np.array([*related, *[0.0] * unrelated]).reshape(-1, 1, 1)
    outcome, metric, alike = (noise(cell, count, stream) for count in (1, len(r), 1))
    first = slice(len(related), len(related) + min(unrelated, ALIKE))
    for part, common in zip(metric, alike, strict=True):
        part[first] = np.sqrt(ALIKE_SHARE) * common + np.sqrt(1 - ALIKE_SHARE) * part[first]
    mixed = [r * y + np.sqrt(1 - r**2) * x for x, y in zip(metric, outcome, strict=True)]
    if cell.scenario.between_seeds:
        mixed[1] = metric[1]
    x, y = sum(mixed), sum(outcome)[0]
    if cell.scenario.collapse:
        fall = 8.0 * (stream.random(cell.seeds) < 1 / 7)
        x, y = x - (r > 0) * fall, y - fall
    return spoilt(cell.scenario, x, y, stream)


def noise(cell: Cell, count: int, stream: np.random.Generator) -> list[np.ndarray]:
    """The seeds' own part (count, 1, seeds), and that of each model (count, models, seeds)."""
    between = INTRACLASS if cell.scenario.seed_effects else 0.0
    parts = []
    for models, share in ((1, between), (cell.models, 1 - between)):
        shape = (count, models, cell.seeds)
        drawn = stream.standard_t(2, shape) if cell.scenario.heavy else stream.normal(size=shape)
        parts.append(np.sqrt(share) * drawn)
    return parts


def spoilt(scenario: Scenario, x: np.ndarray, y: np.ndarray, stream: np.random.Generator) -> Study:
    """What a scenario makes of metrics (metrics, models, seeds) and outcome (models, seeds)."""
    censored, low = np.full(x.shape, NOT_CENSORED, dtype="<U5"), y < LOW
    if scenario.censored or scenario.unconverged:
        stopped = stream.random(x.shape) < (0.1 if scenario.censored else 0.5 * low)
        x = np.where(stopped, x - np.abs(stream.normal(size=x.shape)), x)
        censored[stopped] = RIGHT
    if scenario.censored:
        end = 0.8
        x, censored = np.minimum(x, end), np.where(x > end, RIGHT, censored)
    if scenario.undefined:
        x = np.where(low, np.nan, x)
    if scenario.ties:
        x, y = np.round(2 * x), np.round(1.5 * y)
    if scenario.unequal:
        spread = 10.0 ** np.arange(len(y)).reshape(-1, 1)
        x, y = spread * x, spread * y
    return Study(x, censored, y)


def true_taus(scenario: Scenario) -> tuple[float, ...]:
    """What tau tends to with many seeds, for an unrelated metric and those with RELATED.

    Pairs whose order is not known are not in it, as they are not in tau; for normal metrics without any, it
    is 2/pi arcsin(r).
    """
    cell, stream = Cell(scenario, TRUE_SEEDS, 1), np.random.default_rng(0)
    total = np.zeros((3, 1 + len(RELATED)))
    for _ in range(TRUE_SETS):
        study = one_experiment(cell, (0.0, *RELATED), 0, stream)
        pairs = pairs_within(study.values, study.censored, study.outcome)
        outcome = pairs.outcome[pairs.stratum, pairs.first, pairs.second].astype(int)
        total[0] += (pairs.metric * outcome).sum(axis=1)
        total[1] += np.abs(pairs.metric).sum(axis=1, dtype=int)
        total[2] += (pairs.known * np.abs(outcome)).sum(axis=1)
    return tuple(total[0] / np.sqrt(total[1] * total[2]))


def judged(study: Study, experiments: int) -> list[Correlation]:
    """Kendall's tau of each metric, with its p-values and its interval."""
    none = np.zeros(len(study.values), dtype=bool)
    return decide(study.values, study.outcome, study.censored, none, experiments, PERMUTATIONS)


COUNTED = (
    "size", "strict size", "family-wise",
    *(f"{what} {r}" for what in ("coverage", "width", "apart") for r in (0, *RELATED)),
    *(f"power {r}" for r in RELATED),
)  # fmt: skip


@dataclass(frozen=True)
class Task:
    """Some sets of a cell."""

    cell: Cell
    number: int
    sets: int
    taus: tuple[float, ...]  # the true ones


def simulate(task: Task) -> np.ndarray:
    """Columns of COUNTED (sets, columns)."""
    cell, experiments = task.cell, task.cell.scenario.experiments
    place = (SCENARIOS.index(cell.scenario), cell.seeds, cell.models, task.number)
    stream = np.random.default_rng(place)
    rows = []
    for _ in range(task.sets):
        unrelated = judged(draw(cell, (), FAMILY, stream), experiments)
        related = judged(draw(cell, RELATED, FAMILY - len(RELATED), stream), experiments)[: len(RELATED)]
        with_interval = [unrelated[0], *related]
        rows.append([*errors(unrelated), *ends(with_interval, task.taus), *map(is_shown, related)])
    return np.array(rows, dtype=float)


def errors(unrelated: list[Correlation]) -> list[float]:
    """Shares of small p-values, at both levels, and whether any of the family is small."""
    tested = [found for found in unrelated if found.p_value is not None]
    if not tested:
        return [np.nan, np.nan, 0.0]
    shares = [np.mean([found.p_value <= level for found in tested]) for level in (LEVEL, STRICT)]
    return [*shares, any(map(is_shown, tested))]


def is_shown(found: Correlation) -> bool:
    return found.p_adjusted is not None and found.p_adjusted < LEVEL


def ends(found: list[Correlation], taus: Sequence[float]) -> list[float]:
    """Of each interval: whether it holds the true tau, its width, and whether the p-value contradicts it."""
    given = [one.low is not None for one in found]
    holds = [one.low <= tau <= one.high if known else np.nan
             for one, tau, known in zip(found, taus, given, strict=True)]  # fmt: skip
    widths = [one.high - one.low if known else np.nan for one, known in zip(found, given, strict=True)]
    apart = [contradict(one) if known else np.nan for one, known in zip(found, given, strict=True)]
    return [*holds, *widths, *apart]


def contradict(found: Correlation) -> bool:
    """Zero is inside the interval at p < 0.01, or outside at p > 0.1."""
    inside = found.low <= 0 <= found.high
    return found.p_value < STRICT if inside else found.p_value > 2 * LEVEL


def run(sets: int, processes: int | None) -> tuple[dict[Cell, np.ndarray], dict[Scenario, tuple[float, ...]]]:
    """Columns of COUNTED (sets, columns) for every cell, and the true taus of every scenario."""
    cells = [Cell(scenario, seeds, models) for scenario in SCENARIOS for seeds in SEEDS for models in MODELS]
    sizes = [min(SETS_PER_TASK, sets - start) for start in range(0, sets, SETS_PER_TASK)]
    longest_first = sorted(cells, key=lambda cell: -cell.seeds * cell.models * cell.scenario.experiments)
    found: dict[Cell, list[np.ndarray]] = {cell: [] for cell in cells}
    with ProcessPoolExecutor(processes) as pool:
        taus = dict(zip(SCENARIOS, pool.map(true_taus, SCENARIOS), strict=True))
        tasks = [
            Task(cell, number, size, taus[cell.scenario])
            for cell in longest_first
            for number, size in enumerate(sizes)
        ]
        for task, rows in zip(tasks, pool.map(simulate, tasks), strict=True):
            found[task.cell].append(rows)
    return {cell: np.concatenate(rows) for cell, rows in found.items()}, taus


@dataclass(frozen=True)
class Estimate:
    """The mean of one of COUNTED in a cell, and its Monte Carlo error."""

    cell: Cell
    what: str
    mean: float
    error: float

    def __str__(self) -> str:
        return f"{self.mean:.2f}" if self.what.startswith("width") else percent(self.mean)


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def estimates(found: dict[Cell, np.ndarray]) -> list[Estimate]:
    results = []
    for cell, rows in found.items():
        for what, column in zip(COUNTED, rows.T, strict=True):
            numbers = column[~np.isnan(column)]
            if len(numbers) > 1:
                error = numbers.std(ddof=1) / np.sqrt(len(numbers))
                results.append(Estimate(cell, what, float(numbers.mean()), float(error)))
    return results


INTRODUCTION = """# Do the statistics hold?

How often the statistics over seeds find what is not there, how often their intervals hold the truth, and
how often they find what is there. {sets:,} made-up studies a cell; {permutations} permutations each, or all
orders where they are at most 50,000. This page is made by

    python benchmarks/size_and_power.py --sets {sets} --write docs/statistics.md

- *size*: the share of p-values of at most 5 % (1 %), one metric at a time, of metrics that have nothing to
  do with the outcome. Few seeds have few orders, so that not every level can be reached.
- *family-wise*: the share of studies in which any of {family} such metrics, {alike} of which are much alike,
  has an adjusted p-value below 5 %.
- *coverage*: the share of 95 % intervals that hold the true tau, and *width*, their mean, of metrics that
  are related to the outcome by r before the scenario does its work. True is what tau tends to with many
  seeds.
- *power*: the share of studies in which such a metric, in a family of {family}, has an adjusted p-value
  below 5 %.

What is computed: Kendall's tau over strata, of pairs of seeds whose order is known; p-values from
permutations of whole seeds; adjusted p-values from the smallest p-value of the family in each permutation
(Westfall & Young's min P, which is never worse than Bonferroni's: so it can be said how many seeds would
do); intervals from an inverted test. How and why is said where it is done, in
[scripts/fusionscope/statistics/](../scripts/fusionscope/statistics).

The aims: size at 5 % and family-wise error of at most 6 %; coverage of at least 93 % with 10 seeds or more.
All numbers are in per cent, but for widths.
"""


def page(found: dict[Cell, np.ndarray], taus: dict[Scenario, tuple[float, ...]], sets: int) -> str:
    """Markdown: what is counted, how it compares with the aims, and a table for each scenario."""
    every = estimates(found)
    words = INTRODUCTION.format(sets=sets, permutations=PERMUTATIONS, family=FAMILY, alike=ALIKE)
    promised = [one for one in every if one.cell.scenario != WITHOUT_PROMISE]
    lines = [words, *perfect_orders(), "", *summary(promised)]
    for scenario in SCENARIOS:
        lines += [
            "",
            *table(scenario, [one for one in every if one.cell.scenario == scenario], taus[scenario]),
        ]
    return "\n".join(lines) + "\n"


def perfect_orders() -> list[str]:
    """What so many seeds can show at best: a table of adjusted p-values of a perfect order."""
    lines = [
        "## What a perfect order shows",
        "",
        "The adjusted p-value of a metric in the very order of the outcome, in families of so many "
        f"independent metrics of one model (mean of {PERFECT_SETS} sets):",
        "",
        "| seeds | " + " | ".join(f"{size} metrics" for size in PERFECT_FAMILIES) + " |",
        "| --: |" + " --: |" * len(PERFECT_FAMILIES),
    ]
    for seeds in PERFECT_SEEDS:
        means = [np.mean([perfect_order(size, seeds, number) for number in range(PERFECT_SETS)])
                 for size in PERFECT_FAMILIES]  # fmt: skip
        lines.append(f"| {seeds} | " + " | ".join(f"{mean:.4f}" for mean in means) + " |")
    return lines


def perfect_order(metrics: int, seeds: int, number: int) -> float:
    values = np.random.default_rng((metrics, seeds, number)).normal(size=(metrics, 1, seeds))
    study = Study(values, np.full(values.shape, NOT_CENSORED), values[0])
    p_adjusted = judged(study, 1)[0].p_adjusted
    assert p_adjusted is not None
    return p_adjusted


def summary(every: list[Estimate]) -> list[str]:
    """The worst cells, and those that miss an aim by more than twice their Monte Carlo error."""
    wrong = [one for one in every if one.what in ("size", "family-wise")]
    covered = [one for one in every if one.what.startswith("coverage")]
    with_many = [one for one in covered if one.cell.seeds >= MANY_SEEDS]
    with_few = [one for one in covered if one.cell.seeds < MANY_SEEDS]
    apart = max((one for one in every if one.what.startswith("apart")), key=mean_of)
    missed = [one for one in wrong if one.mean - 2 * one.error > MOST_ERRORS]
    missed += [one for one in with_many if one.mean + 2 * one.error < LEAST_COVERAGE]
    return [
        "## In short",
        "",
        f"- Largest size or family-wise error: {described(max(wrong, key=mean_of))}.",
        f"- Smallest coverage with 10 seeds or more: {described(min(with_many, key=mean_of))}.",
        f"- Smallest coverage with fewer: {described(min(with_few, key=mean_of))}.",
        f"- Zero lies inside an interval at p < 0.01, or outside at p > 0.1, most often: {described(apart)}.",
        "- Aims that are missed by more than twice the Monte Carlo error: "
        + ("; ".join(map(described, missed)) or "none")
        + ".",
        "",
        "This leaves out the last scenario, of which nothing is promised.",
    ]


def mean_of(one: Estimate) -> float:
    return one.mean


def described(one: Estimate) -> str:
    size = f"{one.cell.seeds} seeds, {one.cell.models} models"
    return f"{one} ± {percent(one.error)} % ({one.what}; {one.cell.scenario.label}; {size})"


SHOWN = tuple(what for what in COUNTED if not what.startswith("apart"))
NO_PROMISE = """
Where searches stop early because the outcome is low, the outcome chooses which pairs have a known order: no
statistic that takes censoring for an accident can hold.
"""


def table(scenario: Scenario, of_scenario: list[Estimate], taus: tuple[float, ...]) -> list[str]:
    names = [what.replace("strict size", "size at 1 %") for what in SHOWN]
    truth = ", ".join(f"{tau:z.2f} at r = {r}" for r, tau in zip((0, *RELATED), taus, strict=True))
    error = percent(max(one.error for one in of_scenario if not one.what.startswith("width")))
    lines = [
        f"## {scenario.label[0].upper()}{scenario.label[1:]}",
        NO_PROMISE if scenario == WITHOUT_PROMISE else "",
        f"True tau: {truth}. Largest Monte Carlo error: {error} %.",
        "",
        "| seeds | models | " + " | ".join(names) + " |",
        "| --: | --: |" + " --: |" * len(names),
    ]
    for cell in dict.fromkeys(one.cell for one in of_scenario):
        numbers = {one.what: str(one) for one in of_scenario if one.cell == cell}
        cells = [str(cell.seeds), str(cell.models), *(numbers.get(what, "") for what in SHOWN)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", type=int, default=SETS, help="made-up studies a cell")
    parser.add_argument("--processes", type=int, help="default: one for each core")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="instead of printing it")
    arguments = parser.parse_args()
    text = page(*run(arguments.sets, arguments.processes), arguments.sets)
    if arguments.write:
        arguments.write.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
