"""The workflow on SLURM: a real cluster, where jobs wait for GPUs, run out of time, are cancelled and crash.

Needs sbatch and a controller that answers. With FUSIONSCOPE_SLURM_SCRIPTS (by default ../shared/slurm beside
the repository) naming a folder with `start.sh`, `crash_node.sh` and `snakemake_fastpoll.py`, nodes crash, and
jobs are looked after every half second.
"""

import copy
import os
import re
import shutil
import signal
import subprocess
import time
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest
import yaml

from fusionscope.report.plot_table import PLOTS

from .conftest import ROOT, TINY, Workflow

SCRIPTS = Path(os.environ.get("FUSIONSCOPE_SLURM_SCRIPTS", ROOT.parent / "shared" / "slurm"))
FAST_POLL = SCRIPTS / "snakemake_fastpoll.py"
PROGRAM = (str(FAST_POLL),) if FAST_POLL.exists() else ("-m", "snakemake")
RUN_SECONDS = 1200
STATE_SECONDS = 120  # for a job or a node to get where it has to

# All tables and one plot.
TARGETS = ("results/measurements.csv", "results/tiny/summary.csv", "results/tiny/results.csv")
TARGETS += ("results/tiny/plots/accuracy.png",)

# An epoch is one step and takes some seconds; all of them take longer than the minute and a half in which
# SLURM ends a job with a limit of one minute (it looks every 30 s).
EPOCHS, EPOCH_SECONDS = 25, 4
SLOW_NETWORK = f"""
import time

from torch import nn


class Slow(nn.Sequential):
    def forward(self, images):
        if self.training:
            time.sleep({EPOCH_SECONDS})
        return super().forward(images)


def make(num_classes):
    return Slow(nn.Conv2d(3, 4, 3, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 8 * 8, num_classes))
"""


@dataclass(frozen=True)
class SlurmJob:
    """What SLURM knows of a job."""

    number: str
    what: str  # the rule and its wildcards, or the group and its rules
    state: str
    node: str
    gpus: int
    memory: str
    minutes: int  # the time limit
    restarts: int
    started: datetime | None
    ended: datetime | None


