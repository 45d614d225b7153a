"""What planning costs: Snakemake's dry run of 1, 10 and 100 experiments, before and after they were built.

    python benchmarks/dry_run.py [EXPERIMENTS ...] [--finished]

An experiment has 20 seeds of 2 parents and 4 children, each measured in three spaces: 490 jobs. `--finished`
plans the same where everything is up to date, as a rerun finds it: every output exists (a file of one line),
and Snakemake has written its own metadata about it (`snakemake --touch`), so that nothing is to be done.

CPU seconds are user + system of the Snakemake process. Other work on the machine disturbs them less than
wall seconds.
"""

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
CODE = ("Snakefile", "config.yaml", "rules", "scripts", "schemas", "envs", "profiles")
SEEDS = 20
FUSIONS = ["naive_fused", "geometric_fused", "activations_fused", "weight_matching_fused"]
SIZES = (1, 10, 100)  # experiments
MAXRSS_UNITS = 2**20 if sys.platform == "darwin" else 2**10  # of ru_maxrss in a megabyte
COLUMNS = ("state", "experiments", "jobs", "wall s", "CPU s", "peak MB", "CPU us/job")


def configuration(experiments: int) -> dict:
    """`experiments` alike, laid over config.yaml."""
    experiment = {
        "dataset": "digits",
        "model_type": "VGG11",
        "width": 0.25,
        "seeds": SEEDS,
        "training": "digits",
        "measurements": "quick",
        "fusions": FUSIONS,
        "spaces": {"connectivity": False},
        "weights": "trained",
    }
    names = [f"experiment_{number:03d}" for number in range(1, experiments + 1)]
    return {"run": names, "experiments": {name: dict(experiment) for name in names}}


def copy_workflow(folder: Path, experiments: int) -> None:
    for name in CODE:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, folder / name)
    (folder / "mine.yaml").write_text(yaml.safe_dump(configuration(experiments)))


def snakemake(folder: Path, *arguments: str) -> tuple[str, float, resource.struct_rusage]:
    """What the real thing printed, its wall seconds, and what it used."""
    command = [sys.executable, "-m", "snakemake", "--configfile", "mine.yaml", *arguments]
    with tempfile.TemporaryFile("w+") as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{text[-2000:]}")
    return text, wall, usage


def build_in_name_only(folder: Path) -> None:
    """Every output as a file of one line, then Snakemake's own metadata about it."""
    table, _, _ = snakemake(folder, "--summary")
    names = [line.split("\t")[0] for line in table.splitlines() if line.count("\t") > 1]
    for name in names[1:]:  # the first line is the header
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("made in name only\n")
    snakemake(folder, "--touch", "--cores", "1", "--quiet", "all")


def measure(folder: Path, state: str, experiments: int, jobs: int | None = None) -> int:
    """Plan once, print a line of the table; the number of jobs planned, where it is not known yet."""
    text, wall, usage = snakemake(folder, "-n", "-q", "rules")
    if jobs is None:
        jobs = int(re.search(r"^total +(\d+)$", text, re.MULTILINE)[1])
    elif "Nothing to be done" not in text:
        raise SystemExit(f"something is left to do:\n{text[-2000:]}")
    cpu = usage.ru_utime + usage.ru_stime
    print(
        f"{state:>9} {experiments:11d} {jobs:7d} {wall:7.1f} {cpu:7.1f} {usage.ru_maxrss / MAXRSS_UNITS:8.0f}"
        f" {1e6 * cpu / jobs:10.0f}",
        flush=True,
    )
    return jobs


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiments", type=int, nargs="*", default=SIZES)
    parser.add_argument("--finished", action="store_true", help="also plan where everything is up to date")
    arguments = parser.parse_args()
    print("{:>9} {:>11} {:>7} {:>7} {:>7} {:>8} {:>10}".format(*COLUMNS))
    for experiments in arguments.experiments:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            copy_workflow(folder, experiments)
            jobs = measure(folder, "new", experiments)
            if arguments.finished:
                build_in_name_only(folder)
                measure(folder, "finished", experiments, jobs)


if __name__ == "__main__":
    main()
