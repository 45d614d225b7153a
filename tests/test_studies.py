"""The configurations of docs/studies/ can be run as they are."""

from pathlib import Path

import pytest
import yaml
from studies import ROOT, read, study_of

from machinery.settings import resolve_experiments

STUDIES = sorted((ROOT / "docs/studies").glob("*.yaml"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_configuration_of_a_study_is_valid_to_its_last_experiment(path: Path):
    mine = yaml.safe_load(path.read_text())
    mine["run"] = list(mine["experiments"])  # those too that only a GPU is asked to run
    assert study_of(mine).results()
    assert path.with_suffix(".md").is_file()


def test_published_networks_differ_in_their_width_alone():
    mine = yaml.safe_load((ROOT / "docs/studies/repair_mlp.yaml").read_text())
    mine["run"] = list(mine["experiments"])
    experiments = resolve_experiments(read(mine))
    for name, experiment in experiments.items():
        assert name == f"repair_mlp_{experiment.pop('width'):g}"
        experiment.pop("widths")
        assert experiment["depth"] == 11
        assert experiment["spaces"] == ["prediction"]
    first, *others = experiments.values()
    assert all(experiment == first for experiment in others)
