"""What plots are given, from the files of an experiment."""

from collections.abc import Sequence

import pandas as pd

from fusionscope.report.chance import Chance, read_chance
from fusionscope.report.plot_table import CHANCE
from fusionscope.report.tables import read_tables


def read_input(kind: str, paths: Sequence[str], experiment: str) -> pd.DataFrame | Chance:
    """What is of a `kind` (plot_table.KINDS): tables bear the experiment's name, if not by themselves."""
    if kind == CHANCE:
        return read_chance(paths[0])
    table = read_tables(paths)
    return table if "experiment" in table else table.assign(experiment=experiment)
