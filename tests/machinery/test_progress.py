"""The line that tells how far a run is, from the events that Snakemake logs."""

import logging

import pytest
from left_by_jobs import leave
from snakemake.logging import logger
from snakemake_interface_logger_plugins.common import LogEvent

from machinery.progress import Progress, duration


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def run(tmp_path):
    """A run of two kinds of jobs whose clock is ours; nothing is known of earlier runs."""
    return Run(Progress(tmp_path, Clock()))


class Run:
    def __init__(self, handler):
        self.handler = handler

    def event(self, event, **content):
        record = logging.makeLogRecord({"event": event, "levelno": logging.INFO, **content})
        self.handler.emit(record)

    def plan(self, **jobs):
        self.event(LogEvent.RUN_INFO, stats={**jobs, "total": sum(jobs.values())})

    def start(self, *jobs):
        """Start jobs, given as (number, rule); the line that this logs."""
        lines = []
        listener = logging.Handler()
        listener.emit = lambda record: lines.append(record.getMessage())
        logger.addHandler(listener)
        level = logger.level
        logger.setLevel(logging.INFO)
        try:
            self.event(LogEvent.JOB_STARTED, jobs=[number for number, _ in jobs])
        finally:
            logger.removeHandler(listener)
            logger.setLevel(level)
        for number, rule in jobs:
            self.event(LogEvent.JOB_INFO, jobid=number, rule_name=rule)
        (line,) = lines
        return line

    def after(self, seconds):
        self.handler.clock.now += seconds

    def finish(self, number):
        self.event(LogEvent.JOB_FINISHED, job_id=number)


def test_jobs_done_running_and_waiting_are_counted(run):
    run.plan(train=4, measure=8)
    assert run.start((1, "train"), (2, "train")) == "0 of 12 jobs done, 2 running, 10 waiting"
    run.after(10)
    run.finish(1)
    assert run.start((3, "train")).startswith("1 of 12 jobs done, 2 running, 9 waiting, about ")


def test_time_left_is_that_of_the_jobs_shared_by_as_many_as_run_at_once(run):
    run.plan(train=4, measure=2)
    run.start((1, "train"), (2, "train"))
    run.after(10)
    run.finish(1)
    run.finish(2)
    # two trainings of 10 s, two measurements of nobody knows, so 10 s as well: 40 s for two at once
    assert run.start((3, "train"), (4, "train")).endswith("about 20 s left")
    run.after(10)
    run.finish(3)
    run.after(5)  # job 4 has taken 15 s, longer than expected: nothing of it is left
    assert run.start((5, "measure")).endswith("about 10 s left")


def test_what_jobs_took_in_earlier_runs_counts_until_this_run_knows_better(run, tmp_path):
    leave(tmp_path, "train/a", 60.0, "1", 50.0)
    leave(tmp_path, "train/b", 20.0, "1", 10.0)
    run.plan(train=3)
    assert run.start((1, "train")).endswith("about 2 min left")
    run.after(5)
    run.finish(1)
    assert run.start((2, "train")).endswith("about 10 s left")


def test_a_job_that_failed_waits_again(run):
    run.plan(train=2)
    run.start((1, "train"))
    run.event(LogEvent.JOB_ERROR, jobid=1)
    assert run.start((1, "train")) == "0 of 2 jobs done, 1 running, 1 waiting"


def test_no_time_is_told_before_anything_is_known(run):
    run.plan(train=2)
    assert "left" not in run.start((1, "train"))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "1 s"), (58.6, "59 s"), (61, "1 min"), (3540, "59 min"), (3600, "1 h 0 min"), (9000, "2 h 30 min")],
)
def test_durations_read_as_people_say_them(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(("signal", "killed"), [("SIGKILL: 9", True), ("SIGTERM: 15", False)])
def test_a_killed_job_is_remembered(run, signal, killed):
    """What Snakemake prints of a job that could not say anything itself."""
    said = f"Command 'set -euo pipefail;  python train.py' died with <Signals.{signal}>."
    run.event(None, levelno=logging.INFO, msg=said)
    assert not run.handler.killed
    run.event(None, levelno=logging.ERROR, msg=said)
    assert run.handler.killed == killed
