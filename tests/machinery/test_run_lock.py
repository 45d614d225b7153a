"""Snakemake's lock is cleared when nothing of the run that made it can be alive, and only then."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
LIVE = """
import time
from machinery import run_lock
run_lock.{how}
print("holding", flush=True)
time.sleep(60)
"""


@pytest.fixture
def process(tmp_path):
    """Starts a process in the folder of a run that says it lives."""
    started = []

    def start(how):
        """In the moment before Snakemake makes its lock."""
        command = [sys.executable, "-c", LIVE.format(how=how)]
        living = subprocess.Popen(
            command, cwd=tmp_path, env={"PYTHONPATH": str(SCRIPTS)}, stdout=subprocess.PIPE, text=True
        )
        started.append(living)
        assert living.stdout.readline() == "holding\n"
        (tmp_path / ".snakemake/locks").mkdir(exist_ok=True)  # as Snakemake does now
        (tmp_path / ".snakemake/locks/0.output.lock").touch()
        return living

    yield start
    for living in started:
        end(living)


def end(process):
    process.kill()
    process.wait()


def cleared(folder) -> bool:
    command = [sys.executable, "-c", "from machinery import run_lock; run_lock.remove_stale_lock()"]
    subprocess.run(command, cwd=folder, env={"PYTHONPATH": str(SCRIPTS)}, check=True)
    return not (folder / ".snakemake/locks").exists()


def test_what_killed_jobs_left_half_written_goes_when_nothing_lives(tmp_path, process):
    left = tmp_path / "results/tiny/seed1/.hessian.partial.csv"
    kept = tmp_path / "results/tiny/seed1/hessian.csv"
    left.parent.mkdir(parents=True)
    left.touch()
    kept.touch()
    job = process("share()")
    assert not cleared(tmp_path)
    assert left.exists()
    end(job)
    assert cleared(tmp_path)
    assert not left.exists()
    assert kept.exists()


def test_the_processes_of_another_run_are_told(tmp_path, process):
    job = process("share()")
    code = "from machinery import run_lock; run_lock.begin(say=print)"
    command = [sys.executable, "-c", code]
    said = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(SCRIPTS)}, check=True, capture_output=True, text=True
    ).stdout
    assert said == f"processes of another run live in this folder: {job.pid}; wait or end them\n"


def test_the_lock_stays_while_the_run_or_one_of_its_jobs_lives(tmp_path, process):
    run, job = process("start_run()"), process("share()")
    assert not cleared(tmp_path)
    end(run)
    assert not cleared(tmp_path)
    end(job)
    assert cleared(tmp_path)


def test_the_lock_of_a_run_with_jobs_on_other_machines_stays(tmp_path, process):
    end(process("start_run(); run_lock.tell_jobs_are_elsewhere()"))
    assert not cleared(tmp_path)
    end(process("start_run()"))  # Snakemake refuses it
    assert not cleared(tmp_path)
    shutil.rmtree(tmp_path / ".snakemake/locks")  # by --unlock
    end(process("start_run()"))
    assert cleared(tmp_path)
