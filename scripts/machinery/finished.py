"""Experiments that are configured but not run this time: what earlier runs have measured of them.

Their rows belong into the table over all experiments. Their files are no input of its rule: inputs would be
planned, checked and made again. A parameter holds the hash of what is in them, so the table is made again
when that changes.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from fusionscope.errors import InputError
from machinery.code_hashes import HASH_LENGTH
from machinery.settings import resolve_settings
from machinery.study import Study
from machinery.sweeps import sweep_of

Finished = dict[str, dict[str, Any]]


def experiments_of_tables(
    settings: Mapping[str, Any],
    run: Iterable[str],
    exists: Callable[[str], bool],
    as_kept: Callable[[str], str],
    *,
    stored: bool,
) -> Finished:
    """The experiments of the table over all, in the order of the configuration, and what to read of each
    besides inputs: nothing of those of this `run`, the files of those that earlier runs finished.

    With results in a storage (`stored`) there are no others: a job is given its inputs alone.
    """
    others = {} if stored else finished_experiments(settings, exists, as_kept)
    there: Finished = {name: {} for name in run} | others
    order = list(settings["experiments"])
    return dict(sorted(there.items(), key=lambda item: order.index(sweep_of(item[0]))))


def finished_experiments(
    settings: Mapping[str, Any], exists: Callable[[str], bool], as_kept: Callable[[str], str]
) -> Finished:
    """The files of each experiment outside `run` that has all of them, and a hash of what they hold.

    `settings`: as of settings.read_settings. `as_kept` gives the path at which a file of the study lies.
    """
    found: Finished = {}
    for name in settings["experiments"]:
        if name not in settings["run"]:
            for setting, files in measurement_files(name, settings, exists).items():
                if files and all(map(exists, files)):
                    kept = [as_kept(path) for path in files]
                    found[setting] = {"files": kept, "hash": content_hash(kept)}
    return found


def measurement_files(
    name: str, settings: Mapping[str, Any], exists: Callable[[str], bool]
) -> dict[str, list[str]]:
    """All that is measured of an experiment, or of each setting of a sweep; nothing if its configuration is
    wrong: no run asks for it."""
    try:
        study = Study.read(resolve_settings(name, settings), exists)
    except InputError:
        return {}
    return {setting: study.measurement_files(setting) for setting in study.experiments}


def content_hash(paths: list[str]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()[:HASH_LENGTH]
