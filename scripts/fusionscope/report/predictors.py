"""The table of predictors: which property of parents, or of a pair, tells how good their fusion will be."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fusionscope.measurement import LEFT, NOT_CENSORED, RIGHT
from fusionscope.measures.names import ACCURACY, BARRIER, HIGHER, METRICS, PAIR, PARENTS
from fusionscope.report.parents import is_parent
from fusionscope.report.sweep_table import outcomes_of
from fusionscope.statistics.correlation import correlations
from fusionscope.statistics.describe import partial_tau
from fusionscope.statistics.granulated import Neighbours, neighbours, over_settings
from fusionscope.statistics.kendall import kendall
from fusionscope.statistics.pairs import pairs_within
from fusionscope.statistics.verdicts import over_settings_verdict

MEAN, WORST = "parents' mean", "worse parent"
OF_PAIR, OF_ALIGNMENT, HYPERPARAMETER = "pair", "alignment", "hyperparameter"
DECIMALS = 12  # of a difference of accuracies
FEWEST_SEEDS = 5  # of a setting, for statistics over settings
# Outcomes of a child, of which more is better after the sign; and what in METRICS says each in other words.
SIGNS = {"accuracy": 1.0, "relative_accuracy": 1.0, "loss_barrier": -1.0}
PART_OF = {"relative_accuracy": ACCURACY, "loss_barrier": BARRIER}
ENSEMBLE, LOSS_DIFFERENCE = "parents_ensemble_accuracy", "parents_loss_difference"
PREDICTOR_COLUMNS = [
    "study", "model", "outcome", "of", "space", "metric", "restates",
    "tau", "p_value", "p_adjusted", "low", "high", "n", "n_seeds", "partial_tau", "verdict", "reason",
    "granulated_tau", "granulated_low", "granulated_high", "sign_error", "sign_error_low", "sign_error_high",
    "worst_settings", "settings_verdict",
]  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """Where the numbers of a study lie: settings by seeds; one setting where nothing is swept."""

    settings: list[str]
    seeds: list[int]

    def grid(self, rows: pd.DataFrame, column: str, missing: Any = np.nan) -> np.ndarray:
        """A `column` (settings, seeds) of `rows`, which have one row for each experiment and seed at most."""
        table = rows.pivot(index="experiment", columns="seed", values=column)
        return table.reindex(index=self.settings, columns=self.seeds).fillna(missing).to_numpy()


def predictor_table(
    measurements: pd.DataFrame, points: Mapping[str, Mapping[str, Any]], study: str
) -> pd.DataFrame:
    """A row for each fusion, outcome and predictor, the most telling first.

    `measurements`: tidy rows (measurement.COLUMNS) of one experiment or of all settings of a sweep, called
    `study`; `points`: the settings by experiment, each with the `values` of its axes as text and its
    `fusions` (sweep_table). Outcomes are those of SIGNS, predictors the metrics of the parents (their mean,
    and the worse of them where it is known which way is worse), of the pair, of the alignment, and numbers
    that are swept. `tau`: Kendall's over seeds within settings, tested by permuting whole seeds, in all
    settings at once; `partial_tau`: the same given the parents' mean accuracy (the hyperparameters are given
    already, within a setting). `granulated_tau` and `sign_error`: over settings (statistics.granulated),
    with at least FEWEST_SEEDS seeds. What restates an outcome, or is part of it, is in no family.
    """
    layout = Layout(list(points), sorted(set(measurements.seed)))
    shared = pd.concat([of_parents(measurements), of_pair(measurements), of_axes(points, layout)])
    outcomes = outcomes_of(measurements).reset_index()
    accuracy = mean_accuracy(outcomes, layout)
    pairs = neighbours([tuple(point["values"].values()) for point in points.values()])
    rows = []
    for child in children_of(points):
        known = pd.concat([shared, of_alignment(measurements, child)])
        of_child = outcomes[outcomes.model == child]
        for outcome, sign in SIGNS.items():
            found = child_outcome(of_child, outcome, accuracy, layout)
            if found is None or np.isnan(found).all():
                continue
            who = {"study": study, "model": child, "outcome": outcome}
            rows += [who | row for row in rows_of(known, sign * found, outcome, accuracy, layout, pairs)]
    table = pd.DataFrame(rows, columns=PREDICTOR_COLUMNS)
    return ranked(table.astype({"tau": float, "granulated_tau": float}))


def children_of(points: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(child for point in points.values() for child in point["fusions"]))


def ranked(table: pd.DataFrame) -> pd.DataFrame:
    """Predictors before what restates the outcome, by the size of the coefficient over settings where there
    is one, else of that over seeds; models and outcomes as they come."""
    strength = table.granulated_tau.abs() if table.granulated_tau.notna().any() else table.tau.abs()
    order = table.assign(
        place=table.groupby(["model", "outcome"], sort=False).ngroup(),
        apart=table.restates.astype(bool),
        weakness=-strength.fillna(-1.0),
    ).sort_values(["place", "apart", "weakness"], kind="stable")
    return table.loc[order.index].reset_index(drop=True)


# outcomes


def mean_accuracy(outcomes: pd.DataFrame, layout: Layout) -> np.ndarray:
    """The parents' mean test accuracy (settings, seeds)."""
    if "accuracy" not in outcomes:
        return np.full((len(layout.settings), len(layout.seeds)), np.nan)
    parents = outcomes[outcomes.model.map(is_parent)]
    means = parents.groupby(["experiment", "seed"]).accuracy.mean().reset_index()
    return layout.grid(means, "accuracy")


