"""Files that are written whole or not at all: nobody ever reads half of one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL = ".partial"


def is_partial(name: str) -> bool:
    """Whether a file of that name is half written, and left by a process that was killed."""
    return name.startswith(".") and PARTIAL in name


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A path to write to, which becomes `path` when the block ends; nothing is left where it fails.

    It lies beside `path`, hidden, with the same suffix (some writers go by it). What was written is on the
    disk before the name is: a machine that stops leaves the old file or the new one.
    """
    path = Path(path)
    partial = path.with_name(f".{path.stem}{PARTIAL}{path.suffix}")
    try:
        yield partial
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
