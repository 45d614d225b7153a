"""One experiment's part of the page, made from its files."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from fusionscope.report.chance import read_chance
from fusionscope.report.page.cards import card
from fusionscope.report.page.findings import findings, predictor_sentences, warnings
from fusionscope.report.page.predictions import prediction_sentences
from fusionscope.report.plot_table import CORRELATION, DENSITIES, MEASUREMENTS, PATHS, VARIANCES
from fusionscope.report.tables import read_tables

# Kinds of files, beside those of plots' tables.
DATA, PLOT, ALIGNMENT, PREDICTORS = "data", "plot", "alignment", "predictors"
File = Mapping[str, Any]  # kind and path; of plots also name, title, caption; of alignments seed and fusion


def section(name: str, files: Iterable[File], accuracy_metric: str) -> dict[str, Any]:
    """What the page says of the experiment `name`: warnings, findings, figures, a card for each child."""
    by_kind: dict[str, list[File]] = {}
    for file in files:
        by_kind.setdefault(file["kind"], []).append(file)
    measurements = read(by_kind, MEASUREMENTS)
    chance = read_chance(by_kind[DATA][0]["path"])
    correlation = read(by_kind, CORRELATION) if CORRELATION in by_kind else None
    drawn = [read(by_kind, kind) for kind in (PATHS, DENSITIES, VARIANCES)]
    return {
        "name": name,
        "warnings": warnings(measurements, chance),
        "findings": findings(measurements, correlation, chance, accuracy_metric) + predictions(by_kind),
        "figures": figures_of(by_kind.get(PLOT, [])),
        "cards": [
            card(name, file["seed"], file["fusion"], measurements, read_tables([file["path"]]), *drawn)
            for file in by_kind.get(ALIGNMENT, [])
        ],
        "measurements": measurements,
    }


def predictions(by_kind: Mapping[str, list[File]]) -> list[str]:
    """Sentences about what tells how good a fusion is, where that was sought."""
    return [
        sentence
        for file in by_kind.get(PREDICTORS, [])
        for sentence in prediction_sentences(read_tables([file["path"]]))
    ]


def figures_of(plots: Iterable[File]) -> list[dict[str, str]]:
    """What the page shows of each file of a plot."""
    return [
        {"name": plot["name"], "title": plot["title"], "caption": plot["caption"], "file": plot["path"]}
        for plot in plots
    ]


def pooled_findings(correlation_files: Sequence[str], accuracy_metrics: Mapping[str, str]) -> list[str]:
    """What the correlations over all experiments say; nothing if there are none.

    `accuracy_metrics`: what each experiment is correlated with; where these differ, better is better in each.
    """
    if not correlation_files:
        return []
    metrics = set(accuracy_metrics.values())
    outcome = metrics.pop() if len(metrics) == 1 else "accuracy"
    return predictor_sentences(read_tables(correlation_files), outcome)


def read(by_kind: Mapping[str, list[File]], kind: str) -> pd.DataFrame:
    """All rows of the files of a kind; an empty table if there are none."""
    paths = [file["path"] for file in by_kind.get(kind, [])]
    return read_tables(paths) if paths else pd.DataFrame()
