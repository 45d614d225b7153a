"""What Snakemake and the jobs leave under logs/, for the tests that read it."""

from pathlib import Path

COLUMNS = "s\th:m:s\tmax_rss\tmax_vms"


def leave(logs: Path, job: str, seconds: float, memory: str, work: float | None) -> None:
    """What Snakemake and a job leave: a benchmark, and a log that ends with the work, or before it."""
    benchmark, log = logs / f"benchmarks/{job}.tsv", logs / f"{job}.log"
    for path in (benchmark, log):
        path.parent.mkdir(parents=True, exist_ok=True)
    benchmark.write_text(f"{COLUMNS}\n{seconds}\t0:00:09\t{memory}\t1.0\n")
    ending = "ValueError: no" if work is None else f"2026-01-01 00:00:00,000 work took {work} s"
    log.write_text(f"2026-01-01 00:00:00,000 imports took 1.0 s\n{ending}\n")
