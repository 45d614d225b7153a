"""What the machine refuses is one sentence; what is wrong with the code stays a traceback."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from fusionscope.errors import InputError
from machinery import failures

SCRIPTS = Path(__file__).parents[2] / "scripts"


def broken(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (broken(errno.ENOSPC), "results/x.csv: its disk is full"),
        (broken(errno.EDQUOT), "results/x.csv: its disk is full"),
        (broken(errno.EROFS), "results/x.csv: cannot be written"),
        (
            PermissionError(errno.EACCES, "Permission denied", "results/y.csv"),
            "results/y.csv: cannot be written",
        ),
        (broken(errno.EIO), "results/x.csv: cannot be read or written"),
        (MemoryError(), "out of memory (MemoryError); run fewer jobs at once"),
        (broken(errno.ENOMEM), "out of memory"),
        (ImportError("libx.so: failed to map segment from shared object"), "out of memory (libx.so"),
        (RuntimeError("can't start new thread"), "out of memory"),
    ],
)
def test_what_the_machine_refuses_is_one_sentence(error, sentence):
    said = failures.sentence_of(error, "results/x.csv")
    assert said.startswith(sentence)
    assert "\n" not in said


def test_the_cause_is_looked_for_behind_other_errors():
    error = RuntimeError("could not save")
    error.__cause__ = broken(errno.ENOSPC)
    assert "its disk is full" in failures.sentence_of(error, "x")


def test_what_pytorch_says_when_memory_runs_out_is_known():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert failures.sentence_of(caught.value, "x").startswith("out of memory")


@pytest.mark.parametrize("error", [ValueError("a bug"), FileNotFoundError(errno.ENOENT, "No such file", "x")])
def test_what_the_machine_has_nothing_to_do_with_is_none_of_it(error):
    assert failures.sentence_of(error, "x") is None


def test_whatever_fails_where_no_memory_is_left_is_due_to_that():
    code = f"""
import resource
from machinery import failures
assert failures.sentence_of(SystemError("error return without exception set"), "x") is None
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, [pages * {os.sysconf("SC_PAGE_SIZE")} + 2**20] * 2)
print(failures.sentence_of(SystemError("error return without exception set"), "x"))
"""
    command = [sys.executable, "-c", code]
    env = {"PYTHONPATH": str(SCRIPTS)}
    said = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout
    assert said.startswith("out of memory (error return without exception set); run fewer jobs")


def test_a_sentence_about_a_network_that_had_no_memory_is_about_memory():
    error = InputError("my_nets:make: cannot take images of 32x32 pixels; fix it")
    assert not failures.is_for_want_of_memory(error)
    error.__cause__ = RuntimeError("could not create a primitive")
    assert failures.is_for_want_of_memory(error)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    failures.check_can_write([tmp_path, tmp_path / "not/there"])
    with pytest.raises(InputError, match=r"^/proc/sys: cannot be written"):
        failures.check_can_write([Path("/proc/sys/nowhere")])


@pytest.mark.parametrize(("free", "refused"), [(999_999, True), (1_000_000, False)])
def test_a_folder_without_any_room_is_named_before_jobs_start(tmp_path, monkeypatch, free, refused):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    told = pytest.raises(InputError, match=rf"^{tmp_path}: its disk is full \(1\.0 MB left\)")
    with told if refused else nullcontext():
        failures.check_can_write([tmp_path / "not/there"])


JOB = """
import sys
from types import SimpleNamespace
from fusionscope.errors import InputError
from machinery import job
snakemake = SimpleNamespace(threads=1, log=["job.log"], output=["out.csv"])
with job.running(snakemake):
    print("tried")
    {work}
"""


def run_job(folder: Path, work: str, run: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", JOB.format(work=work)],
        cwd=folder,
        env={"PYTHONPATH": str(SCRIPTS), "FUSIONSCOPE_RUN": run},
        capture_output=True,
        text=True,
    )


def test_a_user_s_mistake_is_not_tried_again_in_the_same_run(tmp_path):
    mistake = 'raise InputError("set x")'
    first, again, later = (run_job(tmp_path, mistake, run) for run in ("1", "1", "2"))
    assert [job.stdout for job in (first, again, later)] == ["tried\n", "", "tried\n"]
    for job in (first, again, later):
        assert job.returncode == 1
        assert job.stderr == ""
    assert "set x" in (tmp_path / "job.log").read_text()
    assert run_job(tmp_path, "pass", "3").returncode == 0
    assert not (tmp_path / "job.log.refused").exists()


def test_a_full_disk_ends_a_job_in_one_sentence_and_leaves_no_note(tmp_path):
    job = run_job(tmp_path, 'open("/dev/full", "w").write("x" * 10**6)', "1")
    log = (tmp_path / "job.log").read_text()
    assert job.returncode == 1
    assert "its disk is full" in log
    assert "Traceback" not in log + job.stderr
    assert not (tmp_path / "job.log.refused").exists()


def test_ctrl_c_ends_a_job_without_a_traceback_wherever_it_is(tmp_path):
    (tmp_path / "interrupted.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    job = run_job(tmp_path, "import interrupted; print('went on')", "1")
    assert job.returncode == -signal.SIGINT
    assert job.stdout == ""
    assert job.stderr == ""
