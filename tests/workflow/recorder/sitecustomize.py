"""With this folder in PYTHONPATH each job of a run leaves in RECORD_MODULES its CPU seconds and modules.

Python imports this module by itself when it starts; a job is known by the script that Snakemake made for it.
"""

import atexit
import os
import resource
import sys
from pathlib import Path


def leave_record():
    script = Path(sys.argv[0])
    if script.parent.name == "scripts" and script.parent.parent.name == ".snakemake":
        used = resource.getrusage(resource.RUSAGE_SELF)
        lines = [str(used.ru_utime + used.ru_stime), *sys.modules]
        rule = script.name.split(".")[1]  # tmpx1.measure_input.py
        Path(os.environ["RECORD_MODULES"], f"{rule}.{os.getpid()}").write_text("\n".join(lines))


if "RECORD_MODULES" in os.environ:
    atexit.register(leave_record)