@dataclass(frozen=True)
class SlurmRun:
    """A run of the workflow on SLURM: where it is, and the first part of the names of its jobs."""

    workflow: Workflow
    name: str

    @classmethod
    def of(cls, workflow: Workflow) -> "SlurmRun":
        workflow.program = PROGRAM
        return cls(workflow, f"test_{uuid.uuid4().hex[:8]}")

    def run(self, *arguments: str) -> None:
        """Fails if the run does, or takes too long."""
        process = self.workflow.start(
            *("--workflow-profile", "profiles/slurm", "--slurm-jobname-prefix", self.name),
            *("--slurm-init-seconds-before-status-checks", "1"),
            *arguments,
        )
        try:
            output, errors = process.communicate(timeout=RUN_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, errors = process.communicate()
        assert process.returncode == 0, output + errors

    def jobs(self, what: str = "") -> list[SlurmJob]:
        """Its jobs of rules or groups whose name begins with `what`, ended ones included, in order."""
        lines = slurm("scontrol", "--oneliner", "show", "job").splitlines()
        found = [slurm_job(line) for line in lines if f"JobName={self.name}_" in line]
        return sorted((job for job in found if job.what.startswith(what)), key=lambda job: int(job.number))

    def file(self, path: str) -> bytes:
        return (self.workflow.folder / path).read_bytes()


def slurm(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def slurm_job(line: str) -> SlurmJob:
    """From a line of `scontrol --oneliner show job`."""
    said = dict(re.findall(r"(\S+?)=(\S*)", line))
    days, _, rest = said["TimeLimit"].rpartition("-")
    hours, minutes, _ = rest.split(":")
    gpus = re.search(r"gpu:(\d+)", said.get("TresPerJob", ""))
    return SlurmJob(
        number=said["JobId"],
        what=re.sub("^rule_", "", said["Comment"]),
        state=said["JobState"],
        node=said.get("NodeList", ""),
        gpus=int(gpus.group(1)) if gpus else 0,
        memory=said["MinMemoryNode"],
        minutes=int(days or 0) * 24 * 60 + int(hours) * 60 + int(minutes),
        restarts=int(said["Restarts"]),
        started=moment(said["StartTime"]),
        ended=moment(said["EndTime"]),
    )


def moment(text: str) -> datetime | None:
    return None if text == "Unknown" else datetime.fromisoformat(text)


def wait_until(what: str, condition):
    """The first true value of `condition`."""
    end = time.monotonic() + STATE_SECONDS
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {STATE_SECONDS} s for {what}"
        time.sleep(0.5)
    return found


def node_state(node: str) -> str:
    return slurm("sinfo", "--noheader", f"--nodes={node}", "--format=%T").strip()


def at_once(jobs: list[SlurmJob]) -> int:
    """How many of them ran at the same time, at most."""
    return max(sum(other.started <= job.started < other.ended for other in jobs) for job in jobs)


@pytest.fixture(scope="module")
def cluster():
    """Skips where there is none; in the end no job is left."""
    if shutil.which("sbatch") is None:
        pytest.skip("no SLURM: sbatch is not on PATH")
    try:
        slurm("scontrol", "ping")
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip("no SLURM: its controller does not answer; start one (docs/clusters.md)")
    yield
    for line in slurm("squeue", "--me", "--noheader", "--format=%i %j").splitlines():
        number, name = line.split()
        if name.startswith("test_"):
            slurm("scancel", number)


@pytest.fixture(scope="module")
def two_nodes(cluster):
    if slurm("sinfo", "--noheader", "--Node", "--format=%G").split() != ["gpu:1", "gpu:1"]:
        pytest.skip("this SLURM does not have two nodes with one GPU each")


@pytest.fixture(scope="module")
def fresh_copy(tmp_path_factory):
    """Makes workflows before their first run: one seed, one fusion."""

    def make() -> Workflow:
        settings = copy.deepcopy(TINY)
        settings["experiments"]["tiny"] |= {"seeds": 1, "fusions": ["naive_fused"]}
        return Workflow.fresh(tmp_path_factory.mktemp("slurm") / "workflow", settings)

    return make


@pytest.fixture(scope="module")
def local_run(cluster, fresh_copy) -> Workflow:
    workflow = fresh_copy()
    workflow.run(*TARGETS)
    return workflow


@pytest.fixture(scope="module")
def overtime_started(cluster, fresh_copy) -> Future:
    """Two minutes of sleep, on no GPU: begun early, for other runs to go on beside it."""
    workflow = fresh_copy()
    (workflow.folder / "my_nets.py").write_text(SLOW_NETWORK)
    del workflow.tiny["model_type"], workflow.tiny["width"]
    workflow.tiny["architecture"] = "my_nets:make"
    workflow.settings["training"]["tiny"] |= {"epochs": EPOCHS, "batch_size": 2000}
    workflow.settings["device"] = "cpu"
    run = SlurmRun.of(workflow)
    curve = "experiments/tiny/tiny_seed1/parent_1_learning_curve.csv"

    def go() -> SlurmRun:
        run.run(curve, "--set-resources", "train:runtime=attempt")  # minutes
        return run

    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(go)


@pytest.fixture(scope="module")
def tiny_run(overtime_started, local_run, fresh_copy) -> SlurmRun:
    run = SlurmRun.of(fresh_copy())
    run.run(*TARGETS)
    return run


@pytest.fixture(scope="module")
def overtime_run(overtime_started) -> SlurmRun:
    return overtime_started.result()


@dataclass(frozen=True)
class Interrupted:
    run: SlurmRun
    cancelled: SlurmJob
    crashed: SlurmJob | None  # None where nodes cannot be made to crash


@pytest.fixture(scope="module")
def interrupted_run(two_nodes, overtime_run, fresh_copy) -> Interrupted:
    """Two trainings on two nodes: one job is cancelled, the node of the other crashes and comes back."""
    run = SlurmRun.of(fresh_copy())
    results = [prediction(parent) for parent in (1, 2)]
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(run.run, *results)
        both = wait_until("two trainings", lambda: running_trainings(run))
        cancelled, crashed = both
        slurm("scancel", cancelled.number)
        if (SCRIPTS / "crash_node.sh").exists():
            crash_and_restart(crashed.node)
        else:
            crashed = None
        ended.result()
    return Interrupted(run, cancelled, crashed)


def prediction(parent: int) -> str:
    return f"results/tiny/seed1/parent_{parent}/prediction_space.csv"


def running_trainings(run: SlurmRun) -> list[SlurmJob]:
    """Both of them, or nothing yet."""
    found = [job for job in run.jobs("train") if job.state == "RUNNING"]
    return found if len({job.node for job in found}) == 2 else []


def crash_and_restart(node: str) -> None:
    try:
        subprocess.run(["bash", SCRIPTS / "crash_node.sh", node], check=True, timeout=60)
        wait_until(f"{node} to be down", lambda: node_state(node).startswith("down"))
    finally:
        subprocess.run(["bash", SCRIPTS / "start.sh"], check=True, timeout=120)


@pytest.mark.slurm
def test_a_run_on_slurm_ends_with_the_same_bytes_as_a_local_one(tiny_run, local_run):
    expected = local_run.csv_files()
    assert len(expected) > len(TARGETS)
    assert tiny_run.workflow.csv_files() == expected


@pytest.mark.slurm
def test_a_job_asks_for_a_gpu_if_its_rule_does(tiny_run, overtime_run):
    asked = {
        what: {job.gpus for job in tiny_run.jobs(what)} for what in ("train", "measure", "fuse", "tables")
    }
    assert asked == {"train": {1}, "measure": {1}, "fuse": {0}, "tables": {0}}
    assert {job.gpus for job in overtime_run.jobs()} == {0}  # device: cpu


@pytest.mark.slurm
def test_a_group_takes_turns_on_one_gpu_and_asks_for_the_time_of_all_its_jobs(tiny_run):
    (group,) = tiny_run.jobs("measures_tiny_1_naive_fused")
    assert group.what.endswith("measure_connectivity_measure_input_measure_prediction")
    assert (group.gpus, group.memory, group.minutes) == (1, "4000M", 240 + 120 + 60)
    (tables,) = tiny_run.jobs("tables")
    assert (tables.memory, tables.minutes) == ("2000M", 3 * 20)
    # parents, child, four for the measures of each, one for the pair, tables
    assert len(tiny_run.jobs()) == 2 + 1 + 3 * 4 + 1 + 1


@pytest.mark.slurm
def test_two_nodes_with_a_gpu_each_run_two_gpu_jobs_at_once_and_never_three(two_nodes, tiny_run):
    on_gpus = [job for job in tiny_run.jobs() if job.gpus]
    assert len(on_gpus) > 2
    assert at_once(on_gpus) == 2


@pytest.mark.slurm
def test_a_training_that_runs_out_of_time_goes_on_after_its_last_epoch(overtime_run):
    jobs = overtime_run.jobs("train")
    assert [job.state for job in jobs] == ["TIMEOUT"] * (len(jobs) - 1) + ["COMPLETED"]
    assert [job.minutes for job in jobs] == list(range(1, len(jobs) + 1))
    assert len(jobs) > 1
    folder = overtime_run.workflow.folder
    log = (folder / "logs/train/tiny_seed1_parent_1.log").read_text()
    assert re.search(rf"goes on after epoch [1-9]\d* of {EPOCHS}", log), log
    curve = pd.read_csv(folder / "experiments/tiny/tiny_seed1/parent_1_learning_curve.csv")
    assert list(curve.epoch) == list(range(1, EPOCHS + 1))


@pytest.mark.slurm
def test_a_cancelled_job_is_submitted_again_with_more_time(interrupted_run, local_run):
    run, cancelled = interrupted_run.run, interrupted_run.cancelled
    jobs = run.jobs(cancelled.what)
    assert [job.state for job in jobs] == ["CANCELLED", "COMPLETED"]
    assert jobs[1].minutes == 2 * jobs[0].minutes
    assert_as_local(run, local_run)


@pytest.mark.slurm
def test_the_jobs_of_a_crashed_node_run_again(interrupted_run, local_run):
    run, crashed = interrupted_run.run, interrupted_run.crashed
    if crashed is None:
        pytest.skip(f"no crash_node.sh in {SCRIPTS}")
    (job,) = run.jobs(crashed.what)
    assert (job.number, job.state) == (crashed.number, "COMPLETED")
    assert job.restarts > 0
    assert not node_state(crashed.node).startswith("down")
    assert_as_local(run, local_run)


def assert_as_local(run: SlurmRun, local_run: Workflow) -> None:
    expected = local_run.csv_files()
    for parent in (1, 2):
        assert run.file(prediction(parent)) == expected[prediction(parent)]


def profile(name: str) -> dict:
    return yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text())


def test_the_profile_says_again_what_the_default_one_says():
    default, on_slurm = profile("default"), profile("slurm")
    retries = default.pop("retries"), on_slurm["retries"]
    assert retries[0] <= retries[1]
    assert {key: on_slurm.get(key) for key in default} == default


def test_every_rule_is_in_a_group_or_alone_on_purpose(fresh):
    """Snakemake says nothing of a group for a rule that is not there."""
    rules = set(fresh.snakemake("--list-rules").stdout.split())
    alone = {"train", "fuse", "measure_hessian", "measure_scales", "measure_complexity"}
    alone |= {"measure_pair", "correlate_pooled", "predict"}
    local = {"all", "prepare_data", "collect_measurements", "collect_results", "report"}
    local |= {"tabulate_sweep", "plot_sweep", "plot_predictors"}
    groups = profile("slurm")["groups"]
    assert set(groups) == rules - alone - local
    joined = [group for rule, group in groups.items() for _ in (PLOTS if rule == "plot" else [rule])]
    assert profile("slurm")["group-components"] == {group: joined.count(group) for group in joined}
