"""What tells how good a fusion will be, in sentences made from the table of predictors."""

from collections.abc import Sequence

import pandas as pd

from fusionscope.report.metric_labels import predictor_name
from fusionscope.report.page.findings import counted, interval, joined, spoken
from fusionscope.statistics.verdicts import CANNOT

MOST_NAMED = 3  # predictors in a sentence
OUTCOMES = {
    "accuracy": "a better child",
    "relative_accuracy": "a child better beside its parents",
    "loss_barrier": "a lower loss barrier",
}
WAYS = ("higher", "lower")  # how a verdict begins that says which way


def prediction_sentences(table: pd.DataFrame) -> list[str]:
    """Which properties of parents and pairs go with each outcome, or that none is shown to.

    `table`: as predictors.predictor_table gives, of one experiment or sweep.
    """
    tried = table[~table.restates.astype(bool)]
    swept = bool(tried.granulated_tau.notna().any())
    tried = tried.assign(told=tried["settings_verdict" if swept else "verdict"].fillna(""))
    said: list[str] = []
    silent: dict[tuple[str, ...], list[str]] = {}  # outcomes by the fusions of which nothing is shown
    for outcome in OUTCOMES:
        rows = tried[tried.outcome == outcome]
        shown = rows[rows.told.str.startswith(WAYS)]
        said += [
            shown_sentence(of_model, str(model), OUTCOMES[outcome], swept=swept)
            for model, of_model in shown.groupby("model", sort=False)
        ]
        quiet = tuple(model for model in rows.model.unique() if model not in set(shown.model))
        silent.setdefault(quiet, []).append(outcome)
    return said + [
        silence(tried, models, outcomes, swept=swept) for models, outcomes in silent.items() if models
    ]


def shown_sentence(rows: pd.DataFrame, model: str, outcome: str, *, swept: bool) -> str:
    names = ("granulated_tau", "granulated_low", "granulated_high") if swept else ("tau", "low", "high")
    parts = []
    for row in rows.head(MOST_NAMED).to_dict("records"):
        value, low, high = (row[name] for name in names)
        way = WAYS[0] if value > 0 else WAYS[1]
        what = f"granulated τ {value:.2f}" if swept else f"τ {value:.2f}"
        parts.append(f"{way} {predictor_name(row)} ({what}{interval(low, high)})")
    more = f" and {len(rows) - MOST_NAMED} more" if len(rows) > MOST_NAMED else ""
    over = "Over the settings" if swept else "Over the seeds"
    return f"{over}, {outcome} goes with {joined(parts)}{more}, of {spoken(model)}."


def silence(table: pd.DataFrame, models: Sequence[str], outcomes: Sequence[str], *, swept: bool) -> str:
    """That nothing is shown of some fusions, and how many seeds would do where these are too few."""
    of = joined([spoken(model) for model in models])
    what = joined([OUTCOMES[outcome] for outcome in outcomes], "or")
    start = f"Of {of}, no property of parents or pairs is shown to go with {what}"
    rows = table[table.outcome.isin(outcomes) & table.model.isin(models)]
    verdicts = rows.verdict.fillna("")
    cannot = verdicts[verdicts.str.startswith(CANNOT)]
    enough = pd.to_numeric(cannot.str.extract(r"\((\d+).*would do\)")[0]).max()
    if swept or pd.isna(enough):
        return f"{start}."
    return f"{start}: {counted(int(rows.n_seeds.max()), 'seed')} cannot show it, {int(enough)} would do."
