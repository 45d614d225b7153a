"""Tables from CSV files, and whole into them."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from fusionscope.files import whole_file


def read_tables(paths: Iterable[str | Path]) -> pd.DataFrame:
    """The rows of many CSV files of the same columns, in the order of `paths`."""
    return pd.concat([pd.read_csv(path) for path in paths], ignore_index=True)


def write_table(table: pd.DataFrame, path: str | Path) -> None:
    """CSV with all digits, no index, Unix line ends: the same bytes everywhere. Whole or not at all."""
    with whole_file(path) as partial:
        table.to_csv(partial, index=False, lineterminator="\n")


def write_text(text: str, path: str | Path) -> None:
    """UTF-8, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")
