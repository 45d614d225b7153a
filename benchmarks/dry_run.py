"""What planning costs: Snakemake's dry run of 1, 10 and 100 experiments, before and after they were built.

    python benchmarks/dry_run.py [EXPERIMENTS ...] [--finished]

An experiment has 20 seeds of 2 parents and 4 children, each measured in five parts: about 730 jobs.
`--finished` plans the same where everything is up to date, as a rerun finds it: every output exists (a file
of one line) together with Snakemake's own record of how it was made, and nothing is to be done.

CPU seconds are user + system of the Snakemake process. Other work on the machine disturbs them less than
wall seconds.
"""

import argparse
import base64
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
        "spaces": {"connectivity": False, "pair": False},
        "weights": "trained",
    }
    names = [f"experiment_{number:03d}" for number in range(1, experiments + 1)]
    return {"run": names, "experiments": {name: dict(experiment) for name in names}}


def copy_workflow(folder: Path, experiments: int) -> None:
    for name in CODE:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, folder / name)
    write_configuration(folder, experiments)


def write_configuration(folder: Path, experiments: int) -> None:
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


def build_in_name_only(folder: Path, experiments: int) -> None:
    """Every output as a file of one line, and Snakemake's record of it.

    `snakemake --touch` writes the records, but waits a tenth of a second for each job: so it does that for
    one experiment, and what it made is copied under the names of the others, which differ in nothing else.
    """
    write_configuration(folder, 1)
    outputs = outputs_of(folder)
    for name in outputs:
        write_in_name_only(folder / name)
    snakemake(folder, "--touch", "--forceall", "--cores", "1", "--quiet", "all")
    write_configuration(folder, experiments)
    [first, *others] = configuration(experiments)["run"]
    records = folder / ".snakemake" / "metadata"
    for other in others:
        for name in (name for name in outputs if first in name):
            copy_file(folder / name, folder / name.replace(first, other))
            record = (records / encoded(name)).read_text()
            (records / encoded(name.replace(first, other))).write_text(record.replace(first, other))
    if others:
        write_in_name_only(folder / "results/correlation_space.csv")
        over_all = ("correlate_pooled", "collect_measurements")  # the rules that span experiments
        snakemake(folder, "--touch", "--cores", "1", "--quiet", "all", "--forcerun", *over_all)


def outputs_of(folder: Path) -> list[str]:
    table, _, _ = snakemake(folder, "--summary")
    names = [line.split("\t")[0] for line in table.splitlines() if line.count("\t") > 1]
    return names[1:]  # the first line is the header


def write_in_name_only(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("made in name only\n")


def copy_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)  # its time included, which Snakemake looks at


def encoded(output: str) -> str:
    """The name of Snakemake's record of an output."""
    return base64.urlsafe_b64encode(output.encode()).decode()


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
                build_in_name_only(folder, experiments)
                measure(folder, "finished", experiments, jobs)


if __name__ == "__main__":
    main()
