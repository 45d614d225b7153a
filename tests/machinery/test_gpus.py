"""Each job gets a GPU of its own, and a job that dies gives it back."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from machinery.gpus import lease, lock_folder, named_gpus, wait_for_lease

HOLD = """
import sys, time
from pathlib import Path
from machinery.gpus import lease
held = lease(sys.argv[2].split(","), int(sys.argv[3]), Path(sys.argv[1]))
print(held and held.gpu, flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Starts processes that take a GPU and keep it; each with the GPU it was given, a word."""
    running = []

    def start(gpus: str, slots: int = 1):
        command = [sys.executable, "-c", HOLD, str(tmp_path), gpus, str(slots)]
        scripts = Path(__file__).parents[2] / "scripts"
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(scripts)}
        )
        running.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in running:
        process.kill()
        process.wait()


def test_jobs_side_by_side_get_a_gpu_each_and_one_too_many_gets_none(holder):
    assert [holder("0,1,2")[1] for _ in range(4)] == ["0", "1", "2", "None"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_job_frees_its_gpu(holder, how):
    holder("0,1")
    process, gpu = holder("0,1")
    assert gpu == "1"
    process.send_signal(how)
    process.wait(timeout=30)
    assert holder("0,1")[1] == "1"


def test_slots_let_jobs_share_a_gpu_once_every_gpu_has_one(holder):
    assert [holder("0,1", slots=2)[1] for _ in range(5)] == ["0", "1", "0", "1", "None"]


def test_who_sees_some_of_the_gpus_takes_only_those_and_by_the_same_names(holder):
    assert holder("2,3")[1] == "2"
    assert [holder("0,1,2,3")[1] for _ in range(4)] == ["0", "1", "3", "None"]


def test_a_job_waits_until_a_gpu_is_free_and_says_so_once(tmp_path, holder):
    process, _ = holder("0")
    said = []

    def told():
        said.append("waiting")
        threading.Timer(1.2, process.kill).start()

    assert wait_for_lease(["0"], 1, tmp_path, told).gpu == "0"
    assert said == ["waiting"]


def test_the_index_is_the_place_among_the_visible_gpus(tmp_path):
    first, second = lease(["GPU-1f/2", "5"], 1, tmp_path), lease(["GPU-1f/2", "5"], 1, tmp_path)
    assert (first.gpu, first.index, second.gpu, second.index) == ("GPU-1f/2", 0, "5", 1)
    first.lock.release()
    assert lease(["5", "GPU-1f/2"], 1, tmp_path).index == 1


@pytest.mark.parametrize(
    ("visible", "count", "names"),
    [
        (None, None, []),
        (None, 3, ["0", "1", "2"]),
        ("2,0", None, ["2", "0"]),
        ("2, 0", 2, ["2", "0"]),
        ("2,0,9", 2, ["2", "0"]),  # as many as PyTorch finds: the last is not there
        ("", None, []),
        ("-1", None, []),
        ("1,-1,2", None, ["1"]),
        ("GPU-8932f937,MIG-41b3", None, ["GPU-8932f937", "MIG-41b3"]),
    ],
)
def test_visible_gpus_are_named_as_cuda_reads_them(monkeypatch, visible, count, names):
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert named_gpus(count) == names


def test_slurm_jobs_on_one_machine_do_not_wait_for_each_other(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    folders = {lock_folder()}
    for job in ("17", "18"):
        monkeypatch.setenv("SLURM_JOB_ID", job)
        folders.add(lock_folder())
    assert len(folders) == 3
