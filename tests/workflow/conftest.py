"""The real Snakemake on a copy of the workflow, with a configuration that takes a minute."""

from pathlib import Path

import pytest
from filelock import FileLock
from studies import ROOT, TINY, tiny_settings
from workflows import CODE, Workflow

__all__ = ["CODE", "ROOT", "TINY", "Workflow"]  # for the tests beside

RECORDER = Path(__file__).parent / "recorder"


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, worker_id) -> Workflow:
    """A tiny run that has ended. Not to be changed: `finished` is a copy for each test.

    Made once: with several test processes (pytest-xdist) the first makes it and the others wait.
    """
    shared = (
        tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent
    )
    folder, ended = shared / "finished_run", shared / "finished_run_ended"
    with FileLock(shared / "finished_run.lock"):
        if not ended.exists():
            modules = shared / "finished_run_modules"  # what each job imported, for test_start_up.py
            modules.mkdir(exist_ok=True)
            Workflow.fresh(folder, TINY).run(PYTHONPATH=str(RECORDER), RECORD_MODULES=str(modules))
            ended.touch()
    return Workflow(folder, TINY)


@pytest.fixture
def finished(finished_run, tmp_path) -> Workflow:
    return finished_run.copy(tmp_path / "workflow")


@pytest.fixture
def fresh(tmp_path) -> Workflow:
    """The workflow before its first run."""
    return Workflow.fresh(tmp_path / "workflow", tiny_settings())
