"""What every script does around its work: threads, log, device, and errors told in one sentence."""

import logging
import os
import sys
import time
import traceback
import warnings
from contextlib import contextmanager
from pathlib import Path

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Job:
    """A running job: its log, and whether somebody watches."""

    def __init__(self, snakemake):
        self.snakemake = snakemake
        self.log = logging.getLogger("fusionscope")
        self.watched = sys.stderr.isatty()
        self.started = time.perf_counter()
        self.lease = None
        self.images_at_once = None
        self.out_of_memory = Path(f"{snakemake.log[0]}.out_of_memory")  # from one attempt to the next

    def start_work(self):
        """Imports are done: what follows is the job's own work."""
        self.log.info("imports took %.1f s", time.perf_counter() - self.started)
        self.started = time.perf_counter()
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(self.snakemake.threads)

    def device(self):
        """The GPU if this job was given one and there is one, else the CPU."""
        import torch

        from fusionscope.errors import InputError

        wanted, gpus = self.snakemake.resources.device, self.snakemake.resources.gpu
        chosen = "cpu"
        if wanted != "cpu" and gpus:
            self.lease_gpu()
            if torch.cuda.is_available():
                torch.cuda.set_device(self.lease.index)
                chosen = f"cuda:{self.lease.index}"
                # the same numbers in every run, at full precision
                torch.use_deterministic_algorithms(True, warn_only=True)
                torch.backends.cudnn.benchmark = False
                torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
            elif wanted == "cuda":
                raise InputError(
                    "config: device: 'cuda' was asked for and PyTorch finds no GPU; set auto or cpu"
                )
        self.log.info("computing on %s with %d thread(s)", chosen, torch.get_num_threads())
        return chosen

    def lease_gpu(self):
        """Wait for a GPU, if any is to be seen, and keep it until the process ends."""
        import torch

        from fusionscope.devices import lock_folder, named_gpus, wait_for_lease

        # not is_available(): CUDA starts only once it is known on which GPU
        gpus = named_gpus(torch.cuda.device_count() or None)
        if gpus:
            self.lease = wait_for_lease(
                gpus,
                self.snakemake.resources.gpu_slots,
                lock_folder(),
                on_wait=lambda: self.log.info("waiting: all GPUs are taken (%s)", ", ".join(gpus)),
            )
            self.log.info("GPU %s, of %s", self.lease.gpu, ", ".join(gpus))

    def batch_size(self):
        """Images evaluated at once: half as many as in an attempt that ran out of a GPU's memory."""
        self.images_at_once = self.snakemake.resources.batch_size
        if self.out_of_memory.exists():
            failed = int(self.out_of_memory.read_text())
            self.images_at_once = max(1, min(failed // 2, self.images_at_once))
            self.log.info("%d images at once: with %d, memory ran out", self.images_at_once, failed)
        return self.images_at_once

    def tell_out_of_memory(self, error):
        """Say so, and leave a note for the next attempt."""
        advice = "the next attempt goes the same way; a GPU with more memory, or fewer gpu_slots, may help"
        if self.images_at_once is not None:
            self.out_of_memory.write_text(str(self.images_at_once))
            advice = f"the next attempt halves the {self.images_at_once} images evaluated at once"
        self.log.error("out of a GPU's memory: %s (%s)", advice, error)

    def last_epoch(self, path):
        """Where a training keeps its last epoch: beside `path`, its outcome, and known by its settings."""
        from fusionscope.checkpoint import LastEpoch, identity_of

        path = Path(path)
        settings = (sorted(self.snakemake.wildcards.items()), sorted(self.snakemake.params.items()))
        identity = identity_of(settings, self.snakemake.input)
        return LastEpoch(path.with_name(f"{path.stem}_last_epoch.pth"), identity)


@contextmanager
def running(snakemake):
    """Run a script's work: log file, declared threads, and user's mistakes without a traceback."""
    for variable in THREAD_VARIABLES:  # before any numerical library is imported
        os.environ[variable] = str(snakemake.threads)
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # what CUDA needs for deterministic products
    logging.basicConfig(
        filename=snakemake.log[0], filemode="w", level=logging.INFO, format="%(asctime)s %(message)s"
    )
    logging.captureWarnings(True)
    warnings.simplefilter("default")
    job = Job(snakemake)
    try:
        yield job
    except Exception as error:
        if type(error).__name__ == "InputError":
            job.log.error("%s", error)
            sys.exit(1)
        if type(error).__name__ == "OutOfMemoryError":  # by name: light jobs import no torch
            job.tell_out_of_memory(error)
            sys.exit(1)
        job.log.error("%s", traceback.format_exc())
        raise
    job.out_of_memory.unlink(missing_ok=True)
    job.log.info("work took %.1f s", time.perf_counter() - job.started)
