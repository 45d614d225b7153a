"""What goes wrong while a run works or between two: kills, full disks, damaged files, and the like.

Each fault takes a workflow whose run had ended and of which the outputs of one job are deleted, and a source
of chance; it lets the workflow run into the fault and takes the fault away again.
"""

import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch
from processes import job_in, processes_in, wait_for
from workflows import Workflow

HANGS = 60  # seconds of a tiny job that takes two
SEED = "experiments/tiny/tiny_seed1"
MODELS = ["parent_1", "parent_2", "geometric_fused"]
PATIENCE = 300  # seconds for anything that is waited for; all of it may have to be made again

# Rule -> the outputs of one of its jobs.
JOBS: dict[str, list[str]] = {
    "prepare_data": ["data/digits.npz"],
    "train": [f"{SEED}/parent_1{end}" for end in (".pth", "_initial_weights.pth", "_learning_curve.csv")],
    "fuse": [f"{SEED}/geometric_fused{end}" for end in (".pth", "_aligned.pth", "_alignment.csv")],
    "measure_input": ["results/tiny/seed1/parent_1/input_space.csv"],
    "measure_hessian": [
        "results/tiny/seed1/parent_2/hessian.csv",
        "results/tiny/seed1/parent_2/hessian_spectral_density.csv",
    ],
    "measure_scales": [
        f"results/tiny/seed1/geometric_fused/{name}.csv" for name in ("scales", "scale_search")
    ],
    "measure_complexity": ["results/tiny/seed1/geometric_fused/complexity.csv"],
    "measure_prediction": ["results/tiny/seed1/parent_1/prediction_space.csv"],
    "measure_connectivity": [
        f"results/tiny/seed1/geometric_fused/{name}.csv"
        for name in ("connectivity_space", "connectivity_path", "similarity", "activation_variance")
    ],
    "measure_pair": ["results/tiny/seed1/pair_space.csv"],
    "measure_alignment": [
        f"results/tiny/seed1/geometric_fused/{name}.csv" for name in ("pair_space", "weight_distance")
    ],
    "collect_results": ["results/tiny/results.csv"],
    "collect_measurements": ["results/measurements.csv"],
    "correlate": ["results/tiny/correlation_space.csv"],
    "summarise": ["results/tiny/summary.csv", "results/tiny/tables/summary.tex"],
    "plot": ["results/tiny/plots/accuracy.png", "results/tiny/plots/accuracy.pdf"],
}
# A file, and a rule whose job reads it.
READ_BY = {
    "data/digits.npz": "measure_prediction",
    f"{SEED}/parent_1.pth": "measure_input",
    f"{SEED}/parent_2.pth": "fuse",
    f"{SEED}/geometric_fused.pth": "measure_scales",
    f"{SEED}/geometric_fused_aligned.pth": "measure_connectivity",
    "results/tiny/seed1/geometric_fused/scale_search.csv": "measure_complexity",
    "results/tiny/seed1/parent_1/input_space.csv": "collect_results",
    "results/tiny/seed1/parent_2/hessian.csv": "correlate",
    "results/tiny/seed1/parent_1/prediction_space.csv": "plot",
    "results/tiny/seed1/geometric_fused/connectivity_space.csv": "collect_measurements",
}


@dataclass
class Case:
    """A workflow that is to run into a fault, and what was seen of it."""

    workflow: Workflow
    draw: random.Random
    rule: str = ""
    told: str = ""  # what was done
    printed: list[str] = field(default_factory=list)
    failed: bool = False  # whether a run did
    damaged: list[str] = field(default_factory=list)  # files that a sentence may say to delete
    since: int = 0  # when a run was started, in ns

    def choose(self, rule: str | None = None) -> None:
        """Delete the outputs of a job, which the run will make."""
        self.rule = rule or self.draw.choice(sorted(JOBS))
        for path in JOBS[self.rule]:
            (self.workflow.folder / path).unlink(missing_ok=True)

    def has_begun(self) -> bool:
        """Whether a job of the rule has opened its log since the run was started.

        Before, it is Snakemake's and Python's own code that fails, in their own words.
        """
        logs = (self.workflow.folder / "logs").rglob("*.log")
        return any(self.rule in str(log) and log.stat().st_mtime_ns > self.since for log in logs)

    def wait_for_job(self, process: subprocess.Popen, *, begun: bool) -> int | None:
        """The process of a job of the rule, at once or once it has `begun`; None where there is none left."""

        def job() -> int | None:
            running = job_in(self.workflow.folder, self.rule)
            return running if running and (self.has_begun() or not begun) else None

        wait_for(lambda: job() or process.poll() is not None, PATIENCE)
        return job()

    @property
    def arguments(self) -> list[str]:
        """Of what was deleted alone; all of it where something else has changed as well."""
        return ["--cores", "2", *(["all"] if self.damaged else []), *JOBS[self.rule]]

    def start(self) -> subprocess.Popen:
        self.since = time.time_ns()
        return self.workflow.start(*self.arguments)

    def end(self, process: subprocess.Popen) -> None:
        """Wait until it has ended, and all that it started."""
        try:
            output, errors = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, errors = process.communicate()
            self.printed.append("Traceback: it hung")
        self.printed.append(output + errors)
        self.failed |= process.returncode != 0
        wait_for(lambda: not list(processes_in(self.workflow.folder)), PATIENCE)

    def run(self) -> bool:
        """Run it to its end; whether that succeeded."""
        process = self.start()
        self.end(process)
        return process.returncode == 0


# signals


