"""What the results were when the workflow had written them: what changed since is found, and made again.

Snakemake takes any file that is there, and not older than what it is made from, for finished: one that is
cut off, emptied or edited as well. So beside the results lies a record of each file's size, time and hash. A
file is read only where size or time differ. What is not in the record is taken as it is.
"""

import atexit
import hashlib
import json
import os
from collections.abc import Collection, Iterable
from pathlib import Path

from fusionscope.files import whole_file

MANIFEST = Path("results/.manifest.json")
CHANGED = ".changed"  # ends the name of what was found changed, and is kept
State = tuple[int, int, str]  # size, time of the last change in ns, hash of the content

aside: set[str] = set()  # files that are out of the way until this process ends, or for good


def set_changed_aside() -> list[str]:
    """Put what is no longer what the workflow wrote out of the way, so that Snakemake plans it again.

    The names of these files. Unless `start_jobs` says that they will be made again, they are put back when
    this process ends: a dry run changes nothing.
    """
    changed = changed_files()
    for path in changed:
        os.replace(path, path + CHANGED)
        aside.add(path)
    if changed:
        atexit.register(put_back)
    return changed


def put_back() -> None:
    for path in aside:
        if not os.path.exists(path):
            os.replace(path + CHANGED, path)


def start_jobs(paths: Collection[str]) -> None:
    """The results among `paths` will be written anew: whatever becomes of the run, they count as unknown."""
    states = read()
    aside.difference_update(paths)
    if states:
        forgotten = set(paths)
        write({path: state for path, state in states.items() if path not in forgotten})


def changed_files() -> list[str]:
    """The recorded files that are no longer what the workflow wrote; those that are missing are not told."""
    states = read()
    return sorted(path for path, state in states.items() if is_changed(path, state))


def is_changed(path: str, state: State) -> bool:
    size, time, digest = state
    try:
        found = os.stat(path)
    except OSError:
        return False
    if (found.st_size, found.st_mtime_ns) == (size, time):
        return False
    return found.st_size != size or hash_of(path) != digest


def record(paths: Iterable[str]) -> None:
    """Take the results among `paths` that are there for what they should be."""
    states, folder = read(), f"{MANIFEST.parent}/"
    for path in paths:
        if path.startswith(folder) and os.path.isfile(path):
            found = os.stat(path)
            stamp = (found.st_size, found.st_mtime_ns)
            if states.get(path, (None, None, ""))[:2] != stamp:
                states[path] = (*stamp, hash_of(path))
    write({path: state for path, state in states.items() if os.path.exists(path) or path in aside})


def hash_of(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read() -> dict[str, State]:
    """The record; empty where there is none, or none that can be read."""
    try:
        content = json.loads(MANIFEST.read_text(encoding="utf-8"))
        return {path: (int(size), int(time), str(digest)) for path, (size, time, digest) in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def write(states: dict[str, State]) -> None:
    if not states and not MANIFEST.exists():
        return
    MANIFEST.parent.mkdir(exist_ok=True)
    with whole_file(MANIFEST) as partial:
        partial.write_text(json.dumps(states), encoding="utf-8")
