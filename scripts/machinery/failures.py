"""What the machine refused, in one sentence: room on a disk, the right to write, memory."""

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from fusionscope.errors import InputError
from fusionscope.memory import is_out_of_memory

NOTHING_LOST = "what is finished is not made again"
NEEDS_LESS = "run fewer jobs at once (--cores), choose a smaller batch_size or network, or give it more"
# Said where Snakemake tells of SIGKILL alone: the job itself had no time to say anything.
KILLED = f"a job was killed, by somebody or by the system for want of memory: {NEEDS_LESS}; {NOTHING_LOST}"
LEAST_ROOM = 1_000_000  # bytes: for records, logs and tables
FULL = {errno.ENOSPC, errno.EDQUOT}
READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
# What libraries say that raise no error of their own kind.
SAID_OF_A_FULL_DISK = ("PytorchStreamWriter failed",)


def sentence_of(error: BaseException, output: str | Path) -> str | None:
    """Why the machine made a job fail that writes to `output`; None if it was something else."""
    for each in chain(error):
        if any(words in str(each) for words in SAID_OF_A_FULL_DISK):
            return full(output)
        if isinstance(each, OSError) and each.errno in FULL:
            return full(each.filename or output)
        if isinstance(each, OSError) and each.errno in READ_ONLY:
            return read_only(each.filename or output)
        if is_out_of_memory(each):
            return out_of_memory(each)
        if isinstance(each, OSError) and each.errno == errno.EIO:
            return f"{each.filename or output}: cannot be read or written ({each}); the disk may be failing"
    return None


def is_for_want_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, though the sentence may be about what it ran out in: a network, say."""
    return any(is_out_of_memory(each) for each in chain(error))


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def full(path: str | Path) -> str:
    folder = existing(Path(path))
    free = shutil.disk_usage(folder).free / 1e6
    return f"{path}: its disk is full ({free:.1f} MB left); make room and start again: {NOTHING_LOST}"


def read_only(path: str | Path) -> str:
    return (
        f"{path}: cannot be written, as its folder or disk is read-only or not yours; make it writable, or "
        "start in another folder"
    )


def out_of_memory(error: BaseException) -> str:
    said = (str(error).splitlines() or [""])[0].rpartition("DefaultCPUAllocator: ")[2] or type(error).__name__
    return f"out of memory ({said}); {NEEDS_LESS}: {NOTHING_LOST}"


def existing(path: Path) -> Path:
    """The path itself, or the first folder around it that is there."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.exists())


def check_can_write(folders: Iterable[Path]) -> None:
    """Raise InputError for one of `folders` that cannot be written, or has no room at all.

    One that is not there will be made in the folder around it.
    """
    for folder in sorted(folders):
        place = existing(folder)
        if not os.access(place, os.W_OK | os.X_OK):
            raise InputError(read_only(place))
        if shutil.disk_usage(place).free < LEAST_ROOM:
            raise InputError(full(place))
