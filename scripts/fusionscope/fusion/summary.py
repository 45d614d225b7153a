"""What people want to know of an alignment: which neurons may move, which cannot, and why."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path

from fusionscope.fusion.fuse import Fusion, GroupRecord
from fusionscope.measurement import write_rows

COLUMNS = (*(field.name for field in fields(GroupRecord)), "share_that_moves", "frozen_because")
LONG_LIST = 5  # layers in a sentence


def write_alignment(path: str | Path, fusion: Fusion) -> None:
    """Write a CSV file with COLUMNS of all groups and frozen layers; without rows if nothing is aligned."""
    write_rows(path, COLUMNS, alignment_rows(fusion))


def alignment_rows(fusion: Fusion) -> Iterator[dict[str, object]]:
    """For each aligned parent a row for each group, then one for each frozen layer and reason.

    `share_that_moves`, the same in all rows, is that of hidden neurons that are in a group. A frozen layer
    stands where a group does, with the number of its neurons that stay and the reason.
    """
    if fusion.groups is None:
        return
    share = {"share_that_moves": fusion.share_that_moves}
    for record in fusion.records:
        yield asdict(record) | share | {"frozen_because": ""}
    for parent in range(1, len(fusion.aligned) + 1):
        if parent - 1 != fusion.reference:
            for layer in fusion.frozen:
                row = {"parent": parent, "group": layer.layer, "neurons": layer.neurons, "moved": 0}
                yield row | share | {"frozen_because": layer.reason}


def sentences(fusion: Fusion) -> list[str]:
    """What was aligned and what was not, in a few lines for a log."""
    if fusion.groups is None:
        return ["nothing is aligned: neurons are merged by their numbers", *gained(fusion)]
    count = len(fusion.groups.groups)
    lines = [f"{100 * fusion.share_that_moves:.1f} % of the hidden neurons may move, in {count} group(s)"]
    layers = defaultdict(list)
    for part in fusion.frozen:
        layers[part.reason].append(f"{part.layer} ({part.neurons})")
    if layers:
        parts = [f"{shortened(names)}: {reason}" for reason, names in layers.items()]
        lines.append(f"these layers (neurons) stay as they are: {'; '.join(parts)}")
    return lines + gained(fusion)


def gained(fusion: Fusion) -> list[str]:
    """Which layers have a bias that they had not."""
    names = list(fusion.gained_biases)
    return [f"repair gave a bias to layers that had none: {shortened(names)}"] if names else []


def shortened(names: list[str]) -> str:
    """The names in a list of a sensible length."""
    more = f" and {len(names) - LONG_LIST} more" if len(names) > LONG_LIST else ""
    return ", ".join(names[:LONG_LIST]) + more
