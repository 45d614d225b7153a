"""The record of results: what changed since is found, a new time alone is no change, and nothing is lost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from machinery import manifest

SCRIPTS = Path(__file__).parents[2] / "scripts"
PATHS = ["results/a.csv", "results/deep/b.csv", "experiments/c.csv"]


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """A folder with three files, of which those below results/ are recorded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(manifest, "aside", set())
    for path in map(Path, PATHS):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {path}")
    manifest.record(PATHS)
    return tmp_path


def test_only_results_are_recorded(recorded):
    assert sorted(json.loads((recorded / "results/.manifest.json").read_text())) == PATHS[:2]


def test_what_is_as_it_was_touched_or_deleted_is_not_changed(recorded):
    os.utime(PATHS[0])
    os.unlink(PATHS[1])
    assert manifest.changed_files() == []


@pytest.mark.parametrize("content", ["", "content of results/a.cs", "Content of results/a.csv"])
def test_what_is_emptied_cut_or_edited_is_changed(recorded, content):
    Path(PATHS[0]).write_text(content)
    assert manifest.changed_files() == [PATHS[0]]


def test_a_change_under_the_old_time_is_not_looked_for(recorded):
    """Reading every file at every start would cost more than it is worth."""
    found = os.stat(PATHS[0])
    Path(PATHS[0]).write_text("Content of results/a.csv")
    os.utime(PATHS[0], ns=(found.st_atime_ns, found.st_mtime_ns))
    assert manifest.changed_files() == []


def test_what_jobs_write_anew_counts_as_unknown_until_it_is_recorded(recorded):
    manifest.start_jobs([PATHS[0]])
    Path(PATHS[0]).write_text("another")
    assert manifest.changed_files() == []
    manifest.record(PATHS)
    Path(PATHS[0]).write_text("broken")
    assert manifest.changed_files() == [PATHS[0]]


@pytest.mark.parametrize("content", ["", "[]", "{", '{"results/a.csv": 3}'])
def test_a_record_that_cannot_be_read_is_none(recorded, content):
    manifest.MANIFEST.write_text(content)
    Path(PATHS[0]).write_text("another")
    assert manifest.changed_files() == []


@pytest.mark.parametrize("made_again", [True, False])
def test_what_is_changed_is_out_of_the_way_and_put_back_unless_it_is_made_again(recorded, made_again):
    Path(PATHS[0]).write_text("mine")
    code = f"""
import os
from machinery import manifest
assert manifest.set_changed_aside() == [{PATHS[0]!r}]
assert not os.path.exists({PATHS[0]!r})
if {made_again}:
    manifest.start_jobs([{PATHS[0]!r}])
manifest.record({PATHS!r})
"""
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(SCRIPTS)}, check=True)
    kept = Path(PATHS[0] + manifest.CHANGED)
    assert kept.exists() == made_again
    assert (kept if made_again else Path(PATHS[0])).read_text() == "mine"
    assert manifest.changed_files() == ([] if made_again else [PATHS[0]])
