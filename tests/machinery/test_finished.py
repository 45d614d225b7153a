"""Which experiments, besides those of a run, have all that is measured of them."""

import copy
from pathlib import Path

import pytest
from studies import read, study_of, tiny_settings

from machinery.finished import finished_experiments

OFF = dict.fromkeys(["input", "parameter", "connectivity", "pair"], False)
OTHER = {"spaces": {"prediction": True} | OFF}
FILES = [
    f"results/other/seed{seed}/{model}/prediction_space.csv"
    for seed in (1, 2)
    for model in ("parent_1", "parent_2", "naive_fused", "geometric_fused")
]


@pytest.fixture
def mine() -> dict:
    """A run of one of two experiments."""
    settings = tiny_settings()
    settings["experiments"]["other"] = copy.deepcopy(settings["experiments"]["tiny"]) | OTHER
    return settings


def write(folder: Path, files=FILES, text: str = "a,b\n") -> None:
    for path in files:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def found(settings: dict, below: str = "") -> dict:
    def as_kept(path: str) -> str:
        return below + path

    return finished_experiments(read(settings), lambda path: Path(as_kept(path)).exists(), as_kept)


def test_an_experiment_counts_when_all_its_files_are_there(mine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert found(mine) == {}
    write(tmp_path, FILES[1:])
    assert found(mine) == {}
    write(tmp_path)
    assert list(found(mine)) == ["other"]
    assert found(mine)["other"]["files"] == FILES
    mine["experiments"]["other"]["seeds"] = 3
    assert found(mine) == {}


def test_the_files_are_those_that_a_run_of_it_measures(mine):
    mine["run"] = ["other"]
    assert study_of(mine).all_measurements() == FILES


def test_experiments_of_the_run_are_no_others(mine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    mine["run"] = ["tiny", "other"]
    assert found(mine) == {}


def test_what_is_in_the_files_makes_the_difference_and_their_times_do_not(mine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    before = found(mine)
    write(tmp_path)
    assert found(mine) == before
    write(tmp_path, FILES[3:4], "a,c\n")
    assert found(mine) != before


def test_a_mistake_in_an_experiment_that_nobody_runs_breaks_nothing(mine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    mine["experiments"]["other"]["training"] = "no_such_recipe"
    assert found(mine) == {}


def test_files_may_lie_below_a_prefix(mine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "below")
    assert found(mine) == {}
    assert found(mine, "below/")["other"]["files"] == [f"below/{path}" for path in FILES]
