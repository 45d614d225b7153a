"""The study of what predicts a good fusion: its tables, as Markdown.

    python benchmarks/what_predicts.py [--folder results/what_predicts]

Reads the sweep.csv and predictors.csv that docs/studies/what_predicts.yaml left in FOLDER.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from fusionscope.report.metric_labels import predictor_name  # noqa: E402

SETTING = ["width", "weight_decay", "learning_rate"]
OUTCOME = "accuracy"
MOST = 3  # predictors of a fusion


def children_table(sweep: pd.DataFrame) -> str:
    """Test accuracies in per cent by setting and model: the median of the seeds."""
    medians = sweep.groupby([*SETTING, "model"]).accuracy.median().unstack("model") * 100
    together = ["parents", "ensemble"]
    models = [*together, *(model for model in dict.fromkeys(sweep.model) if model not in together)]
    rows = [
        [*(f"{value:g}" for value in setting), *(f"{row[model]:.1f}" for model in models)]
        for setting, row in zip(medians.index, medians.to_dict("records"), strict=True)
    ]
    return markdown([name.replace("_", " ") for name in (*SETTING, *models)], rows)


def predictors_table(predictors: pd.DataFrame) -> str:
    """Of each fusion the predictors with the largest coefficients over settings, and what is said of them."""
    rows = predictors[(predictors.outcome == OUTCOME) & ~predictors.restates.astype(bool)]
    head = ["child", "predictor", "granulated τ", "95 %", "worst sign error", "τ over seeds", "verdict"]
    lines = [
        [
            str(model).replace("_", " ") if place == 0 else "",
            predictor_name(row),
            f"{row['granulated_tau']:.2f}",
            f"{row['granulated_low']:.2f} to {row['granulated_high']:.2f}",
            f"{row['sign_error']:.2f}",
            f"{row['tau']:.2f}",
            str(row["settings_verdict"]),
        ]
        for model, of_model in rows.groupby("model", sort=False)
        for place, row in enumerate(of_model.head(MOST).to_dict("records"))
    ]
    return markdown(head, lines)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "results/what_predicts")
    folder = parser.parse_args().folder
    print(children_table(pd.read_csv(folder / "sweep.csv")))
    print()
    print(predictors_table(pd.read_csv(folder / "predictors.csv")))


if __name__ == "__main__":
    main()
