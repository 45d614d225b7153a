"""The workflow at home anywhere: in another folder, as a module of another workflow, read-only."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from studies import tiny_settings

from .conftest import Workflow

MODULE = """
module theirs:
    snakefile: "{snakefile}"
    config: config["fusion"]
    prefix: "below/here"


use rule * from theirs as fusion_*


rule mine:
    default_target: True
    input:
        rules.fusion_all.input,
    output:
        "mine.txt",
    shell:
        "cp {{input[0]}} {{output}}"
"""
OWN_NETWORK = """
from torch import nn


def make(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, num_classes))
"""
HEAVY = ("torch", "torchvision", "matplotlib", "scipy")  # Snakemake itself imports NumPy and pandas


def content(folder: Path) -> dict[str, str]:
    """Every file below a folder, and a hash of what it holds."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def checkout(fresh) -> Path:
    """The workflow's own folder, in which nothing may be written."""
    return fresh.folder


@pytest.fixture
def there(tmp_path) -> Path:
    """Somebody else's folder."""
    folder = tmp_path / "there"
    folder.mkdir()
    return folder


def snakemake(folder: Path, *arguments: str, **environment: str) -> str:
    """Run it in a folder; what it printed."""
    command = [sys.executable, "-m", "snakemake", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_another_folder_gets_the_files_and_the_workflow_s_own_stays_as_it_is(checkout, there, tmp_path):
    """The network is one's own: it is found in the folder that one works in."""
    before = content(checkout)
    mine = tiny_settings(architecture="my_nets:make", seeds=1)
    del mine["experiments"]["tiny"]["model_type"], mine["experiments"]["tiny"]["width"]
    (there / "mine.yaml").write_text(yaml.safe_dump(mine))
    (there / "my_nets.py").write_text(OWN_NETWORK)
    arguments = ["-s", f"{checkout}/Snakefile", "-d", str(there), "--configfile", f"{there}/mine.yaml"]
    target = "results/tiny/seed1/parent_1/prediction_space.csv"
    snakemake(tmp_path, *arguments, "--cores", "2", target)  # started in a third folder
    assert (there / target).is_file()
    assert (there / "logs/train/tiny_seed1_parent_1.log").is_file()
    assert "Nothing to be done" in snakemake(tmp_path, *arguments, "-n", target)
    with open(checkout / "scripts/train.py", "a") as file:
        file.write("# the profile beside the Snakefile holds: a comment retrains nothing\n")
    assert "Nothing to be done" in snakemake(tmp_path, *arguments, "-n", target)
    after = content(checkout)
    assert after.pop("scripts/train.py") != before.pop("scripts/train.py")
    assert after == before


def test_a_module_of_another_workflow_makes_its_files_below_a_prefix(checkout, there):
    before = content(checkout)
    (there / "Snakefile").write_text(MODULE.format(snakefile=checkout / "Snakefile"))
    (there / "their.yaml").write_text(yaml.safe_dump({"fusion": tiny_settings(seeds=1), "other": 1}))
    target = "below/here/experiments/tiny/tiny_seed1/parent_1.pth"
    options = ["--configfile", "their.yaml", "--workflow-profile", f"{checkout}/profiles/default"]
    planned = snakemake(there, *options, "-n", "-q", "rules")
    assert re.search(r"^fusion_measure_hessian +4$", planned, re.MULTILINE)
    assert re.search(r"^mine +1$", planned, re.MULTILINE)
    snakemake(there, *options, "--cores", "2", target)
    assert (there / target).is_file()
    assert (there / "below/here/data/digits.npz").is_file()
    assert "Nothing to be done" in snakemake(there, *options, "-n", target)
    (there / "below/here/experiments/tiny/tiny_seed1/parent_1_learning_curve.csv").unlink()
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *options, "-n"], cwd=there, capture_output=True, text=True
    )
    assert "parent_1.pth: would be overwritten" in done.stdout + done.stderr
    assert content(checkout) == before


def test_the_shipped_configuration_lies_below_whatever_the_user_says(checkout, there):
    """Without a word: the default run."""
    planned = snakemake(there, "-s", f"{checkout}/Snakefile", "-n", "-q", "rules")
    run = yaml.safe_load((checkout / "config.yaml").read_text())["run"]
    assert planned.split("\ntrain ")[1].split()[0] == str(len(run) * 3 * 2)


def test_planning_imports_nothing_heavy(fresh):
    program = (
        "import runpy, sys\nsys.argv = ['snakemake', '-n', '--configfile', 'mine.yaml']\n"
        "try:\n    runpy.run_module('snakemake', run_name='__main__')\n"
        f"finally:\n    print('heavy:', sorted(set({HEAVY}) & set(sys.modules)))"
    )
    (fresh.folder / "mine.yaml").write_text(yaml.safe_dump(fresh.settings))
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=fresh.folder, capture_output=True, text=True, check=False)
    assert "heavy: []" in done.stdout, done.stdout[-500:] + done.stderr[-500:]


def test_a_workflow_on_a_read_only_file_system_runs(checkout, there):
    """Root writes wherever it likes but there."""
    (there / "mine.yaml").write_text(yaml.safe_dump(tiny_settings(seeds=1)))
    run = f"{sys.executable} -m snakemake -s {checkout}/Snakefile --configfile mine.yaml -c 2 data/digits.npz"
    script = (
        f"mount --bind {checkout} {checkout} && mount -o remount,ro,bind {checkout} "
        f"&& ! touch {checkout}/here && {run}"
    )
    may = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    if subprocess.run([*may, script.split(" && !")[0]], capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    done = subprocess.run([*may, script], cwd=there, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (there / "data/digits.npz").is_file()


@pytest.mark.slow
def test_all_of_it_runs_in_another_folder_to_the_same_bytes(finished_run, checkout, there):
    before = content(checkout)
    (there / "mine.yaml").write_text(yaml.safe_dump(tiny_settings()))
    snakemake(there, "-s", f"{checkout}/Snakefile", "--configfile", "mine.yaml", "--cores", "2")
    assert Workflow(there, {}).csv_files() == finished_run.csv_files()
    assert content(checkout) == before
