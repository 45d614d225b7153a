"""What matching neurons costs by the fusion's own ground cost: before they are matched, and after."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from fusionscope.measurement import Measurement, damaged, read_rows, undefined

NOTHING_ALIGNED = "there is no group of neurons that the fusion may move"
DIFFERENT_WIDTHS = "the parents differ in width, so neuron i of one is not that of the other"
NOT_FINITE = "the costs are not finite"


def matching_costs(path: str | Path) -> dict[str, Measurement]:
    """The costs from the CSV file of an alignment, of which each row is a group, or a layer that is frozen.

    Raises InputError for a damaged file.
    """
    try:
        groups = [row for row in read_rows(path) if not row["frozen_because"]]
        return {
            "matching_cost_before": total(groups, "cost_before", DIFFERENT_WIDTHS),
            "matching_cost_after": total(groups, "cost_after", NOT_FINITE),
        }
    except (KeyError, ValueError) as error:
        raise damaged(path, "its costs are not there, or no numbers") from error


def total(groups: Sequence[Mapping[str, str]], column: str, if_missing: str) -> Measurement:
    """The sum over alignment groups of a mean over neurons, mean over the parents that are aligned."""
    if not groups:
        return undefined(NOTHING_ALIGNED)
    if not all(row[column] for row in groups):
        return undefined(if_missing)
    parents = len({row["parent"] for row in groups})
    cost = math.fsum(float(row[column]) for row in groups) / parents
    return Measurement(cost) if math.isfinite(cost) else undefined(NOT_FINITE)
