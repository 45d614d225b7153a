"""Snakemake's records of how each file was made, kept a second time.

By them it knows that a recipe or code has changed since. They lie in `.snakemake`, a hidden folder that
people delete, or forget when they copy a study to another place; without them a file that is not older than
its inputs passes for finished, whatever it was made with. So at the end of each run they are copied into one
file beside the weights, and taken from there when they are gone.
"""

import zipfile
from pathlib import Path

from fusionscope.files import whole_file

RECORDS = Path(".snakemake/metadata")
COPY = Path("experiments/.records.zip")
FAST = 1  # zlib's level: records are repetitive text


def keep() -> None:
    """Copy the records, if there are any."""
    paths = sorted(path for path in RECORDS.rglob("*") if path.is_file())
    if paths and COPY.parent.is_dir():
        form = (zipfile.ZIP_DEFLATED, True, FAST)
        with whole_file(COPY) as partial, zipfile.ZipFile(partial, "w", *form) as file:
            for path in paths:
                file.write(path, path.relative_to(RECORDS))


def restore() -> bool:
    """Take the records from their copy where there are none; whether that was done."""
    if has_records() or not COPY.is_file():
        return False
    try:
        with zipfile.ZipFile(COPY) as file:
            if file.testzip():
                return False
            RECORDS.with_name("incomplete").mkdir(parents=True, exist_ok=True)
            file.extractall(RECORDS)
    except (OSError, zipfile.BadZipFile):  # damaged, or nothing can be written: as if there were no copy
        return False
    return True


def has_records() -> bool:
    return RECORDS.is_dir() and any(path.is_file() for path in RECORDS.rglob("*"))
