"""Whatever breaks a run: the next one ends in the same bytes, and nobody sees a traceback."""

import os
import random
import re
import shutil
from pathlib import Path

import pytest
import torch
from studies import tiny_settings
from workflows import Workflow

from .faults_of_runs import FAULTS, NEED_ROOT, Case
from .tally import LOST, RIGHT, SENTENCE, TRACEBACK, Tally, tries

# How many of each, in the long form and in CI.
COUNTS = {
    "faults of a run: signals": (80, 6),
    "faults of a run: two at once": (10, 1),
    "faults of a run: memory": (20, 1),
    "faults of a run: full disk": (25, 2),
    "faults of a run: read-only": (20, 2),
    "faults of a run: damaged files": (60, 6),
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Workflow:
    """A run that has ended; faults look at one of its two seeds."""
    settings = tiny_settings(seeds=2, fusions=["geometric_fused"], plots=["accuracy"])
    workflow = Workflow.fresh(tmp_path_factory.mktemp("undisturbed") / "workflow", settings)
    workflow.run()
    return workflow


def content(folder: Path) -> dict[str, object]:
    """What a run is for: its tables byte by byte, and its weights."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix == ".csv" and name.startswith(("results", "experiments")):
            found[name] = path.read_bytes()
        elif path.suffix == ".pth" and name.startswith("experiments"):
            weights = torch.load(path, weights_only=True)
            found[name] = {key: tensor.numpy().tobytes() for key, tensor in weights.items()}
    return found


def difference(one: dict, other: dict) -> str:
    names = [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]
    return ", ".join(names)


def outcome(case: Case, fault, right: dict) -> tuple[str, str]:
    """What became of the run, and all that is worth knowing about it."""
    fault(case)
    disturbed = case.failed
    succeeded = case.run()
    advised = case.damaged and any(path in case.printed[-1] for path in case.damaged)
    if not succeeded and advised:  # the sentence names it: deleted, it is made again
        for path in case.damaged:
            (case.workflow.folder / path).unlink(missing_ok=True)
        succeeded = case.run()
    lost = difference(content(case.workflow.folder), right)
    printed = "\n".join(case.printed)
    shown = re.search(r"Traceback|Error: .{0,200}Errno|Segmentation", printed)
    if not succeeded or lost:
        return (
            LOST,
            f"{case.told}: differs in {lost or 'nothing'}, ended {succeeded}\n{case.printed[-1][-1500:]}",
        )
    if shown:
        return TRACEBACK, f"{case.told}\n{printed[max(0, shown.start() - 300) : shown.start() + 1500]}"
    return (SENTENCE if disturbed else RIGHT), case.told


@pytest.mark.parametrize("name", FAULTS)
def test_nothing_is_lost_and_no_traceback_shown(name, undisturbed, tmp_path, record_property):
    fault = FAULTS[name]
    if fault in NEED_ROOT and os.getuid() != 0:
        pytest.skip("mounts file systems: for root alone")
    tally = Tally(name)
    right = content(undisturbed.folder)
    chosen = os.environ.get("FAULT_SEEDS")  # to repeat some of them: FAULT_SEEDS=3,17
    seeds = map(int, chosen.split(",")) if chosen else range(tries(*COUNTS[name]))
    for seed in seeds:
        workflow = undisturbed.copy(tmp_path / f"{seed}")
        case = Case(workflow, random.Random(f"{name} {seed}"))
        found, told = outcome(case, fault, right)
        print(f"{name} {seed}: {found}: {told if found in (LOST, TRACEBACK) else case.told}", flush=True)
        tally.add(found, f"FAULT_SEEDS={seed}: {told}")
        shutil.rmtree(workflow.folder)
    tally.end(record_property)
