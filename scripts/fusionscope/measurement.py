"""A measured number with what is known about it, and the tidy CSV files that hold them."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fusionscope.files import whole_file

COLUMNS = ("experiment", "seed", "model", "space", "metric", "value", "std_error", "censored", "reason")

NOT_CENSORED = "no"
LEFT = "left"  # the true value is at most the one recorded
RIGHT = "right"  # the true value is at least the one recorded
OPPOSITE = {NOT_CENSORED: NOT_CENSORED, LEFT: RIGHT, RIGHT: LEFT}


@dataclass(frozen=True)
class Measurement:
    """One number. `std_error` is None where the number is exact or no error is known for it.

    `censored`: LEFT or RIGHT where a search ended at the end of its range and the value is a bound. An
    undefined number has no `value` (None), and a `reason`, a clause for people; others have none.
    """

    value: float | None
    std_error: float | None = None
    censored: str = NOT_CENSORED
    reason: str = ""


def undefined(reason: str) -> Measurement:
    """What there is to say where a number is not defined."""
    return Measurement(None, reason=reason)


def tidy_rows(
    measurements: Mapping[str, Measurement], *, experiment: str, seed: int, model: str, space: str
) -> list[dict[str, object]]:
    """One row, with COLUMNS as keys, per metric."""
    return [
        {
            "experiment": experiment,
            "seed": seed,
            "model": model,
            "space": space,
            "metric": metric,
            "value": "" if number.value is None else number.value,
            "std_error": "" if number.std_error is None else number.std_error,
            "censored": number.censored,
            "reason": number.reason,
        }
        for metric, number in measurements.items()
    ]


def write_rows(path: str | Path, columns: Iterable[str], rows: Iterable[Mapping[str, object]]) -> None:
    """A CSV file, written whole or not at all; floats keep all their digits."""
    with whole_file(path) as partial, open(partial, "w", newline="") as file:
        writer = csv.DictWriter(file, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
