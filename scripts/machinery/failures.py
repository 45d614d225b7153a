"""What the machine refused, in one sentence: room on a disk, the right to write, memory."""

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from fusionscope.errors import InputError

NOTHING_LOST = "what is finished is not made again"
NEEDS_LESS = "run fewer jobs at once (--cores), choose a smaller batch_size or network, or give it more"
# Said where Snakemake tells of SIGKILL alone: the job itself had no time to say anything.
KILLED = f"a job was killed, by somebody or by the system for want of memory: {NEEDS_LESS}; {NOTHING_LOST}"
LITTLE_MEMORY = 2**26  # bytes: a job needs a few times as much to begin with
LEAST_ROOM = 1_000_000  # bytes: for records, logs and tables
FULL = {errno.ENOSPC, errno.EDQUOT}
READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
# What libraries say that raise no error of their own kind.
SAID_OF_A_FULL_DISK = ("PytorchStreamWriter failed",)
SAID_OF_MEMORY = (
    "DefaultCPUAllocator",
    "annot allocate memory",
    "failed to map segment",
    "can't start new thread",
    "Resource temporarily unavailable",
    "std::bad_alloc",
)


def sentence_of(error: BaseException, output: str | Path) -> str | None:
    """Why the machine made a job fail that writes to `output`; None if it was something else."""
    for each in chain(error):
        said = str(each)
        if isinstance(each, MemoryError) or any(words in said for words in SAID_OF_MEMORY):
            return out_of_memory(each)
        if any(words in said for words in SAID_OF_A_FULL_DISK):
            return full(output)
        if isinstance(each, OSError) and each.errno in FULL:
            return full(each.filename or output)
        if isinstance(each, OSError) and each.errno in READ_ONLY:
            return read_only(each.filename or output)
        if isinstance(each, OSError) and each.errno == errno.ENOMEM:
            return out_of_memory(each)
        if isinstance(each, OSError) and each.errno == errno.EIO:
            return f"{each.filename or output}: cannot be read or written ({each}); the disk may be failing"
    # short of memory, Python and libraries fail in ways of their own, with a SystemError for instance
    return out_of_memory(error) if memory_is_exhausted() else None


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


def memory_is_exhausted() -> bool:
    """Whether this process gets no more memory to speak of."""
    try:
        bytearray(LITTLE_MEMORY)
    except MemoryError:
        return True
    return False


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
