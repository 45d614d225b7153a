"""What scripts that run networks do besides: find their GPU, choose how much to evaluate at once, resume."""

from pathlib import Path

import torch

from fusionscope.errors import InputError
from machinery import numerics
from machinery.checkpoint import LastEpoch, identity_of
from machinery.gpus import lock_folder, named_gpus, wait_for_lease
from machinery.job import Job


def device(job: Job) -> str:
    """The GPU if this job was given one and there is one, else the CPU."""
    resources = job.snakemake.resources
    chosen = "cpu"
    if resources.device != "cpu" and resources.gpu:
        index = lease_gpu(job)
        if torch.cuda.is_available():
            torch.cuda.set_device(index)
            chosen = f"cuda:{index}"
            numerics.make_gpu_deterministic()
        elif resources.device == "cuda":
            raise InputError("config: device: 'cuda' was asked for and PyTorch finds no GPU; set auto or cpu")
    job.log.info("computing on %s with %d thread(s)", chosen, torch.get_num_threads())
    return chosen


def lease_gpu(job: Job) -> int:
    """Wait for a GPU, if one can be seen, and keep it until the process ends; its place among them."""
    # not is_available(): CUDA starts only once it is known on which GPU
    gpus = named_gpus(torch.cuda.device_count() or None)
    if not gpus:
        return 0
    names = ", ".join(gpus)
    job.lease = wait_for_lease(
        gpus,
        job.snakemake.resources.gpu_slots,
        lock_folder(),
        on_wait=lambda: job.log.info("waiting: all GPUs are taken (%s)", names),
    )
    job.log.info("GPU %s, of %s", job.lease.gpu, names)
    return job.lease.index


def batch_size(job: Job, usual: int | None = None) -> int:
    """Images evaluated at once: half as many as in an attempt that ran out of a GPU's memory.

    In the first attempt `usual`, or else the batch_size that the rule declares.
    """
    job.images_at_once = job.snakemake.resources.batch_size if usual is None else usual
    if job.out_of_memory.exists():
        failed = int(job.out_of_memory.read_text())
        job.images_at_once = max(1, min(failed // 2, job.images_at_once))
        job.log.info("%d images at once: with %d, memory ran out", job.images_at_once, failed)
    return job.images_at_once


def reduced(job: Job, usual: int, batch_size: int) -> int:
    """`usual` images at once of another kind of work; fewer, as `batch_size` is fewer than is declared."""
    return max(1, usual * batch_size // job.snakemake.resources.batch_size)


def last_epoch(job: Job, path: str | Path) -> LastEpoch:
    """Where a training keeps its last epoch: beside `path`, its outcome, and known by its settings."""
    snakemake, path = job.snakemake, Path(path)
    settings = (sorted(snakemake.wildcards.items()), sorted(snakemake.params.items()))
    return LastEpoch(path.with_name(f"{path.stem}_last_epoch.pth"), identity_of(settings, snakemake.input))
