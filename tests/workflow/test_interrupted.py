"""Runs that are killed, in part or whole, and go on; several GPUs; a GPU whose memory runs out."""

import os
import re
import signal
import subprocess
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from .conftest import Workflow

LONG_ENOUGH = 20  # epochs, to be killed amid
PATIENCE = 240  # seconds for anything that is waited for

pytestmark = pytest.mark.slow


def until(true, what: str):
    """Wait until `true()`; what it gave."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = true()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {PATIENCE} s: {what}")


def weights(workflow: Workflow) -> dict[str, dict]:
    files = sorted((workflow.folder / "experiments").rglob("*.pth"))
    return {str(path.relative_to(workflow.folder)): torch.load(path, weights_only=True) for path in files}


def assert_same_weights(one: Workflow, other: Workflow):
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for path, tensors in first.items():
        assert all(torch.equal(tensors[name], second[path][name]) for name in tensors), path


def logs(workflow: Workflow, rule: str) -> list[Path]:
    return sorted((workflow.folder / "logs" / rule).glob("*.log"))


def stamp(log: str, words: str) -> datetime:
    return datetime.strptime(re.search(rf"^(\S+ \S+) {words}", log, re.MULTILINE)[1], "%Y-%m-%d %H:%M:%S,%f")


def kill_once(workflow: Workflow, pattern: str):
    """Run it, and kill all of it once a file of that name is there."""
    process = workflow.start("--cores", "2", "--until", "fuse")
    until(lambda: list(workflow.folder.rglob(pattern)), pattern)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_a_run_killed_as_a_whole_goes_on_and_ends_in_the_same_weights(fresh, tmp_path):
    """Amid the training of a parent, and amid the fine-tuning of a child."""
    finetuned = {"method": "average", "finetune": {"epochs": 2 * LONG_ENOUGH, "learning_rate": 0.01}}
    fresh.settings["fusions"] = {"finetuned": finetuned}
    fresh.tiny.update(seeds=1, fusions=["naive_fused", "finetuned"])
    fresh.settings["training"]["tiny"].update(epochs=LONG_ENOUGH, schedule={"kind": "one_cycle"})
    unbroken = fresh.copy(tmp_path / "unbroken")
    unbroken.run("--until", "fuse")

    kill_once(fresh, "parent_?_last_epoch.pth")
    kill_once(fresh, "finetuned_last_epoch.pth")
    trained = "".join(path.read_text() for path in logs(fresh, "train"))
    fresh.run("--until", "fuse")  # no --unlock, no --rerun-incomplete

    assert re.search(r" goes on after epoch \d+ of 20", trained)
    fused = (fresh.folder / "logs/fuse/tiny_seed1_finetuned.log").read_text()
    assert re.search(r"fine-tuning goes on after epoch \d+ of 40", fused)
    assert not list(fresh.folder.rglob("*_last_epoch.pth"))
    assert_same_weights(fresh, unbroken)
    assert {"train", "fuse"}.isdisjoint(fresh.planned())


def test_a_lock_is_respected_while_a_job_of_the_dead_run_lives_on(fresh):
    """The run alone is killed: its training goes on writing, and a second run would write the same files."""
    fresh.tiny["seeds"] = 1
    fresh.settings["training"]["tiny"]["epochs"] = 400
    process = fresh.start("--cores", "2", "--until", "train")
    until(lambda: list(fresh.folder.rglob("*_last_epoch.pth")), "a first epoch")
    process.kill()
    process.wait()
    try:
        assert "cannot be locked" in fresh.refused("--until", "train")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    fresh.settings["training"]["tiny"]["epochs"] = 1
    fresh.run("--until", "train")


def job_processes(workflow: Workflow, rule: str) -> list[int]:
    """The processes that run scripts of a rule in the workflow's folder."""
    found = subprocess.run(["pgrep", "-f", rf"scripts/\.?\w*\.?{rule}\.py"], capture_output=True, text=True)
    folder = workflow.folder.resolve()
    return [pid for pid in map(int, found.stdout.split()) if Path(f"/proc/{pid}/cwd").resolve() == folder]


