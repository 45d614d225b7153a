"""Which pictures a folder holds: a change of their content is found, and reading them all is not needed.

At each start the pictures' names, sizes and times are looked at. The job that prepares a folder writes down
what it was made of, with hashes; a picture of the same size is read again where its time alone is another.
"""

import hashlib
import json
import os
from contextlib import suppress
from functools import cache
from pathlib import Path

from fusionscope.files import whole_file

HASH_LENGTH = 16  # hex digits
Found = tuple[int, int]  # size in bytes, time of the last change in ns


def record_of(data_file: str) -> Path:
    """Beside a prepared file: what it was made of."""
    path = Path(data_file)
    return path.with_name(f".{path.stem}_pictures.json")


@cache
def version(folder: str, data_file: str) -> str:
    """A short hash of the pictures' names and sizes and, once they are prepared, of what changes in them."""
    found = look_through(folder)
    recorded, version_then = read(data_file)
    lines, is_touched = [], False
    for name, (size, time) in found.items():
        line = f"{name} {size}"
        known = recorded.get(name)
        if known and known[0] == size and known[1] != time:
            digest = hash_of(os.path.join(folder, name))
            if digest != known[2]:
                line += f" {digest}"
            is_touched = True
        lines.append(line)
    if lines != [f"{name} {size}" for name, (size, *_) in recorded.items()]:
        return shortened("\n".join(lines))
    if is_touched:
        remember_times(data_file, found, recorded, version_then)
    return version_then


def record(folder: str, data_file: str, version_now: str) -> None:
    """Write down what a file is made of, before its pictures are read: what changes then has changed."""
    found = look_through(folder)
    digests = {name: hash_of(os.path.join(folder, name)) for name in found}
    write(data_file, {name: (*found[name], digests[name]) for name in found}, version_now)


def look_through(folder: str) -> dict[str, Found]:
    """The files below a folder, by name, sorted."""
    found = {}
    for path in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
        state = path.stat()
        found[str(path.relative_to(folder))] = (state.st_size, state.st_mtime_ns)
    return found


def remember_times(data_file: str, found: dict, recorded: dict, version_then: str) -> None:
    """The same content under new times need not be read a second time."""
    with suppress(OSError):  # where the folder is read-only, they are read each time
        write(data_file, {name: (*found[name], recorded[name][2]) for name in found}, version_then)


def hash_of(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:HASH_LENGTH]


def shortened(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:HASH_LENGTH]


def read(data_file: str) -> tuple[dict[str, tuple[int, int, str]], str]:
    """What a file was made of, and the version then; nothing where there is no record that can be read."""
    try:
        content = json.loads(record_of(data_file).read_text(encoding="utf-8"))
        pictures = {
            name: (int(size), int(time), str(digest))
            for name, (size, time, digest) in content["pictures"].items()
        }
        return pictures, str(content["version"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}, ""


def write(data_file: str, pictures: dict[str, tuple[int, int, str]], version: str) -> None:
    with whole_file(record_of(data_file)) as partial:
        partial.write_text(json.dumps({"version": version, "pictures": pictures}), encoding="utf-8")
