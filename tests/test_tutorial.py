"""docs/tutorial.md does what it says: its files are saved, its commands run, its outputs compared."""

import itertools
import os
import shutil
import sys
from pathlib import Path

import pytest
from pages import blocks, follow, words
from workflows import ROOT, Workflow

PAGE = (ROOT / "docs/tutorial.md").read_text()


@pytest.fixture
def clone(tmp_path, monkeypatch) -> Path:
    """A fresh copy of the workflow, in which `make` finds the environment of these tests set up."""
    folder = Workflow.fresh(tmp_path / "clone", {}).folder
    shutil.copy(ROOT / "Makefile", folder)
    if not Path(sys.prefix, "ready").exists():
        pytest.skip("these tests do not run in the environment that `make` sets up")
    os.utime(folder / "envs/requirements.lock", (0, 0))  # older than the environment: no need to set it up
    (folder / ".venv").symlink_to(sys.prefix)
    monkeypatch.setenv("PATH", f"{sys.prefix}/bin", prepend=os.pathsep)  # each command has a shell of its own
    return folder


def test_every_block_is_a_file_a_command_or_what_a_command_prints():
    found = blocks(PAGE)
    assert {block.language for block in found if not block.file} == {"bash", "text"}
    for before, block in itertools.pairwise(found):
        assert block.language != "text" or before.language == "bash"


@pytest.mark.slow
def test_the_tutorial_runs_as_it_is_written(clone):
    """Outputs have the words that are shown; numbers differ from processor to processor, but for jobs."""
    for block, printed in follow(blocks(PAGE), clone):
        shown = words(block.text)
        lines = words(printed)
        assert all(line in lines for line in shown), printed
        if block.text.startswith("job "):
            assert block.text in "\n".join(line.rstrip() for line in printed.splitlines()), printed
    assert (clone / "results/report.html").exists()