def killed(case: Case) -> None:
    """A job, the run itself, or both, at any moment."""
    case.choose()
    name = case.draw.choice(["SIGKILL", "SIGTERM", "SIGINT"])
    whom = case.draw.choice(["job", "run", "all"])
    later = case.draw.uniform(0, 2)
    process = case.start()
    at_any_moment = whom == "run" and name != "SIGINT"  # of that Python makes an exception
    if at_any_moment:
        pid, later = process.pid, case.draw.uniform(0, 6)
    else:
        job = case.wait_for_job(process, begun=name == "SIGINT")
        pid = job if job and whom == "job" else process.pid
    time.sleep(later)
    with suppress(ProcessLookupError):  # it was faster
        (os.killpg if whom == "all" else os.kill)(pid, signal.Signals[name])
    case.told = f"{name} to {whom}, {later:.2f} s after {'the start' if at_any_moment else case.rule} began"
    case.end(process)


def two_at_once(case: Case) -> None:
    case.choose()
    later = case.draw.uniform(0, 5)
    first = case.start()
    time.sleep(later)
    second = case.start()
    case.told = f"a second run {later:.2f} s after a first, which makes {case.rule}"
    case.end(first)
    case.end(second)


def short_of_memory(case: Case) -> None:
    """A job that gets no more memory from some moment on."""
    case.choose()
    more, later = case.draw.choice([0, 2**20, 2**24, 2**27]), case.draw.uniform(0, 1.5)
    process = case.start()
    pid = case.wait_for_job(process, begun=True) or 0
    time.sleep(later)
    case.told = f"{more} bytes of memory left to {case.rule}, {later:.2f} s after it began"
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + more
        resource.prlimit(pid, resource.RLIMIT_AS, (limit, limit))
    except OSError:
        case.told += " (too late)"
    # OpenBLAS, while it is loaded, asks for memory again and again, for ever: then it is killed, as people do
    if pid and not wait_for(lambda: job_in(case.workflow.folder, case.rule) != pid, HANGS):
        case.told += " (it hung)"
        os.kill(pid, signal.SIGKILL)
    case.end(process)


# disks


@contextmanager
def mounted(*arguments: str) -> Iterator[None]:
    """A file system for a while."""
    subprocess.run(["mount", *arguments], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", arguments[-1]], check=True, capture_output=True)


def full_disk(case: Case) -> None:
    """Where weights, results or data lie nothing more fits."""
    folder = case.workflow.folder / case.draw.choice(["experiments", "results", "data"])
    rule = case.draw.choice([rule for rule, paths in JOBS.items() if paths[0].startswith(folder.name)])
    case.choose(rule)
    left = case.draw.choice([0, 0, 4096, 20_000])
    beside = folder.with_name(f"{folder.name}_before")
    shutil.move(folder, beside)
    folder.mkdir()
    with mounted("-t", "tmpfs", "-o", "size=32m", "none", str(folder)):
        shutil.copytree(beside, folder, dirs_exist_ok=True)
        filler = folder / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(2**16))
        os.truncate(filler, max(0, filler.stat().st_size - left))
        case.told = f"{left} bytes left on the disk of {folder.name} for {rule}"
        case.run()
        filler.unlink()
        leave(folder, beside)
    folder.rmdir()
    shutil.move(beside, folder)


def leave(source: Path, target: Path) -> None:
    """All that lies in a folder in place of what lies in another."""
    shutil.rmtree(target)
    shutil.copytree(source, target)


def read_only(case: Case) -> None:
    """A folder that nothing can be written to."""
    name = case.draw.choice(["experiments", "results", "logs", ".snakemake", "data"])
    fitting = [rule for rule, paths in JOBS.items() if paths[0].startswith(name)]
    case.choose(case.draw.choice(fitting or sorted(JOBS)))
    folder = str(case.workflow.folder / name)
    case.told = f"{name} is read-only for {case.rule}"
    with mounted("--bind", folder, folder):
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
        case.run()


# files


def emptied(path: Path, draw: random.Random) -> str:
    path.write_bytes(b"")
    return "emptied"


def truncated(path: Path, draw: random.Random) -> str:
    kept = draw.randrange(path.stat().st_size)
    os.truncate(path, kept)
    return f"cut after {kept} bytes"


def flipped(path: Path, draw: random.Random) -> str:
    content = bytearray(path.read_bytes())
    bit = draw.randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    return f"bit {bit} flipped"


def not_a_number(path: Path, draw: random.Random) -> str:
    """NaN among the weights, or among the numbers of a table."""
    if path.suffix != ".pth":
        return truncated(path, draw)
    weights = torch.load(path, weights_only=True)
    name = draw.choice([name for name, tensor in weights.items() if tensor.is_floating_point()])
    weights[name].view(-1)[0] = float("nan")
    torch.save(weights, path)
    return f"NaN in {name}"


def deleted(path: Path, draw: random.Random) -> str:
    path.unlink()
    return "deleted"


def damaged_file(case: Case) -> None:
    """A file changes between the job that writes it and one that reads it."""
    path = case.draw.choice(sorted(READ_BY))
    case.choose(READ_BY[path])
    damage = case.draw.choice([emptied, truncated, truncated, flipped, flipped, not_a_number, deleted])
    done = damage(case.workflow.folder / path, case.draw)
    case.told = f"{path} {done}, then {case.rule}"
    case.damaged.append(path)
    case.run()


FAULTS: dict[str, Callable[[Case], None]] = {
    "faults of a run: signals": killed,
    "faults of a run: two at once": two_at_once,
    "faults of a run: memory": short_of_memory,
    "faults of a run: full disk": full_disk,
    "faults of a run: read-only": read_only,
    "faults of a run: damaged files": damaged_file,
}
NEED_ROOT = (full_disk, read_only)
