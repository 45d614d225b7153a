"""The page that defines every metric, made of what METRICS says.

    PYTHONPATH=scripts python -m fusionscope.measures.reference docs/reference/metrics.md

writes it.
"""
# ruff: noqa: RUF001  (minus signs are meant)

import re
import sys
from collections.abc import Iterable

from fusionscope.files import whole_file
from fusionscope.measures import names
from fusionscope.measures.names import METRICS, Metric

HEAD = (
    "metric", "name for people", "unit", "definition", "source", "better", "bound", "restates",
    "tested against",
)  # fmt: skip
INTRODUCTION = """# Every metric

Made from `scripts/fusionscope/measures/names.py`: do not edit it here.

{symbols}

- **unit**: accuracies are shares in the CSV files, and per cent (of differences: points) in plots.
- **better**: whether higher or lower values should go with good accuracy or generalisation.
- **bound**: on which side of what its name says a metric lies by definition. Values where a search
  ended at the end of its range are another thing: the column `censored` of the CSV files marks these.
- **restates**: outcomes that a metric says in other words (the accuracy, the generalisation gap, the barrier
  between parents), so that its correlation with them predicts nothing.
- **tested against**: an independent truth that the test in brackets compares it with.
- √(value/(m − 1)) of the metrics marked † bounds the generalisation gap: the column `bound` of `summary.csv`,
  for parents. Of a metric that is a lower bound itself, it is at least that.
"""


def page() -> str:
    """The page, in Markdown: a table for each space."""
    assert names.__doc__ is not None
    symbols = names.__doc__.partition("\n\n")[2].strip()
    spaces = dict.fromkeys(metric.space for metric in METRICS.values())
    return "\n".join([INTRODUCTION.format(symbols=symbols), *map(section, spaces)])


def section(space: str) -> str:
    """One space: a heading and its metrics."""
    rows = [row(name, metric) for name, metric in METRICS.items() if metric.space == space]
    title = f"## {space.replace('_', ' ').capitalize()}"
    return "\n".join([title, "", line(HEAD), line(["---"] * len(HEAD)), *map(line, rows), ""])


def row(name: str, metric: Metric) -> list[str]:
    """The cells of one metric, in the order of HEAD."""
    return [
        f"`{name}`" + (" †" if metric.bounds_gap else ""),
        metric.label,
        metric.unit or "",
        with_links(metric.definition),
        with_links(metric.source),
        metric.direction or "",
        f"{metric.bound} bound" if metric.bound else "",
        ", ".join(metric.restates),
        with_test_link(metric.truth),
    ]


def line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def with_links(text: str) -> str:
    """Names of metrics as code, arXiv's numbers as links."""
    text = re.sub(r"(?<!`)\b[a-z]+(?:_[a-z]+)+\b", lambda found: code_if_metric(found[0]), text)
    return re.sub(r"arXiv (\d{4}\.\d{4,5})", r"[arXiv \1](https://arxiv.org/abs/\1)", text)


def with_test_link(truth: str) -> str:
    """'dense Hessian (tests/.../test_hessian.py)' -> 'dense Hessian ([test_hessian.py](../../tests/...))'"""
    return re.sub(r"\((tests/\S+/(\S+\.py))\)", r"([\2](../../\1))", truth)


def code_if_metric(word: str) -> str:
    return f"`{word}`" if word in METRICS else word


if __name__ == "__main__":
    with whole_file(sys.argv[1]) as partial:
        partial.write_text(page(), encoding="utf-8")