def test_eight_jobs_on_four_gpus_get_one_each_and_a_killed_job_frees_its_own(fresh):
    fresh.tiny["seeds"] = 4
    fresh.settings["training"]["tiny"]["epochs"] = LONG_ENOUGH
    process = fresh.start(
        "--cores", "8", "--resources", "gpu=4", "--until", "train", CUDA_VISIBLE_DEVICES="0,1,2,3"
    )
    begun = until(lambda: list(fresh.folder.rglob("*_last_epoch.pth")), "a first epoch")[0]
    seed, parent = re.search(r"_seed(\d)/parent_(\d)", str(begun)).groups()
    log = fresh.folder / f"logs/train/tiny_seed{seed}_parent_{parent}.log"
    gpu = re.search(r"GPU (\d),", log.read_text())[1]
    [victim] = [pid for pid in job_processes(fresh, "train") if holds(pid, log)]
    os.kill(victim, signal.SIGKILL)
    killed = datetime.now()
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output + errors

    uses: dict[str, list] = {}
    for path in logs(fresh, "train"):
        text = path.read_text()
        name = re.search(r"GPU (\d), of 0, 1, 2, 3", text)[1]
        uses.setdefault(name, []).append((stamp(text, "GPU"), stamp(text, "work took")))
    assert sorted(uses) == ["0", "1", "2", "3"]
    assert sum(map(len, uses.values())) == 8
    for times in uses.values():
        assert all(end <= start for (_, end), (start, _) in pairwise(sorted(times)))
    assert any(start > killed for start, _ in uses[gpu])
    assert "goes on after epoch" in log.read_text()


def holds(pid: int, path: Path) -> bool:
    """Whether a process has a file open."""
    files = Path(f"/proc/{pid}/fd").iterdir()
    return any(os.path.realpath(file) == str(path.resolve()) for file in files)


SMALL_GPU = '''
import torch
from torch import nn


class Network(nn.Sequential):
    """Answers no batch of more than 20 images at once, but for those of training and of its validation."""

    def forward(self, x):
        if not self.training and 20 < len(x) <= 64:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return super().forward(x)


def make(num_classes):
    return Network(nn.Flatten(), nn.Linear(3 * 32 * 32, num_classes))
'''


def test_out_of_memory_is_tried_again_with_half_the_images_at_once(fresh):
    (fresh.folder / "my_nets.py").write_text(SMALL_GPU)
    del fresh.tiny["model_type"], fresh.tiny["width"]
    fresh.tiny.update(architecture="my_nets:make", seeds=1)
    target = "results/tiny/seed1/parent_1/prediction_space.csv"
    log = fresh.folder / "logs/measure_prediction/tiny_seed1_parent_1.log"
    note = log.with_name(log.name + ".out_of_memory")

    refused = fresh.refused(target)  # 64, and 32 once more: both too many
    assert "the next attempt halves the 64 images evaluated at once" in refused
    assert "the next attempt halves the 32 images evaluated at once" in refused
    assert "32 images at once: with 64, memory ran out" in log.read_text()
    assert note.read_text() == "32"
    assert not (fresh.folder / target).exists()

    fresh.run(target)  # it goes on from what it has learnt
    assert "16 images at once: with 32, memory ran out" in log.read_text()
    assert not note.exists()


SMALL_GPU_FOR_FUSION = '''
import torch
from torch import nn


def check_memory(layer, inputs):
    """As on a GPU with room for 256 images at once, or for what 32 make the layers of two networks answer."""
    if not layer.training and len(inputs[0]) in (64, 512):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


def make(num_classes):
    entrance = nn.Identity()
    entrance.register_forward_pre_hook(check_memory)
    layers = nn.Conv2d(3, 8, 3, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(entrance, *layers, nn.Linear(8, num_classes))
'''


@pytest.mark.slow
def test_a_fusion_that_runs_out_of_memory_matches_and_repairs_with_half_the_images_at_once(fresh):
    (fresh.folder / "my_nets.py").write_text(SMALL_GPU_FOR_FUSION)
    del fresh.tiny["model_type"], fresh.tiny["width"]
    fusions = ["naive_repaired", "activations_repaired"]
    fresh.tiny.update(architecture="my_nets:make", seeds=1, fusions=fusions)
    said = fresh.run(*(f"experiments/tiny/tiny_seed1/{name}.pth" for name in fusions))
    assert said.count("the next attempt halves the 512 images evaluated at once") == len(fusions)
    for name in fusions:
        log = fresh.folder / f"logs/fuse/tiny_seed1_{name}.log"
        assert "256 images at once: with 512, memory ran out" in log.read_text()
        assert not log.with_name(log.name + ".out_of_memory").exists()

    target = "results/tiny/seed1/activations_repaired/connectivity_space.csv"
    said = fresh.run(target)  # of the 64 images that measures look at once, 32 are left, and of REPAIR's 256
    assert "the next attempt halves the 64 images evaluated at once" in said
    assert (fresh.folder / target).exists()
