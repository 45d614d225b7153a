"""Where the time of the last run went, by rule: start-up of jobs against their work.

    python benchmarks/default_run.py

Reads what Snakemake's benchmarks and the jobs' own logs left under logs/. Wall seconds of a job are those
of its process; its work is what remains after the interpreter has started and the imports are done.
"""

import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from machinery.provenance import timed_jobs, times_by_rule


def main() -> None:
    by_rule = pd.DataFrame.from_dict(times_by_rule(timed_jobs("logs")), orient="index")
    total = by_rule.drop(columns="peak_memory_mb").sum().rename("total")
    by_rule = pd.concat([by_rule, total.to_frame().T])
    by_rule["jobs"] = by_rule.jobs.astype(int)
    print("seconds, summed over jobs; jobs run side by side on the machine's cores")
    print(by_rule.round(1).to_string(na_rep=""))


if __name__ == "__main__":
    main()
