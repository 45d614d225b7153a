"""What a run was made with, and what its jobs took: versions, commit, machine, seconds by rule.

All of it is read from what lies around anyway: installed packages, git, the system, and the benchmarks and
logs that jobs left. What cannot be had is None.
"""

import csv
import json
import os
import platform
import re
import shlex
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

# What pyproject.toml pins for the workflow itself (tested).
PACKAGES = (
    "snakemake",
    "pydantic",
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "pandas",
    "matplotlib",
    "jinja2",
    "itables",
    "scikit-learn",
    "pot",
    "curvlinops-for-pytorch",
    "tqdm",
    "filelock",
    "safetensors",
    "snakemake-executor-plugin-slurm",
    "snakemake-storage-plugin-fs",
)


HIDDEN = "***"
# Who and with what password, before the host of an address. A password may hold what it should not.
LOGIN = re.compile(r"://(?:[^/:@\s]+:\S*|[^/\s?#]*)@")
SECRET_NAME = r"[\w.-]*(?:passw|passphrase|token|secret|credential|signature|key)[\w.-]*"
SECRET_OPTION = re.compile(f"--{SECRET_NAME}", re.IGNORECASE)
SECRET_PAIR = re.compile(
    rf"""(\b{SECRET_NAME}["']?(?:\s*=\s*|\s*:\s+|"\s*:\s*))("[^"]*"|'[^']*'|[^,&;}}\]]+)""", re.IGNORECASE
)


@dataclass(frozen=True)
class TimedJob:
    """A job that has ended: seconds of its process, seconds of its own work, peak memory in MB."""

    rule: str
    wall: float
    work: float
    memory: float | None  # None: shorter than Snakemake's sampling interval

    @property
    def start_up(self) -> float:
        """What the interpreter and the imports took."""
        return self.wall - self.work


def timed_jobs(logs: str | Path) -> list[TimedJob]:
    """The jobs whose benchmark and log lie under `logs`, by name; those that did not end are left out."""
    logs = Path(logs)
    jobs = []
    for benchmark in sorted(logs.glob("benchmarks/**/*.tsv")):
        name = benchmark.relative_to(logs / "benchmarks").with_suffix(".log")
        log = logs / name
        work = re.search(r"work took ([\d.]+) s", log.read_text()) if log.exists() else None
        if work:
            measured = next(csv.DictReader(benchmark.read_text().splitlines(), delimiter="\t"))
            rule = name.parts[0].removesuffix(".log")
            jobs.append(TimedJob(rule, float(measured["s"]), float(work[1]), number(measured["max_rss"])))
    return jobs


def number(text: str) -> float | None:
    """A number in a benchmark; '-' and 'NA' stand for none."""
    try:
        return float(text)
    except ValueError:
        return None


def times_by_rule(jobs: Iterable[TimedJob]) -> dict[str, dict]:
    """Rule -> number of jobs, seconds summed over them, peak memory; the most seconds first."""
    table: dict[str, dict[str, Any]] = {
        rule: {
            "jobs": len(own),
            "wall_seconds": round(sum(job.wall for job in own), 1),
            "work_seconds": round(sum(job.work for job in own), 1),
            "start_up_seconds": round(sum(job.start_up for job in own), 1),
            "peak_memory_mb": max((job.memory for job in own if job.memory is not None), default=None),
        }
        for rule, own in grouped(jobs).items()
    }
    return dict(sorted(table.items(), key=lambda entry: -entry[1]["wall_seconds"]))


def seconds_a_job(jobs: Iterable[TimedJob]) -> dict[str, float]:
    """Rule -> mean seconds of a job's process."""
    return {rule: sum(job.wall for job in own) / len(own) for rule, own in grouped(jobs).items()}


def grouped(jobs: Iterable[TimedJob]) -> dict[str, list[TimedJob]]:
    by_rule: dict[str, list[TimedJob]] = {}
    for job in jobs:
        by_rule.setdefault(job.rule, []).append(job)
    return by_rule


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str | None]:
    """The installed version of each package, which is not imported; None where it is not installed."""
    found: dict[str, str | None] = {}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def answer(*command: str) -> str | None:
    """What a program prints; None where there is no such program or it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def git_state(folder: str | Path) -> dict:
    """The commit that is checked out, and whether files under git differ from it; None outside git."""
    commit = answer("git", "-C", str(folder), "rev-parse", "HEAD")
    changed = answer("git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": None if commit is None or changed is None else changed != ""}


def hardware() -> dict:
    """This machine: processor, cores that we may use, memory in MB, names of NVIDIA's GPUs."""
    gpus = answer("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    return {
        "cpu": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 10**6,
        "gpus": gpus.splitlines() if gpus else [],
    }


def facts_of_page(logs: str | Path, folder: str | Path) -> dict[str, Any]:
    """What the page for people says of how its numbers came about.

    `logs`: where jobs' logs and benchmarks lie; `folder`: of the code.
    """
    machine, git = hardware(), git_state(folder)
    changed = " with changes" if git["dirty"] else ""
    packages = [f"{name} {version}" for name, version in versions().items() if version]
    return {
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "facts": [
            ("commit", f"{git['commit']}{changed}" if git["commit"] else "not from a git checkout"),
            ("Python", platform.python_version()),
            ("packages", ", ".join(packages)),
            ("processor", f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_mb'] // 1000} GB"),
            ("GPUs", ", ".join(machine["gpus"]) or "none"),
        ],
        "rules": times_by_rule(timed_jobs(logs)),
    }


def processor() -> str | None:
    """The processor's model: Linux tells it in a file, others where Python looks."""
    file = Path("/proc/cpuinfo")
    model = re.search(r"^model name\s*: (.*)$", file.read_text(), re.MULTILINE) if file.exists() else None
    return model[1] if model else platform.processor() or None


def command_line(program: str, arguments: Iterable[str]) -> str:
    """What was typed, without passwords: logins in addresses, and values of keys that sound secret."""
    shown: list[str] = []
    for argument in arguments:
        follows_secret = bool(shown) and SECRET_OPTION.fullmatch(shown[-1]) and not argument.startswith("--")
        shown.append(HIDDEN if follows_secret else without_secrets(argument))
    return shlex.join([program, *shown])


def without_secrets(text: str) -> str:
    return SECRET_PAIR.sub(rf"\1{HIDDEN}", LOGIN.sub(f"://{HIDDEN}@", text))


def write_record(path: str | Path, record: dict) -> None:
    """As JSON for people to read, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(record, indent=2) + "\n")
    partial.replace(path)
