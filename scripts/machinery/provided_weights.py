"""Weights that the user provides, read once before the first job, so that a bad file is known at once.

Reading them takes PyTorch, which planning does without: another process reads all files. Those that are good
are remembered with their size and time, and not read again until a file, its network or the code changes.
"""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from snakemake.logging import logger

from fusionscope.errors import InputError
from fusionscope.training.data_sets import DATA_SETS
from machinery import entries
from machinery.code_hashes import HASH_LENGTH, SCRIPTS, closure_hashes, entry_hashes
from machinery.experiment import Experiment
from machinery.run_lock import STATE
from machinery.study import LONG_LIST, Study

READER = "machinery.read_provided_weights"  # what the other process runs
READ_BY = "fusionscope.networks.build"  # what it reads with
Subject = dict[str, Any]  # a file, and the network it is for: file, network, classes, folder


def check(
    study: Study, exists: Callable[[str], bool], as_kept: Callable[[str], str], storage: str | None = None
) -> None:
    """Raise InputError where provided weights are not there, would be overwritten, or do not fit.

    `exists` and `as_kept` say whether and where a file of the study lies. With results in a
    `storage`, by one of Snakemake's plugins, files are not read: they would have to be fetched.
    """
    study.check_weights(exists)
    if (
        storage is not None or importlib.util.find_spec("torch") is None
    ):  # jobs may have an environment of their own
        return
    remembered = read_remembered()
    states = {subject["file"]: (subject, state_of(subject)) for subject in subjects(study, as_kept)}
    unread = [subject for path, (subject, state) in states.items() if remembered.get(path) != state]
    bad = read_elsewhere(unread) if unread else None
    if bad is None:
        return
    remember(remembered | {path: state for path, (_, state) in states.items() if path not in bad})
    if bad:
        more = [f"and {len(bad) - LONG_LIST} more files"] if len(bad) > LONG_LIST else []
        raise InputError("\n".join([*list(bad.values())[:LONG_LIST], *more]))


def subjects(study: Study, as_kept: Callable[[str], str]) -> Iterator[Subject]:
    """All files of weights that the user provides, each with the network it is for."""
    for experiment in study.experiments.values():
        if not experiment.trained:
            for path, model in study.provided_files(experiment):
                images = images_of(experiment)
                yield {"file": as_kept(path), "network": experiment.network(model)} | images


def images_of(experiment: Experiment) -> dict[str, Any]:
    """How many classes an experiment's data have, or the folder whose classes are to be counted."""
    classes = DATA_SETS[experiment.settings["dataset"]].num_classes
    return {"classes": classes, "folder": experiment.settings.get("image_folder")}


def state_of(subject: Subject) -> list[Any]:
    """What a file's being good depends on: its size and time, its network, the code that reads it."""
    file = os.stat(subject["file"])
    return [file.st_size, file.st_mtime_ns, hash_of_network(json.dumps(subject | {"file": None}))]


@cache
def hash_of_network(subject: str) -> str:
    """A hash of what a file is read for, and with."""
    spec = json.loads(subject)
    code = closure_hashes([READ_BY], [SCRIPTS])
    for entry in entries.of_network(spec["network"]):
        code |= entry_hashes(entry, Path.cwd())
    text = repr((subject, class_folders(spec["folder"]), sorted(code.items())))
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]


def class_folders(folder: str | None) -> list[str]:
    """The classes of a folder of images, by which its network has outputs."""
    try:
        return sorted(os.listdir(Path(folder, "train"))) if folder else []
    except OSError:
        return []  # who reads it says so


def read_elsewhere(unread: list[Subject]) -> dict[str, str] | None:
    """What another process says of files: for each bad one a sentence. None if that failed."""
    logger.info(f"Reading provided weights, files: {len(unread)}.")
    environment = os.environ | {"PYTHONPATH": search_path(), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-P", "-m", READER],
        input=json.dumps(unread),
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:  # the jobs will read them, and say what is wrong
        last = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
        logger.warning(f"The provided weights could not be read before the first job: {last}")
        return None
    return json.loads(done.stdout.splitlines()[-1])


def search_path() -> str:
    return os.pathsep.join(filter(None, [str(SCRIPTS), os.environ.get("PYTHONPATH")]))


def remembered_file() -> Path:
    return STATE / "fusionscope_weights.json"


def read_remembered() -> dict[str, Any]:
    """The state of each file that was good; nothing if that is not known."""
    try:
        content = json.loads(remembered_file().read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def remember(states: dict[str, Any]) -> None:
    """Keep them for the next start, if anything can be written."""
    partial = remembered_file().with_suffix(f".{os.getpid()}")
    try:
        partial.write_text(json.dumps(states))
        partial.replace(remembered_file())
    except OSError:
        partial.unlink(missing_ok=True)
