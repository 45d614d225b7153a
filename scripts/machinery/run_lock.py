"""Whether anything of an earlier run still lives in this folder: locks that end with their process.

Snakemake's own lock outlives a run that was killed, and then asks for `snakemake --unlock`. Here the run and
each of its jobs share a lock on one file as long as they live. Who gets that file for itself alone knows
that nothing lives, and may clear away what the dead left. But for runs with jobs on other machines: those may
still wait in a queue.
"""

import fcntl
import os
import shutil
from pathlib import Path

STATE = Path(".snakemake")
ELSEWHERE = b"jobs on other machines"
held: list[int] = []  # open files: their locks end with the process


def start_run(local: bool) -> None:
    """Say that a run lives, and whether all its jobs run on this machine."""
    if not any((STATE / "locks").glob("*")):  # that of an earlier run goes on being its own
        descriptor = open_lock_file()
        os.ftruncate(descriptor, 0)
        os.write(descriptor, b"" if local else ELSEWHERE)
        os.close(descriptor)
    share()


def share() -> None:
    """Say that this process lives. Where the file system knows no such locks, nothing is said."""
    descriptor = open_lock_file()
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)  # waits for somebody who looks after the dead: a moment
    except OSError:
        os.close(descriptor)
    else:
        held.append(descriptor)


def remove_stale_lock() -> None:
    """Remove Snakemake's lock on this folder if nothing of the run that made it is alive."""
    descriptor = open_lock_file()
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.read(descriptor, len(ELSEWHERE)) != ELSEWHERE:
            shutil.rmtree(STATE / "locks", ignore_errors=True)
    except OSError:
        pass  # somebody lives, or one cannot know: Snakemake's lock stays
    finally:
        os.close(descriptor)


def open_lock_file() -> int:
    STATE.mkdir(exist_ok=True)
    return os.open(STATE / "fusionscope.lock", os.O_RDWR | os.O_CREAT, 0o666)
