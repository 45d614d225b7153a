"""Reads weights that the user provides, in a process of its own: files and networks in, sentences out."""

import contextlib
import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

from torch import nn

from fusionscope.errors import InputError
from fusionscope.networks.build import build
from fusionscope.weights import load_weights


def main() -> None:
    """Answer what provided_weights.py asks on standard input, as JSON, in the last line of the output."""
    with contextlib.redirect_stdout(sys.stderr):  # what users' own networks print
        said = sentences(json.load(sys.stdin))
    print(json.dumps(said))


def sentences(subjects: list[dict[str, Any]]) -> dict[str, str]:
    """File -> what is wrong with it, for each that does not fit its network."""
    found: dict[str, str] = {}
    for subject in subjects:
        try:
            load_weights(subject["file"], network_of(json.dumps(subject | {"file": None})))
        except InputError as error:
            found[subject["file"]] = str(error)
    return found


@cache
def network_of(subject: str) -> nn.Module:
    """The network that a file is for; the same for all files alike, since nothing is put into it."""
    spec = json.loads(subject)
    classes = spec["classes"] or count_classes(Path(spec["folder"]))
    return build(classes, **spec["network"])


def count_classes(folder: Path) -> int:
    from fusionscope.training.image_folder import find

    return len(find(folder, "train").classes)


if __name__ == "__main__":
    main()
