"""Versions, commit, machine and the times of jobs are read as they are; what is not there is None."""

import json
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy
import pytest
import torch
from left_by_jobs import leave

from machinery import provenance
from machinery.provenance import TimedJob

ROOT = Path(__file__).parents[2]


def test_jobs_are_read_from_their_benchmarks_and_logs(tmp_path):
    leave(tmp_path, "train/a_seed1_parent_1", 9.5, "700.5", 6.0)
    leave(tmp_path, "collect_measurements", 2.0, "-", 0.5)
    assert provenance.timed_jobs(tmp_path) == [
        TimedJob("collect_measurements", 2.0, 0.5, None),
        TimedJob("train", 9.5, 6.0, 700.5),
    ]
    assert provenance.timed_jobs(tmp_path)[1].start_up == 3.5


def test_a_job_that_did_not_end_is_not_counted(tmp_path):
    leave(tmp_path, "train/failed", 9.5, "700.5", None)
    leave(tmp_path, "train/without_log", 9.5, "700.5", 6.0)
    (tmp_path / "train/without_log.log").unlink()
    assert provenance.timed_jobs(tmp_path) == []
    assert provenance.timed_jobs(tmp_path / "nowhere") == []


def test_seconds_are_summed_by_rule_and_memory_is_the_highest():
    jobs = [TimedJob("fuse", 1.0, 0.25, None), TimedJob("train", 3.0, 2.0, 10.0)]
    jobs += [TimedJob("train", 5.0, 3.0, 30.0), TimedJob("train", 2.0, 1.5, None)]
    table = provenance.times_by_rule(jobs)
    assert list(table) == ["train", "fuse"]  # the most seconds first
    assert table["train"] == {
        "jobs": 3,
        "wall_seconds": 10.0,
        "work_seconds": 6.5,
        "start_up_seconds": 3.5,
        "peak_memory_mb": 30.0,
    }
    assert table["fuse"]["peak_memory_mb"] is None
    assert provenance.seconds_a_job(jobs) == {"fuse": 1.0, "train": pytest.approx(10 / 3)}


def test_the_packages_are_those_that_the_project_pins():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = project["optional-dependencies"]["workflow"]
    assert {line.split(" ==")[0] for line in pinned} == set(provenance.PACKAGES)


def test_versions_are_those_that_are_installed_and_nothing_is_imported_for_them():
    found = provenance.versions(["torch", "numpy", "no-such-package"])
    assert found["torch"] == torch.__version__.split("+")[0]
    assert found["numpy"] == numpy.__version__
    assert found["no-such-package"] is None
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'scripts')!r})\n"
        "from machinery import provenance\n"
        "provenance.versions()\n"
        "assert not {'torch', 'numpy', 'pandas'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_is_told_and_whether_files_differ_from_it(tmp_path):
    assert provenance.git_state(tmp_path) == {"commit": None, "dirty": None}
    git(tmp_path, "init")
    assert provenance.git_state(tmp_path) == {"commit": None, "dirty": None}  # nothing committed yet
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-m", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "mine.yaml").write_text("a configuration of one's own changes no code")
    assert provenance.git_state(tmp_path) == {"commit": commit, "dirty": False}
    (tmp_path / "file").write_text("two")
    assert provenance.git_state(tmp_path) == {"commit": commit, "dirty": True}


def test_a_program_that_is_missing_or_fails_answers_nothing():
    assert provenance.answer("no-such-program-here") is None
    assert provenance.answer("git", "no-such-command") is None


def test_the_machine_is_described():
    machine = provenance.hardware()
    assert machine["cores"] >= 1
    assert machine["memory_mb"] > 500
    if torch.cuda.is_available():
        assert torch.cuda.get_device_name().startswith(tuple(machine["gpus"]))


def test_a_record_replaces_the_one_before_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "results/run.json"
    for record in ({"state": "failed"}, {"state": "succeeded", "git": {"commit": None}}):
        provenance.write_record(path, record)
        assert json.loads(path.read_text()) == record
    assert [file.name for file in path.parent.iterdir()] == ["run.json"]


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        (["--config", "data_dir=https://me:pass@host/x"], "--config 'data_dir=https://***@host/x'"),
        (["--config", "data_dir=https://me:p@ss/word@host/x"], "--config 'data_dir=https://***@host/x'"),
        (["--default-storage-prefix", "s3://token@bucket"], "--default-storage-prefix 's3://***@bucket'"),
        (["--storage-s3-secret-key", "abc", "-n"], "--storage-s3-secret-key '***' -n"),
        (["--storage-http-password=abc"], "'--storage-http-password=***'"),
        (["--config", "api_token=abc", "run=[a]"], "--config 'api_token=***' 'run=[a]'"),
        (["--config", "x={password: a b, y: 2}"], "--config 'x={password: ***, y: 2}'"),
        (["--config", 'x={"password":"a b","y":2}'], """--config 'x={"password":***,"y":2}'"""),
        (
            ["--config", "x=https://host/?sig=1&token=abc&y=2"],
            "--config 'x=https://host/?sig=1&token=***&y=2'",
        ),
    ],
)
def test_passwords_are_not_kept(typed, kept):
    assert provenance.command_line("snakemake", typed) == f"snakemake {kept}"


def test_of_other_commands_all_is_kept():
    usual = "snakemake --cores 4 --keep-going --configfile mine.yaml --config 'run=[my_exp]' device=cpu -n"
    assert provenance.command_line("snakemake", shlex.split(usual)[1:]) == usual
