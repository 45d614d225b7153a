"""Where the time of the last run went, by rule: start-up of jobs against their work.

    python benchmarks/default_run.py

Reads what Snakemake's benchmarks and the jobs' own logs left under logs/. Wall seconds of a job are those
of its process; its work is what remains after the interpreter has started and the imports are done.
"""

import re
from pathlib import Path

import pandas as pd

LOGS = Path("logs")


def jobs() -> pd.DataFrame:
    """One row a job: rule, wall seconds, seconds of work, peak memory in MB."""
    rows = []
    for benchmark in sorted(LOGS.glob("benchmarks/**/*.tsv")):
        name = benchmark.relative_to(LOGS / "benchmarks").with_suffix(".log")
        work = re.search(r"work took ([\d.]+) s", (LOGS / name).read_text())
        measured = pd.read_csv(benchmark, sep="\t").iloc[0]
        # jobs shorter than Snakemake's sampling interval have no memory reading
        memory = pd.to_numeric(measured.max_rss, errors="coerce")
        rows.append((name.parts[0].removesuffix(".log"), measured.s, float(work[1]), memory))
    return pd.DataFrame(rows, columns=["rule", "wall", "work", "memory"])


def main() -> None:
    table = jobs()
    by_rule = table.groupby("rule").agg(
        jobs=("wall", "size"), wall=("wall", "sum"), work=("work", "sum"), peak_mb=("memory", "max")
    )
    by_rule.insert(3, "start_up", by_rule.wall - by_rule.work)
    total = by_rule.drop(columns="peak_mb").sum().rename("total")
    by_rule = pd.concat([by_rule.sort_values("wall", ascending=False), total.to_frame().T])
    by_rule["jobs"] = by_rule.jobs.astype(int)
    print("seconds, summed over jobs; jobs run side by side on the machine's cores")
    print(by_rule.round(1).to_string(na_rep=""))


if __name__ == "__main__":
    main()
