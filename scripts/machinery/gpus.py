"""A GPU for each job: the first free one, by file locks that the kernel frees however a job ends.

Snakemake counts GPUs (`--resources gpu=4`), but every job sees all of them and none is told which is its own.
"""

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

POLL_SECONDS = 0.5


def named_gpus(count: int | None = None) -> list[str]:
    """The GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES gives them, or else their
    numbers; at most `count`, which is needed where the variable is not set."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [str(number) for number in range(count or 0)]
    names = [name.strip() for name in visible.split(",")]
    end = next((i for i, name in enumerate(names) if name in ("", "-1")), len(names))  # as CUDA reads it
    return names[:end][:count]


@dataclass(frozen=True)
class Lease:
    """One job's share of a GPU. Held as long as this object lives, and no longer than its process."""

    gpu: str  # its name
    index: int  # among the GPUs that the process sees
    slot: int
    lock: FileLock


def lease(gpus: list[str], slots: int, folder: Path) -> Lease | None:
    """A free share of one of `gpus`, each of which has `slots`; None if all are taken.

    A GPU that nobody uses comes before a second share of another. `folder` holds the lock files: processes
    that share GPUs share it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for slot in range(slots):
        for index, gpu in enumerate(gpus):
            lock = FileLock(folder / f"{gpu.replace('/', '_')}_{slot}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            return Lease(gpu, index, slot, lock)
    return None


def wait_for_lease(gpus: list[str], slots: int, folder: Path, on_wait: Callable[[], None]) -> Lease:
    """As `lease`, but waits until there is one; `on_wait` is called once if that takes time."""
    found = lease(gpus, slots, folder)
    if found is None:
        on_wait()
    while found is None:
        time.sleep(POLL_SECONDS)
        found = lease(gpus, slots, folder)
    return found


def lock_folder() -> Path:
    """Shared by a user's jobs on a machine; in a SLURM job, where GPUs may be numbered anew, of its own."""
    scope = f"-slurm-{os.environ['SLURM_JOB_ID']}" if "SLURM_JOB_ID" in os.environ else ""
    return Path(tempfile.gettempdir()) / f"fusionscope-gpus-{os.getuid()}{scope}"
