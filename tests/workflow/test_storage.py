"""Results kept elsewhere, by one of Snakemake's storage plugins: a second folder stands in for a bucket."""

import json
import shutil

import pandas as pd
import pytest

from .conftest import Workflow

pytestmark = pytest.mark.skipif(shutil.which("rsync") is None, reason="the plugin copies with rsync")


class Elsewhere:
    """A workflow, and the storage where its results are kept."""

    def __init__(self, workflow: Workflow, bucket):
        self.workflow = workflow
        self.bucket = bucket
        self.options = ("--default-storage-provider", "fs", "--default-storage-prefix", str(bucket))

    def run(self, *targets: str) -> str:
        return self.workflow.run(*targets, *self.options)

    def refused(self, *targets: str) -> str:
        return self.workflow.refused(*targets, *self.options)

    def planned(self) -> dict[str, int]:
        return self.workflow.planned(*self.options)


@pytest.fixture
def elsewhere(fresh, tmp_path) -> Elsewhere:
    return Elsewhere(fresh, tmp_path / "bucket")


@pytest.mark.slow
def test_results_in_a_storage_are_those_of_a_local_run_to_the_byte(finished_run, elsewhere):
    workflow = elsewhere.workflow  # here lies another experiment, which is not read beside what is there
    workflow.settings["experiments"]["other"] = dict(workflow.tiny)
    here = shutil.copytree(finished_run.folder / "results/tiny", workflow.folder / "results/other")
    elsewhere.run()
    shutil.rmtree(here)
    stored = Workflow(elsewhere.bucket, {})
    assert stored.csv_files() == finished_run.csv_files()
    assert elsewhere.planned() == {}
    assert elsewhere.workflow.csv_files() == {}  # nothing of it lies here
    record = json.loads((elsewhere.workflow.folder / "results/run.json").read_text())
    local = json.loads((finished_run.folder / "results/run.json").read_text())
    assert record["jobs"] == local["jobs"]
    counts = [{rule: times["jobs"] for rule, times in run["rules"].items()} for run in (record, local)]
    assert counts[0] == counts[1]
    elsewhere.workflow.tiny["seeds"] = 3
    assert elsewhere.planned()["train"] == 2


def test_provided_weights_are_found_in_the_storage(finished_run, elsewhere):
    settings = elsewhere.workflow.settings
    settings["run"] = ["mine"]
    settings["experiments"]["mine"] = dict(elsewhere.workflow.tiny, weights="provided", seeds=1)
    assert "no such file, though mine has 'weights: provided'" in elsewhere.refused("-n")
    source = finished_run.folder / "experiments/tiny/tiny_seed1"
    target = elsewhere.bucket / "experiments/mine/mine_seed1"
    target.mkdir(parents=True)
    for name in ("parent_1.pth", "parent_2.pth", "parent_1_initial_weights.pth"):
        shutil.copy(source / name, target / name)
    shutil.copy(source / "naive_fused.pth", target / "naive_fused.pth")
    assert elsewhere.planned()["fuse"] == 1  # naive_fused was brought
    elsewhere.run("results/mine/seed1/parent_1/complexity.csv")
    measured = pd.read_csv(elsewhere.bucket / "results/mine/seed1/parent_1/complexity.csv")
    assert measured.metric.str.endswith("_init").sum() == 4  # by the initial weights


def test_weights_in_the_storage_that_somebody_brought_are_not_overwritten(finished_run, elsewhere):
    target = elsewhere.bucket / "experiments/tiny/tiny_seed1"
    target.mkdir(parents=True)
    shutil.copy(finished_run.folder / "experiments/tiny/tiny_seed1/parent_1.pth", target)
    assert "would be overwritten" in elsewhere.refused()