def child_outcome(
    of_child: pd.DataFrame, outcome: str, accuracy: np.ndarray, layout: Layout
) -> np.ndarray | None:
    """An outcome (settings, seeds) of one child, as measured; None where it is not."""
    column = "accuracy" if outcome == "relative_accuracy" else outcome
    if column not in of_child:
        return None
    found = layout.grid(of_child, column)
    # rounded, so that equal differences of shares of images are equal
    return np.round(found - accuracy, DECIMALS) if outcome == "relative_accuracy" else found


# predictors: rows of experiment, seed, of, space, metric, value, censored


def of_parents(measurements: pd.DataFrame) -> pd.DataFrame:
    """The mean of a seed's parents, and the worse one."""
    parents = measurements[measurements.model.map(is_parent)]
    keys = ["experiment", "seed", "space", "metric"]
    rows = []
    for (experiment, seed, space, metric), each in parents.groupby(keys, sort=False):
        values, censored = each.value.to_numpy(dtype=float), each.censored.to_numpy()
        who = {"experiment": experiment, "seed": seed, "space": space, "metric": metric}
        value, bound = mean_of(values, censored)
        rows.append({**who, "of": MEAN, "value": value, "censored": bound})
        direction = METRICS[str(metric)].direction if metric in METRICS else None
        if direction is not None:
            value, bound = worst_of(values, censored, largest=direction != HIGHER)
            rows.append({**who, "of": WORST, "value": value, "censored": bound})
    return pd.DataFrame(rows)


def mean_of(values: np.ndarray, censored: np.ndarray) -> tuple[float, str]:
    """The mean, a bound where some values are bounds on one side; NaN where they are on both."""
    sides = set(censored) - {NOT_CENSORED}
    if len(sides) > 1:
        return np.nan, NOT_CENSORED
    return float(values.mean()), next(iter(sides), NOT_CENSORED)


def worst_of(values: np.ndarray, censored: np.ndarray, *, largest: bool) -> tuple[float, str]:
    """The largest value, or the smallest, and on which side of it the true one lies."""
    if np.isnan(values).any():
        return np.nan, NOT_CENSORED
    pick, open_side, end = (np.max, RIGHT, LEFT) if largest else (np.min, LEFT, RIGHT)
    extreme = float(pick(values))
    if (censored == open_side).any():  # beyond what is known
        return extreme, open_side
    at_extreme = censored[values == extreme]
    return extreme, end if (at_extreme == end).all() else NOT_CENSORED


def of_pair(measurements: pd.DataFrame) -> pd.DataFrame:
    """What was measured of the parents together, and their ensemble."""
    together = measurements[(measurements.model == PARENTS) & (measurements.space == PAIR)]
    ensemble = measurements[measurements.metric == ENSEMBLE].drop_duplicates(["experiment", "seed"])
    return pd.concat([together, ensemble]).assign(of=OF_PAIR)


def of_alignment(measurements: pd.DataFrame, child: str) -> pd.DataFrame:
    rows = measurements[(measurements.model == child) & (measurements.space == PAIR)]
    return rows.assign(of=OF_ALIGNMENT)


