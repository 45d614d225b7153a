"""One line that tells how far a run is: jobs done, running, waiting, and about how long it still takes.

Snakemake itself prints how many steps are done, no more. Its log tells the rest: the line is made from the
same events that logger plugins get, whenever jobs start.
"""

import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from snakemake.logging import logger
from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.common import LogEvent

from machinery.provenance import seconds_a_job, timed_jobs

MINUTE, HOUR = 60, 3600


class Progress(logging.Handler):
    """Follows the jobs of a run, and logs the line. Under `logs` lies what jobs took in earlier runs."""

    def __init__(self, logs: str | Path, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.logs = logs
        self.clock = clock
        self.known: dict[str, float] = {}  # seconds a job, by rule, in earlier runs
        self.planned: dict[str, int] = {}  # jobs by rule
        self.running: dict[int, tuple[str, float]] = {}  # job -> its rule, when it started
        self.took: dict[str, list[float]] = {}  # seconds of the jobs that are done, by rule
        self.at_once = 1  # the most jobs that ran side by side
        self.killed = False  # whether the system, or somebody, ended a job that could not say why

    def emit(self, record: Any) -> None:
        # a LogRecord, with the attributes that its event has
        event = getattr(record, "event", None)
        self.killed |= record.levelno >= logging.ERROR and "Signals.SIGKILL" in record.getMessage()
        if event == LogEvent.RUN_INFO:
            self.planned = {rule: count for rule, count in record.stats.items() if rule != "total"}
            self.known = seconds_a_job(timed_jobs(self.logs))
        elif event == LogEvent.JOB_INFO:
            self.running[record.jobid] = record.rule_name, self.clock()
        elif event == LogEvent.JOB_ERROR:
            self.running.pop(record.jobid, None)
        elif event == LogEvent.JOB_FINISHED and record.job_id in self.running:
            rule, started = self.running.pop(record.job_id)
            self.took.setdefault(rule, []).append(self.clock() - started)
        elif event == LogEvent.JOB_STARTED:  # their JOB_INFO comes next
            logger.info(self.line(starting=len(record.jobs)), extra={"quietness": Quietness.PROGRESS})

    @property
    def done(self) -> int:
        return sum(map(len, self.took.values()))

    @property
    def total(self) -> int:
        return sum(self.planned.values())

    def line(self, starting: int) -> str:
        running = len(self.running) + starting
        self.at_once = max(self.at_once, running)
        waiting = self.total - self.done - running
        left = self.seconds_left()
        estimate = "" if left is None else f", about {duration(left)} left"
        return f"{self.done} of {self.total} jobs done, {running} running, {waiting} waiting{estimate}"

    def seconds_left(self) -> float | None:
        """Seconds of all jobs that are not done, shared by as many as ran at once; None without any clue."""
        means = self.known | {rule: mean(seconds) for rule, seconds in self.took.items()}
        if not means:
            return None
        of_others = mean(means.values())
        expected = {rule: means.get(rule, of_others) for rule in self.planned}
        left = sum(
            (count - len(self.took.get(rule, ()))) * expected[rule] for rule, count in self.planned.items()
        )
        now = self.clock()
        spent = (min(now - started, expected.get(rule, 0)) for rule, started in self.running.values())
        return (left - sum(spent)) / self.at_once


def mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values)


def duration(seconds: float) -> str:
    """To about two digits, as people say it."""
    if seconds < MINUTE:
        return f"{max(round(seconds), 1)} s"
    if seconds < HOUR:
        return f"{round(seconds / MINUTE)} min"
    hours, rest = divmod(round(seconds / MINUTE), HOUR // MINUTE)
    return f"{hours} h {rest} min"
