"""What was found, in sentences made from the tables of an experiment, hedged by its statistics."""

from collections.abc import Hashable, Sequence
from typing import Any

import pandas as pd

from fusionscope.report.chance import Chance
from fusionscope.report.metric_labels import metric_name
from fusionscope.report.parents import is_parent
from fusionscope.report.pooled import ALL_MODELS
from fusionscope.report.style import in_order
from fusionscope.statistics.chance import is_at_chance
from fusionscope.statistics.verdicts import CANNOT, LEVEL, RESTATES

MOST_NAMED = 5  # metrics or reasons in a sentence
NUMBER = r"-?\d+(\.\d+)?(e-?\d+)?"  # in a reason
OUTCOMES = {"accuracy": "better accuracy", "generalisation_gap": "a smaller generalisation gap"}


def warnings(measurements: pd.DataFrame, chance: Chance) -> list[str]:
    """Parents that have learnt next to nothing: whatever is made of them says nothing about fusion."""
    accuracy = rows_of(measurements, "accuracy")
    return [
        f"{spoken(row['model']).capitalize()} of seed {row['seed']} is at chance: it is right on "
        f"{percent(row['value'])} of the test images. What is made of it says nothing about fusion."
        for row in accuracy[accuracy.model.map(is_parent)].to_dict("records")
        if at_chance(row["value"], chance)
    ]


def findings(
    measurements: pd.DataFrame, correlation: pd.DataFrame | None, chance: Chance, accuracy_metric: str
) -> list[str]:
    """Sentences about one experiment: its parents, each child, barriers, predictors, what is not defined.

    `measurements`: tidy rows (measurement.COLUMNS); `correlation`: its correlation space, if it has one;
    `accuracy_metric`: what is correlated with, a key of OUTCOMES.
    """
    return [
        *parents_sentence(measurements),
        *(child_sentence(measurements, child, chance) for child in children_by_accuracy(measurements)),
        *barrier_sentence(measurements),
        *predictor_sentences(correlation, accuracy_metric),
        *undefined_sentence(measurements),
    ]


def parents_sentence(measurements: pd.DataFrame) -> list[str]:
    """How good the parents are, and their ensembles."""
    accuracy = rows_of(measurements, "accuracy")
    parents = accuracy[accuracy.model.map(is_parent)].value
    if parents.empty:
        return []
    ensemble = rows_of(measurements, "parents_ensemble_accuracy").drop_duplicates("seed").value
    beside = "" if ensemble.empty else f"; their ensembles on {span(ensemble)}"
    return [f"The {len(parents)} parents are right on {span(parents)} of the test images{beside}."]


def children_by_accuracy(measurements: pd.DataFrame) -> list[str]:
    """The fused models, the best first by the median of their test accuracies."""
    accuracy = rows_of(measurements, "accuracy")
    children = accuracy[~accuracy.model.map(is_parent)]
    medians = children.groupby("model", sort=False).value.median()
    return [str(name) for name in medians.sort_values(ascending=False, kind="stable").index]


def child_sentence(measurements: pd.DataFrame, child: str, chance: Chance) -> str:
    """How good a child is, beside the mean of its parents; whether it is better than chance."""
    accuracy = rows_of(measurements, "accuracy")
    table = accuracy.pivot(index="seed", columns="model", values="value")
    own = table[child].dropna()
    parents = table[[model for model in table if is_parent(str(model))]].mean(axis=1)
    behind = (parents - table[child]).dropna()
    lost = [seed for seed, value in own.items() if at_chance(value, chance)]
    text = f"{spoken(child).capitalize()}: {typical(own)} of the test images"
    if len(behind):
        text += f", {difference(behind.median())} the mean of its parents"
    if lost:
        everywhere = "in every seed" if len(lost) == len(own) else f"in {counted(len(lost), 'seed')}"
        text += f"; no better than chance ({percent(chance.share)}) {everywhere if len(own) > 1 else ''}"
    return text.strip() + "."


def barrier_sentence(measurements: pd.DataFrame) -> list[str]:
    """How far the loss rises between the aligned parents, of each fusion."""
    barrier = rows_of(measurements, "loss_barrier")
    if barrier.empty:
        return []
    medians = barrier.groupby("model", sort=False).value.median().sort_values(kind="stable")
    parts = [f"{value:.3g} nats for {spoken(str(model))}" for model, value in medians.items()]
    return [
        f"On the line between the aligned parents the loss rises by {joined(parts)} (medians over seeds)."
    ]


