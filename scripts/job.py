"""What every script does around its work: threads, log, device, and errors told in one sentence."""

import logging
import os
import sys
import time
import traceback
import warnings
from contextlib import contextmanager

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Job:
    """A running job: its log, and whether somebody watches."""

    def __init__(self, snakemake):
        self.snakemake = snakemake
        self.log = logging.getLogger("fusionscope")
        self.watched = sys.stderr.isatty()
        self.started = time.perf_counter()

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
        if wanted == "cpu" or not gpus:
            chosen = "cpu"
        elif torch.cuda.is_available():
            chosen = "cuda"
            # the same numbers in every run, at full precision
            torch.use_deterministic_algorithms(True, warn_only=True)
            torch.backends.cudnn.benchmark = False
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        elif wanted == "cuda":
            raise InputError("config: device: 'cuda' was asked for and PyTorch finds no GPU; set auto or cpu")
        else:
            chosen = "cpu"
        self.log.info("computing on %s with %d thread(s)", chosen, torch.get_num_threads())
        return chosen


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
        job.log.error("%s", traceback.format_exc())
        raise
    job.log.info("work took %.1f s", time.perf_counter() - job.started)
