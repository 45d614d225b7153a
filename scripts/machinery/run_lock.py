"""Whether anything of an earlier run still lives in this folder: locks that end with their process.

Snakemake's own lock outlives a run that was killed, and then asks for `snakemake --unlock`. Here the run and
each of its jobs share a lock on one file as long as they live. Who gets that file for itself alone knows
that nothing lives, and may clear away what the dead left. But for runs with jobs on other machines: those may
still wait in a queue.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from fusionscope import files
from machinery import failures

STATE = Path(".snakemake")
LOCK = "fusionscope.lock"
RUN = "FUSIONSCOPE_RUN"  # an environment variable that jobs inherit: which run they are part of
WRITTEN = ("data", "experiments", "results")  # folders that jobs write to
ELSEWHERE = b"jobs on other machines"
held: list[int] = []  # open files: their locks end with the process


def begin(say: Callable[[str], None]) -> None:
    """Clear away what the dead left, and say that this run lives: a dry run too, for its moment.

    Snakemake has not yet told by then what kind of run it is. What lives of another run is told by `say`.
    Raises InputError where this folder is read-only.
    """
    failures.check_can_write([STATE, Path("logs")])
    living = remove_stale_lock()
    if living and any((STATE / "locks").glob("*")):
        say(f"processes of another run live in this folder: {', '.join(map(str, living))}; wait or end them")
    os.environ[RUN] = f"{os.getpid()} {time.time_ns()}"
    start_run()


def start_run() -> None:
    """Say that a run lives, all of whose jobs run on this machine unless it is told otherwise."""
    if not any((STATE / "locks").glob("*")):  # that of an earlier run goes on being its own
        descriptor = open_lock_file()
        os.ftruncate(descriptor, 0)
        os.close(descriptor)
    share()


def tell_jobs_are_elsewhere() -> None:
    """Say that this run, which lives, has jobs on other machines, of which locks tell nothing."""
    with open(STATE / LOCK, "r+b") as file:
        file.truncate(0)
        file.write(ELSEWHERE)


def share() -> None:
    """Say that this process lives. Where the file system knows no such locks, nothing is said."""
    descriptor = open_lock_file()
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)  # waits for somebody who looks after the dead: a moment
    except OSError:
        os.close(descriptor)
    else:
        held.append(descriptor)


def remove_stale_lock() -> list[int]:
    """Remove Snakemake's lock on this folder, and what is half written, if nothing of an earlier run lives.

    Else the processes that live, as far as the system tells.
    """
    descriptor = open_lock_file()
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.read(descriptor, len(ELSEWHERE)) != ELSEWHERE:
            shutil.rmtree(STATE / "locks", ignore_errors=True)
            remove_leftovers()
    except OSError:  # somebody lives, or one cannot know: Snakemake's lock stays
        return holders(descriptor)
    finally:
        os.close(descriptor)
    return []


def remove_leftovers() -> None:
    """Remove what killed jobs left half written, which may fill a disk."""
    for top in WRITTEN:
        for folder, _, names in os.walk(top):
            for name in names:
                if files.is_partial(name):
                    Path(folder, name).unlink(missing_ok=True)


def holders(descriptor: int) -> list[int]:
    """The processes that hold a lock on an open file; none where the system, unlike Linux, does not tell."""
    inode = os.fstat(descriptor).st_ino
    try:
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    except OSError:
        return []
    # 1: FLOCK  ADVISORY  READ 1234 08:01:5678 0 EOF
    return [int(lock[4]) for lock in locks if lock[1] == "FLOCK" and lock[5].endswith(f":{inode}")]


def open_lock_file() -> int:
    STATE.mkdir(exist_ok=True)
    return os.open(STATE / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
