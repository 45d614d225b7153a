"""The processes that work in a folder, found in /proc."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

Found = TypeVar("Found")


def processes_in(folder: Path) -> Iterator[tuple[int, str]]:
    """The processes whose current folder it is: their number and command line."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if os.readlink(entry / "cwd") == str(folder.resolve()):
                yield int(entry.name), (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, UnicodeDecodeError):
            continue  # it has ended, or is somebody else's


def job_in(folder: Path, rule: str) -> int | None:
    """A Python process that runs the script of a rule."""
    for pid, command in processes_in(folder):
        if f"{rule}.py" in command and "python" in command.split(" ")[0]:
            return pid
    return None


def wait_for(what: Callable[[], Found], seconds: float) -> Found | None:
    """What it gives as soon as that is anything; None if that takes too long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        time.sleep(0.02)
    return None