def predictor_sentences(correlation: pd.DataFrame | None, accuracy_metric: str) -> list[str]:
    """Which metrics go with the outcome, as far as the p-values, adjusted for all metrics, show it."""
    if correlation is None or correlation.empty:
        return []
    outcome = OUTCOMES[accuracy_metric]
    tau = correlation[(correlation.coefficient == "kendall") & (correlation.verdict != RESTATES)]
    sentences = []
    for model in in_order(tau.model):
        rows = tau[tau.model == model]
        shown = rows[rows.p_adjusted < LEVEL].sort_values("p_adjusted", kind="stable")
        over = "Over all models" if model == ALL_MODELS else f"Of {spoken(model)}"
        if len(shown):
            parts = [said_of(row) for row in shown.head(MOST_NAMED).to_dict("records")]
            more = f" and {len(shown) - MOST_NAMED} more" if len(shown) > MOST_NAMED else ""
            sentences.append(f"{over}, {outcome} goes with {joined(parts)}{more}.")
    return sentences or nothing_shown(tau, outcome)


def said_of(row: dict[Hashable, Any]) -> str:
    """Which way a metric goes with the outcome, and how surely."""
    way = "higher" if row["value"] > 0 else "lower"
    return (
        f"{way} {metric_name(row['metric'])} (τ {row['value']:.2f}{interval(row['low'], row['high'])}, "
        f"adjusted p {row['p_adjusted']:.2g})"
    )


def nothing_shown(tau: pd.DataFrame, outcome: str) -> list[str]:
    """That no metric is shown to go with the outcome, and how many seeds would be needed where too few."""
    cannot = tau[tau.verdict.fillna("").str.startswith(CANNOT)]
    seeds = int(tau.n_seeds.max()) if len(tau) else 0
    if len(cannot) and len(cannot) == len(tau[tau.verdict.fillna("") != ""]):
        advice = cannot.verdict.str.extract(r"\((.*) would do\)")[0].dropna()
        more = f"; {seeds_needed(advice.iloc[0])} would do" if len(advice) else ""
        return [
            f"Nothing can be said with {counted(seeds, 'seed')} about which metric goes with {outcome}{more}."
        ]
    return [f"No metric is shown to go with {outcome}, p-values being adjusted for all that were tried."]


def seeds_needed(advice: str) -> str:
    """'7' -> '7 seeds', '5 of each experiment' -> '5 seeds of each experiment'"""
    number, _, rest = advice.partition(" ")
    return f"{number} seeds {rest}".strip()


def undefined_sentence(measurements: pd.DataFrame) -> list[str]:
    """How many numbers are not defined, and why."""
    missing = measurements[measurements.value.isna()]
    if missing.empty:
        return []
    reasons = missing.reason.fillna("").rename("reason")
    kinds = reasons.groupby(reasons.str.replace(NUMBER, "", regex=True)).agg(["first", "size", "nunique"])
    kinds = kinds.sort_values("size", ascending=False, kind="stable")
    parts = [
        f"{first} ({size}{' of this kind' if different > 1 else ''})"
        for first, size, different in kinds.head(MOST_NAMED).itertuples(index=False)
    ]
    more = f"; and {len(kinds) - MOST_NAMED} further reasons" if len(kinds) > MOST_NAMED else ""
    return [f"{len(missing)} of {len(measurements)} numbers are not defined: {'; '.join(parts)}{more}."]


# words


def rows_of(measurements: pd.DataFrame, metric: str) -> pd.DataFrame:
    rows = measurements[measurements.metric == metric]
    return rows[rows.value.notna()]


def at_chance(accuracy: float, chance: Chance) -> bool:
    return is_at_chance(round(accuracy * chance.images), chance.images, chance.share)


def spoken(model: str) -> str:
    """'parent_1' -> 'parent 1'"""
    return model.replace("_", " ")


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def difference(points: float) -> str:
    """0.021 -> '2.1 points below'"""
    size = f"{abs(100 * points):.1f} points"
    return f"{size} {'below' if points >= 0 else 'above'}"


def span(shares: pd.Series) -> str:
    """The smallest to the largest, in per cent."""
    low, high = percent(shares.min()), percent(shares.max())
    return low if low == high else f"{low.removesuffix(' %')} to {high}"


def typical(shares: pd.Series) -> str:
    """The median and the range of several seeds."""
    if len(shares) == 1:
        return f"right on {percent(shares.iloc[0])}"
    return f"right on {percent(shares.median())} (median of {len(shares)} seeds, {span(shares)})"


def interval(low: float, high: float) -> str:
    return "" if pd.isna(low) or pd.isna(high) else f", 95 % interval {low:.2f} to {high:.2f}"


def counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def joined(parts: Sequence[str], word: str = "and") -> str:
    """'a', 'a and b', 'a, b and c'"""
    return f" {word} ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))
