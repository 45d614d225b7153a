"""Jobs' work on a pretended GPU: no tensors of two devices meet, the CPU's numbers, and few waits."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUPPORT = ROOT / "tests/support"
QUICK = (
    "training: bfloat16",
    "fusion: optimal_transport, activations, pre, sinkhorn",
    "fusion: average, repair, no batch norm",
    "input space: more classes than iterations",
    "scales: bfloat16",
    "prediction space",
    "connectivity space: path of 3 points, repaired",
    "pair space: alignment",
)
ROUNDING = 1e-13  # of upper bounds: ARPACK works on the CPU, and its products depend on where arrays lie
LAWS = """
import pytest
import pretended_gpu
gpu = pretended_gpu.register()
import torch

with pretended_gpu.PretendedGpu():
    there, here = torch.ones(3, device=gpu), torch.ones(3)
    of_gpu, of_cpu = torch.Generator(gpu), torch.Generator()
    mixing = [
        lambda: there + here,
        lambda: here.add_(there),
        lambda: torch.cat([there, here]),
        lambda: torch.where(there > 0, there, here),
        lambda: here[there > 0],
        lambda: there.index_select(0, torch.tensor([0])),
        lambda: torch.nn.functional.cross_entropy(there[None], torch.tensor([1])),
        lambda: torch.randn(3, device=gpu, generator=of_cpu),
        lambda: torch.randn(3, generator=of_gpu),
    ]
    for mix in mixing:
        with pytest.raises(pretended_gpu.Mixed):
            mix()
    waiting = [
        lambda: there.sum().item(),
        lambda: bool(there[0] > 0),
        lambda: there.nonzero(),
        lambda: there[there > 0],
        lambda: there.tolist(),
        lambda: there.cpu(),
        lambda: here.to(gpu),
        lambda: torch.tensor([1.0], device=gpu),
        lambda: there[torch.tensor([0])],
        lambda: torch.equal(there, there),
    ]
    for wait in waiting:
        pretended_gpu.WAITS.clear()
        wait()
        assert len(pretended_gpu.WAITS) == 1, pretended_gpu.WAITS
    pretended_gpu.WAITS.clear()
    there + torch.tensor(2.0)
    here.to(gpu, non_blocking=True)
    there[there.argsort()]
    there[there > 0] = 0.0
    assert not pretended_gpu.WAITS
"""


def run(*arguments: str) -> None:
    """In a process of its own: the pretended GPU changes PyTorch for good."""
    paths = {"PYTHONPATH": f"{SUPPORT}:{ROOT / 'scripts'}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=paths)
    assert done.returncode == 0, done.stderr


def outcomes(folder: Path, *names: str) -> dict[str, dict]:
    """What came of the cases of those names, or of all; see support/gpu_cases.py."""
    run(str(SUPPORT / "gpu_cases.py"), str(folder / "outcomes.json"), *names)
    return json.loads((folder / "outcomes.json").read_text())


def waits_of(outcome: dict) -> int:
    return sum(outcome["waits"].values())


def test_the_pretended_gpu_refuses_mixtures_and_counts_waits_as_a_gpu_does():
    run("-c", LAWS)


def test_jobs_work_on_a_gpu_and_give_the_cpu_s_numbers(tmp_path):
    found = outcomes(tmp_path, *QUICK)
    assert {name: outcome["difference"] for name, outcome in found.items()} == dict.fromkeys(QUICK, 0.0)


@pytest.mark.slow
def test_all_work_gives_the_cpu_s_numbers_and_waits_as_often_as_is_documented(tmp_path):
    found = outcomes(tmp_path)
    assert {name for name, outcome in found.items() if outcome["difference"] > ROUNDING} == set()
    inexact = {name for name, outcome in found.items() if outcome["difference"] > 0}
    assert inexact <= {"input space", "complexity", "complexity: batch norm"}

    page = (ROOT / "docs/running.md").read_text()
    documented = dict(re.findall(r"^\| ([^|]+) \| (\d+) \| .*\|$", page, re.MULTILINE))
    for name, outcome in found.items():
        # searches take a step more or less on another processor
        assert waits_of(outcome) == pytest.approx(int(documented[name]), rel=0.1, abs=1), name


@pytest.mark.slow
def test_no_step_of_a_training_waits(tmp_path):
    """Four times the steps: as many waits, but for keeping the weights of each epoch that is the best."""
    few, many = outcomes(tmp_path, *(f"training: 2 epochs of {steps} steps" for steps in (4, 16))).values()
    keeping = "copy to the CPU in training/train.py: train"
    assert {**few["waits"], keeping: 0} == {**many["waits"], keeping: 0}
