"""Things by name: tables map names to `module:name`, which is imported when it is used and not before.

So a table joins nobody's imports: a job pays for the entries that it uses, and depends on their code alone.
Things of one's own are named in the same way and lie below the folder that one works in.
"""

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fusionscope.errors import InputError


def resolve(entry: str) -> Any:
    """What `module:name` names. For entries of the library's own tables."""
    module, name = entry.split(":")
    return getattr(importlib.import_module(module), name)


def load_own(entry: str, what: str) -> Callable[..., Any]:
    """The function or class of the user's own that `entry`, `module:name`, names; `what` it is for.

    Its module is looked for in the current folder first. Raises InputError, in one sentence that begins
    with `what` and `entry`, if it cannot be imported or is no function or class.
    """
    where = f"{what} {entry}"
    module, _, name = entry.partition(":")
    if not (module and name):
        raise InputError(f"{where}: is not the name of anything; write module:name")
    with start_folder_first():
        try:
            imported = importlib.import_module(module)
        except Exception as error:
            if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
                raise InputError(f"{where}: {missing_module(str(error.name))}") from error
            raise InputError(f"{where}: importing {module} failed: {reason(error)}; fix it") from error
    found = getattr(imported, name, None)
    if not callable(found):
        raise InputError(f"{where}: {missing_name(module, name)}")
    return found


def missing_module(module: str) -> str:
    return f"there is no module {module} in {os.getcwd()}; start in the folder that holds it"


def missing_name(module: str, name: str) -> str:
    return f"{module} has no function or class '{name}'; define it, or name another"


@contextmanager
def start_folder_first() -> Iterator[None]:
    """The current folder ahead of all others that are searched for modules, for a while."""
    before = list(sys.path)
    sys.path.insert(0, os.getcwd())
    try:
        yield
    finally:
        sys.path[:] = before


def reason(error: Exception) -> str:
    """An exception in a few words: its kind, and the first line of what it says."""
    first = str(error).strip().partition("\n")[0].rstrip(".;")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
