"""Reading the arrays of a prepared data set, which may have been damaged since."""

from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np

from fusionscope.errors import InputError


def read_arrays(path: str | Path, names: Iterable[str]) -> list[np.ndarray]:
    """The named arrays of a prepared file, each checked by its sum before anything is made of its bytes.

    Raises InputError for a file that is damaged, or lacks one of them.
    """
    try:
        with ZipFile(path) as file:
            present = file.namelist()
            for name in names:
                if f"{name}.npy" not in present:
                    raise InputError(
                        f"{path}: has no '{name}'; delete it and let the workflow prepare it again"
                    )
            parts = [BytesIO(file.read(f"{name}.npy")) for name in names]
        return [np.lib.format.read_array(part, allow_pickle=False) for part in parts]
    except (InputError, FileNotFoundError, PermissionError, MemoryError):
        raise
    except Exception as error:  # of many types, by where the damage is
        why = str(error) if isinstance(error, BadZipFile) else "its arrays cannot be read"
        raise damaged(path, why) from error


def damaged(path: str | Path, why: str) -> InputError:
    """The error for a prepared file that holds something else than what was written."""
    return InputError(f"{path}: is damaged ({why}); delete it, and the workflow prepares it again")
