"""A measured number with what is known about it, and the tidy CSV files that hold them."""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fusionscope.errors import InputError
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


def read_rows(path: str | Path) -> list[dict[str, str]]:
    """The rows of a CSV file as `write_rows` writes them, by column.

    Raises InputError for one that is cut off or otherwise no table: each row ends with its line, and has as
    many cells as there are columns. That a row is missing, or a digit is another, cannot be seen.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        names, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    except (csv.Error, ValueError):  # among the latter what is no UTF-8, and no line at all
        raise damaged(path, "it is no table") from None
    if not text.endswith("\n") or any(len(row) != len(names) for row in rows):
        raise damaged(path, "it is cut off, or cells are missing")
    return [dict(zip(names, row, strict=True)) for row in rows]


def damaged(path: str | Path, why: str) -> InputError:
    return InputError(f"{path}: is damaged ({why}); delete it, and the workflow makes it again")
