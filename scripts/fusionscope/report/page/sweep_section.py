"""A sweep's part of the page: what came out along its axes, made from its table and its settings' files."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from fusionscope.measures.names import PARENTS
from fusionscope.report.chance import read_chance
from fusionscope.report.page.findings import counted, joined, percent, spoken, warnings
from fusionscope.report.page.section import DATA, PLOT, File, figures_of, predictions
from fusionscope.report.plot_table import MEASUREMENTS
from fusionscope.report.sweep_table import ENSEMBLE
from fusionscope.report.tables import read_sweep, read_tables

TABLE = "sweep"  # a kind of file, beside those of experiments
NAMES = {PARENTS: "the parents", ENSEMBLE: "their ensembles"}
MOST_WARNINGS = 5


def sweep_section(name: str, files: Iterable[File], axes: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """What the page says of the sweep `name`; `files`: its own, and those of its settings.

    `axes`: their values as text, in order.
    """
    by_kind: dict[str, list[File]] = {}
    for file in files:
        by_kind.setdefault(file["kind"], []).append(file)
    measurements = read_tables(file["path"] for file in by_kind[MEASUREMENTS])
    table = read_sweep(by_kind[TABLE][0]["path"], axes) if TABLE in by_kind else None
    chances = {file["experiment"]: read_chance(file["path"]) for file in by_kind[DATA]}
    weak = [
        f"{str(setting).removeprefix(f'{name}.')}: {sentence}"
        for setting, rows in measurements.groupby("experiment", sort=False)
        for sentence in warnings(rows, chances[str(setting)])
    ]
    return {
        "name": name,
        "warnings": weak[:MOST_WARNINGS] + more_warnings(weak),
        "findings": ([] if table is None else sweep_findings(table, axes)) + predictions(by_kind),
        "figures": figures_of(by_kind.get(PLOT, [])),
        "cards": [],
        "measurements": measurements,
    }


def more_warnings(all_of_them: list[str]) -> list[str]:
    left = len(all_of_them) - MOST_WARNINGS
    return [f"{counted(left, 'further parent')} of the sweep at chance."] if left > 0 else []


def sweep_findings(table: pd.DataFrame, axes: Mapping[str, Sequence[str]]) -> list[str]:
    """Sentences about the outcomes of a sweep (`sweep_table`): where each fusion is best and worst."""
    told = joined([f"{spoken(axis)} ({', '.join(values)})" for axis, values in axes.items()])
    settings = counted(table.experiment.nunique(), "setting")
    first = f"{settings} of {told}, {counted(table.seed.nunique(), 'seed')} each."
    fusions = list(dict.fromkeys(table.fusion))
    return [first, *(sentence for name in fusions for sentence in range_sentence(table, name, list(axes)))]


def range_sentence(table: pd.DataFrame, fusion: str, axes: list[str]) -> list[str]:
    """Where on the axes the median accuracy of a fusion, or of the parents, is lowest and highest."""
    rows = table[(table.fusion == fusion) & table.accuracy.notna()]
    own = [axis for axis in axes if rows[axis].notna().any()]
    if rows.empty:
        return []
    name = NAMES.get(fusion, spoken(fusion))
    medians = rows.groupby(own, sort=False).accuracy.median() if own else pd.Series(rows.accuracy.median())
    if len(medians) == 1:
        return [f"{capital(name)}: right on {percent(medians.iloc[0])} of the test images (median)."]
    worst, best = place(own, medians.idxmin()), place(own, medians.idxmax())
    return [
        f"{capital(name)}: right on {percent(medians.min())} of the test images at {worst} and on "
        f"{percent(medians.max())} at {best} (lowest and highest median of a setting)."
    ]


def place(axes: list[str], values: Any) -> str:
    """'width 16, weight decay 0'"""
    each = values if isinstance(values, tuple) else (values,)
    return ", ".join(f"{spoken(axis)} {value}" for axis, value in zip(axes, each, strict=True))


def capital(text: str) -> str:
    return text[0].upper() + text[1:]
