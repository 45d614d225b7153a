"""What a job costs before its work: CPU and wall seconds from Python's start to the last import, by rule.

    python benchmarks/start_up.py [REVISION]

First a tiny run of the workflow tells what the jobs of each rule import in the end, late imports inside
functions included, and how much CPU time whole jobs take. Then the start of each rule's script is
repeated in fresh processes: the script itself up to `running.start_work()` (`imports`, CPU seconds), then
the late imports and Snakemake's own (`start`, CPU seconds; `wall`). `job`: CPU seconds of whole jobs of the
tiny run, medians. With a git REVISION (`main`, say) the same is done in turn to a checkout of it, and
`ratio` is its `start` over ours.

What takes the time in the start of one rule, wall microseconds, the last lines being the largest:

    python -X importtime benchmarks/start_up.py --start scripts/fuse.py 2>&1 | sort -t'|' -n -k2
"""

import argparse
import ast
import importlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parents[1]
RECORDER = ROOT / "tests/workflow/recorder"
REPEATS = 5
TINY_RUN = """
import sys
from pathlib import Path
sys.path[:0] = ["tests/workflow", "tests/support", "scripts"]
import conftest
conftest.Workflow.fresh(Path(sys.argv[1]) / "run", conftest.TINY).run()
"""


def start(script: Path, late: list[str]) -> None:
    """Run `script` in this process up to its own work, then import the modules `late`.

    Prints CPU seconds since Python's start, after each.
    """
    tree = ast.parse(script.read_text(), filename=str(script))
    block = next(node for node in tree.body if isinstance(node, ast.With))
    lines = [ast.unparse(statement) for statement in block.body]
    del block.body[lines.index("running.start_work()") + 1 :]
    params = SimpleNamespace(entry="fusionscope.report.plots.accuracy:draw")  # what plot.py draws
    snakemake = SimpleNamespace(threads=1, log=["start_up.log"], params=params)
    sys.path.insert(0, str(script.parent))
    exec(compile(tree, script, "exec"), {"snakemake": snakemake, "__name__": "__main__"})
    imports = time.process_time()
    for name in late:
        if name not in sys.modules:
            with suppress(Exception):  # made by another module, not found by its name
                importlib.import_module(name)
    print(imports, time.process_time())


def recorded(tree: Path, folder: Path) -> tuple[dict[str, list[str]], dict[str, list[float]]]:
    """What each rule's jobs imported in a tiny run of `tree`, in order, and the CPU seconds of each job."""
    records = folder / "records"
    records.mkdir(parents=True)
    environment = os.environ | {"PYTHONPATH": str(RECORDER), "RECORD_MODULES": str(records)}
    subprocess.run([sys.executable, "-c", TINY_RUN, folder], cwd=tree, env=environment, check=True)
    modules: dict[str, list[str]] = {}
    seconds: dict[str, list[float]] = {}
    for record in sorted(records.iterdir()):
        rule = record.name.split(".")[0]
        used, *names = record.read_text().splitlines()
        modules[rule] = max(modules.get(rule, []), names, key=len)
        seconds.setdefault(rule, []).append(float(used))
    return modules, seconds


def measured(script: Path, late: list[str]) -> tuple[float, float, float]:
    """Of a fresh process: CPU seconds of the imports before work, of the late ones too; wall seconds."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-W", "ignore", Path(__file__).resolve(), "--start", script]
        begun = time.perf_counter()
        done = subprocess.run(
            command, cwd=folder, input="\n".join(late), stdout=subprocess.PIPE, text=True, check=True
        )
        wall = time.perf_counter() - begun
    imports, start = map(float, done.stdout.split())
    return imports, start, wall


@contextmanager
def checkout(revision: str, folder: Path) -> Iterator[Path]:
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(folder), revision], check=True)
    try:
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def compare(trees: dict[str, Path], folder: Path) -> None:
    runs = {name: recorded(tree, folder / name) for name, tree in trees.items()}
    print(f"\nmedians of {REPEATS} fresh processes; bare Python: {bare_python():.3f} CPU seconds")
    print(f"{'rule':30}{'':10}{'jobs':>5}{'imports':>9}{'start':>9}{'wall':>9}{'ratio':>7}{'job':>9}")
    for rule in sorted(runs["here"][0]):
        times: dict[str, list[tuple[float, float, float]]] = {name: [] for name in trees}
        for _ in range(REPEATS):
            for name, tree in trees.items():
                times[name].append(measured(tree / f"scripts/{rule}.py", runs[name][0][rule]))
        medians = {name: [statistics.median(x) for x in zip(*t, strict=True)] for name, t in times.items()}
        for name, (imports, start_, wall) in medians.items():
            jobs = runs[name][1][rule]
            ratio = start_ / medians["here"][1]
            print(
                f"{rule:30}{name[:9]:10}{len(jobs):5}{imports:9.2f}{start_:9.2f}{wall:9.2f}{ratio:7.2f}"
                f"{statistics.median(jobs):9.2f}",
                flush=True,
            )
    for name, (_, seconds) in runs.items():
        print(f"all jobs of the tiny run, {name}: {sum(map(sum, seconds.values())):.0f} CPU seconds")


def bare_python() -> float:
    command = [sys.executable, "-c", "import time; print(time.process_time())"]
    return statistics.median(float(subprocess.check_output(command)) for _ in range(REPEATS))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("revision", nargs="?")
    parser.add_argument("--start", type=Path, help=argparse.SUPPRESS)  # in a process of its own
    arguments = parser.parse_args()
    if arguments.start:
        late = [] if sys.stdin.isatty() else sys.stdin.read().splitlines()
        start(arguments.start.resolve(), late)
        return
    with tempfile.TemporaryDirectory() as folder:
        trees = {"here": ROOT}
        if arguments.revision is None:
            compare(trees, Path(folder))
        else:
            with checkout(arguments.revision, Path(folder, "checkout")) as tree:
                compare(trees | {arguments.revision: tree}, Path(folder))


if __name__ == "__main__":
    main()
