"""Tables from CSV files, and whole into them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from fusionscope.files import whole_file
from fusionscope.measurement import read_rows

# Columns of names: those of the layers of nn.Sequential, "0.1" say, look like numbers.
NAMES = dict.fromkeys(("experiment", "model", "fusion", "group", "layer"), str)


def read_tables(paths: Iterable[str | Path]) -> pd.DataFrame:
    """The rows of many CSV files of the same columns, in the order of `paths`.

    Raises InputError for a damaged one; see `measurement.read_rows`.
    """
    return pd.concat(map(read_table, paths), ignore_index=True)


def read_table(path: str | Path) -> pd.DataFrame:
    """The rows of one CSV file; see `read_tables`."""
    read_rows(path)
    return pd.read_csv(path, dtype=NAMES)


def read_sweep(path: str | Path, axes: Iterable[str]) -> pd.DataFrame:
    """The table of a sweep, with the values of its `axes` as text, as the configuration has them."""
    read_rows(path)
    return pd.read_csv(path, dtype=NAMES | dict.fromkeys(axes, str), keep_default_na=False, na_values=[""])


def read_tables_with(columns: Iterable[str], paths: Iterable[str | Path]) -> pd.DataFrame | None:
    """The same of files that may be of an older layout: None unless each has just these `columns`."""
    expected, tables = list(columns), []
    for path in paths:
        try:
            tables.append(read_table(path))
        except ValueError:  # damaged, or no table: an InputError is a ValueError, as pandas' errors are
            return None
        if list(tables[-1].columns) != expected:
            return None
    return pd.concat(tables, ignore_index=True)


def joined(tables: Iterable[pd.DataFrame], experiments: Sequence[str]) -> pd.DataFrame:
    """All rows, in the order of `experiments`, and within one as they come."""
    rows = pd.concat(list(tables), ignore_index=True)
    order = {name: place for place, name in enumerate(experiments)}
    return rows.sort_values("experiment", key=lambda names: names.map(order), kind="stable")


def write_table(table: pd.DataFrame, path: str | Path) -> None:
    """CSV with all digits, no index, Unix line ends: the same bytes everywhere. Whole or not at all."""
    with whole_file(path) as partial:
        table.to_csv(partial, index=False, lineterminator="\n")


def write_text(text: str, path: str | Path) -> None:
    """UTF-8, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")