def of_axes(points: Mapping[str, Mapping[str, Any]], layout: Layout) -> pd.DataFrame:
    """The hyperparameters that are swept, where they are numbers."""
    rows = [
        {"experiment": setting, "seed": seed, "of": HYPERPARAMETER, "space": "", "metric": axis}
        | {"value": float(value), "censored": NOT_CENSORED}
        for setting, point in points.items()
        for axis, value in point["values"].items()
        if all(is_number(other["values"][axis]) for other in points.values())
        for seed in layout.seeds
    ]
    return pd.DataFrame(rows)


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# statistics


def rows_of(
    known: pd.DataFrame,
    outcome: np.ndarray,
    name: str,
    accuracy: np.ndarray,
    layout: Layout,
    pairs: Neighbours,
) -> Iterable[dict[str, Any]]:
    """A row for each predictor among `known`, of an `outcome` (settings, seeds) of which more is better."""
    groups = list(known.groupby(["of", "space", "metric"], sort=False))
    values = np.stack([layout.grid(rows, "value") for _, rows in groups]).astype(float)
    censored = np.stack([layout.grid(rows, "censored", NOT_CENSORED) for _, rows in groups]).astype("<U5")
    said = np.array([is_said(str(of), str(metric), name) for (of, _, metric), _ in groups])
    seeds = correlations(values, outcome, censored=censored, restates=said)
    partial = partial_tau(*(taus(values, censored, outcome, accuracy)))
    settings = settings_rows(values, outcome, censored, said, layout, pairs)
    return [
        {"of": of, "space": space, "metric": metric, "restates": bool(said[i])}
        | row_of_seeds(seeds[i]["kendall"])
        | {"partial_tau": None if metric == "accuracy" and of == MEAN else partial[i]}
        | settings[i]
        for i, ((of, space, metric), _) in enumerate(groups)
    ]


def is_said(of: str, metric: str, outcome: str) -> bool:
    """Whether a predictor says an outcome in other words, or is part of its definition."""
    if metric == ENSEMBLE:
        return True
    if outcome == "loss_barrier" and metric == LOSS_DIFFERENCE:
        return True
    if outcome not in PART_OF or of not in (MEAN, WORST) or metric not in METRICS:
        return False
    return PART_OF[outcome] in METRICS[metric].restates


def taus(
    values: np.ndarray, censored: np.ndarray, outcome: np.ndarray, given: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Kendall's tau within settings: of each metric with the outcome and with `given`, and of these two.

    Over the seeds that have all three.
    """
    both = ~np.isnan(outcome) & ~np.isnan(given)
    y, z = np.where(both, outcome, np.nan), np.where(both, given, np.nan)
    exact = np.full((1, *y.shape), NOT_CENSORED)
    with_outcome, with_given = (kendall(pairs_within(values, censored, other)).value for other in (y, z))
    return with_outcome, with_given, float(kendall(pairs_within(z[np.newaxis], exact, y)).value[0])


def row_of_seeds(found: Any) -> dict[str, Any]:
    """What statistics.correlation says of one predictor."""
    names = ("p_value", "p_adjusted", "low", "high", "n", "n_seeds", "verdict", "reason")
    return {"tau": found.coefficient} | {name: getattr(found, name) for name in names}


def settings_rows(
    values: np.ndarray,
    outcome: np.ndarray,
    censored: np.ndarray,
    said: np.ndarray,
    layout: Layout,
    pairs: Neighbours,
) -> Sequence[dict[str, Any]]:
    """The columns about settings, empty without a sweep or with too few seeds."""
    if not len(pairs.first) or len(layout.seeds) < FEWEST_SEEDS:
        return [{}] * len(values)
    found = over_settings(values, outcome, pairs, censored=censored, restates=said)
    names = [setting.partition(".")[2] or setting for setting in layout.settings]
    return [
        {
            "granulated_tau": found.value[i],
            "granulated_low": found.low[i],
            "granulated_high": found.high[i],
            "sign_error": found.sign_error[i],
            "sign_error_low": found.sign_error_low[i],
            "sign_error_high": found.sign_error_high[i],
            "worst_settings": worst_pair(found.worst[i], pairs, names),
            "settings_verdict": ""
            if said[i]
            else over_settings_verdict(found.family_low[i], found.family_high[i]),
        }
        for i in range(len(values))
    ]


def worst_pair(place: int, pairs: Neighbours, names: list[str]) -> str:
    return "" if place < 0 else f"{names[pairs.first[place]]} and {names[pairs.second[place]]}"
