"""What every script does around its work: threads, log, and errors told in one sentence."""

import gc
import logging
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from machinery import failures, numerics, run_lock

if TYPE_CHECKING:
    from machinery.gpus import Lease


# Ctrl-C ends a job at once and in silence, as SIGTERM does: wherever it is, even within an import, a
# traceback would say nothing, and a job that is cut short leaves nothing behind that is not made again.
signal.signal(signal.SIGINT, signal.SIG_DFL)


class Job:
    """A running job: its log, and whether somebody watches."""

    def __init__(self, snakemake: Any) -> None:
        self.snakemake = snakemake
        self.log = logging.getLogger("fusionscope")
        self.watched = sys.stderr.isatty()
        self.started = time.perf_counter()
        self.images_at_once: int | None = None  # where memory can run out: see compute.py
        self.lease: Lease | None = None  # of a GPU: held until the process ends
        # from one attempt to the next
        self.out_of_memory = Path(f"{snakemake.log[0]}.out_of_memory")
        self.refused = Path(f"{snakemake.log[0]}.refused")

    def start_work(self) -> None:
        """Say that imports are done: what follows is the job's own work."""
        # what imports made stays until the end: never to be looked through for garbage again
        gc.freeze()
        gc.enable()
        self.log.info("imports took %.1f s", time.perf_counter() - self.started)
        self.started = time.perf_counter()
        numerics.limit_threads(self.snakemake.threads)

    def end_if_refused_before(self) -> None:
        """What the user has to change first cannot succeed in a second attempt: end at once, as the first."""
        run = os.environ.get(run_lock.RUN)
        if run and self.refused.exists():
            of_run, _, sentence = self.refused.read_text(encoding="utf-8").partition("\n")
            if of_run == run:
                self.log.error("%s", sentence)
                sys.exit(1)

    def refuse(self, sentence: str) -> None:
        """End with what the user has to change, and leave a note for the next attempt."""
        self.log.error("%s", sentence)
        self.refused.write_text(f"{os.environ.get(run_lock.RUN)}\n{sentence}", encoding="utf-8")
        sys.exit(1)

    def tell_out_of_memory(self, error: Exception) -> None:
        """Say so, and leave a note for the next attempt."""
        advice = "the next attempt goes the same way; a GPU with more memory, or fewer gpu_slots, may help"
        if notes := getattr(error, "__notes__", []):  # of a training: see `told_what_a_step_takes`
            advice = f"{notes[0]}; {advice}"
        elif self.images_at_once is not None:
            self.out_of_memory.write_text(str(self.images_at_once))
            advice = f"the next attempt halves the {self.images_at_once} images evaluated at once"
        self.log.error("out of a GPU's memory: %s (%s)", advice, error)


@contextmanager
def running(snakemake: Any) -> Iterator[Job]:
    """Run a script's work: log file, declared threads, and user's mistakes without a traceback."""
    numerics.set_environment(snakemake.threads)
    run_lock.share()
    gc.disable()  # while importing, a fifth of whose time it would take: nothing becomes garbage
    logging.basicConfig(
        filename=snakemake.log[0], filemode="w", level=logging.INFO, format="%(asctime)s %(message)s"
    )
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # where even the log has no room, its error is not what matters
    warnings.simplefilter("default")
    job = Job(snakemake)
    job.end_if_refused_before()
    try:
        yield job
    except Exception as error:
        if type(error).__name__ == "InputError" and not failures.is_for_want_of_memory(error):
            job.refuse(str(error))
        if type(error).__name__ == "OutOfMemoryError":  # by name: light jobs import no torch
            job.tell_out_of_memory(error)
            sys.exit(1)
        if (sentence := failures.sentence_of(error, next(iter(snakemake.output), "."))) is not None:
            job.log.error("%s", sentence)
            sys.exit(1)
        job.log.error("%s", traceback.format_exc())
        raise
    job.out_of_memory.unlink(missing_ok=True)
    job.refused.unlink(missing_ok=True)
    job.log.info("work took %.1f s", time.perf_counter() - job.started)
