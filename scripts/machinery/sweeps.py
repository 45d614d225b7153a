"""Sweeps: an experiment at several values of some of its keys, as one experiment for each setting.

What is swept belongs either to what parents are made of (each setting is an experiment with folders of its
own) or to a fusion (each value is a child of its own: parents are trained and measured once).
"""

import hashlib
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fusionscope.errors import InputError
from fusionscope.options import LONGEST_KEY, OptionError, cut, number, short, suggest, whole
from machinery.plain import plain

ZIP = "zip"
MOST_SETTINGS = 10_000
LONGEST_SETTING = 120  # characters of a setting's name, which is part of the names of files
LONGEST_TEXT = 24  # characters of one value in it
DIGITS = 8  # of a hash, where a name is cut
# What parents are made of; what else an experiment says changes none of them.
SWEPT = (
    "dataset",
    "image_folder",
    "normalisation",
    "model_type",
    "architecture",
    "width",
    "depth",
    "input_size",
    "channels",
    "parents",
    "training",
)
TRAINING, FUSIONS = "training", "fusions"
OF_DATA = ("dataset", "image_folder", "normalisation", "input_size", "channels")

ADVICE = "make the words in their values differ"

Values = dict[str, Any]  # by keys that are swept, such as training.weight_decay
Children = dict[str, tuple[str, Values]]  # by name: the entry under fusions, the values of its options


@dataclass(frozen=True)
class Setting:
    """One point of a sweep: the values that make its parents, and those of each of its children.

    `axes`: what the keys are called, of the whole sweep.
    """

    name: str
    axes: dict[str, str]
    values: Values
    fusions: Children


def settings_of(sweep: str, definition: Mapping[str, Any], fusions: Iterable[str]) -> list[Setting]:
    """The settings of the sweep called `sweep`, in the order in which values are given, the last key fastest.

    `definition`: lists of values by dotted keys, and `zip`; as `check_sweep` lets through. `fusions`: those
    of the experiment.
    """
    own: dict[str, Values] = {}  # of settings, by name
    children: dict[str, Children] = {}
    short_names = axis_names(axes(definition))
    for values in combinations(definition):
        making = {key: value for key, value in values.items() if not is_of_fusion(key)}
        name = named(f"{sweep}.", making, short_names) if making else sweep
        if own.setdefault(name, making) != making:
            raise InputError(f"two settings would be called {short(name)}; {ADVICE}")
        found = children.setdefault(name, {})
        for fusion in fusions:
            options = {key: value for key, value in values.items() if fusion_of(key) == fusion}
            child = named(f"{fusion}.", options, short_names) if options else fusion
            if found.setdefault(child, (fusion, options)) != (fusion, options):
                raise InputError(f"two children would be called {short(child)}; {ADVICE}")
    return [Setting(name, short_names, own[name], children[name]) for name in own]


def sweep_of(setting: str) -> str:
    """The sweep of which `setting` is the name of a setting; of another experiment its own name."""
    return setting.partition(".")[0]  # no name that a user gives has a dot in it


def combinations(definition: Mapping[str, Any]) -> Iterator[Values]:
    """The values of every setting by key: all combinations, or with `zip` the first of each, and so on."""
    keys = axes(definition)
    lists = [definition[key] for key in keys]
    together = zip(*lists, strict=True) if definition.get(ZIP) else itertools.product(*lists)
    return (dict(zip(keys, values, strict=True)) for values in together)


def axes(definition: Mapping[str, Any]) -> list[str]:
    """The keys that are swept."""
    return [key for key in definition if key != ZIP]


def axis_names(keys: Iterable[str]) -> dict[str, str]:
    """What each axis is called: the last part of its key, or all of it where two would be called alike."""
    keys = list(keys)
    last = [key.split(".")[-1] for key in keys]
    return {key: name if last.count(name) == 1 else key for key, name in zip(keys, last, strict=True)}


def is_of_fusion(key: str) -> bool:
    return key.startswith(f"{FUSIONS}.")


def fusion_of(key: str) -> str | None:
    """The fusion whose option a key is."""
    return key.split(".")[1] if is_of_fusion(key) else None


def named(start: str, values: Values, short_names: Mapping[str, str]) -> str:
    """A name for files, `start` and then key~value for each; as Snakemake's Paramspace writes them.

    It depends on the values alone, so that a value that is added renames no other.
    """
    name = start + "_".join(f"{short_names[key]}~{in_a_name(value)}" for key, value in values.items())
    if len(name) <= LONGEST_SETTING:
        return name
    return shortened(name, LONGEST_SETTING, values)


def in_a_name(value: Any) -> str:
    """A value as part of a file's name: numbers and words as they are, what is longer in short."""
    is_number = isinstance(value, int | float)
    text = shown(value) if is_number else re.sub(r"[^A-Za-z0-9.+]+", "-", shown(value)).strip("-")
    return text if len(text) <= LONGEST_TEXT else shortened(text, LONGEST_TEXT, value)


def shortened(text: str, length: int, value: Any) -> str:
    """The beginning of `text`, and what tells `value` from others that begin alike."""
    digest = hashlib.sha256(repr(plain(value)).encode()).hexdigest()[:DIGITS]
    return f"{text[: length - DIGITS - 1]}-{digest}"


def shown(value: Any) -> str:
    """A value in words, as in tables and on axes: 0.0005, sgd, 0.25 0.5, steps 12 20 0.1."""
    value = plain(value)
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    if isinstance(value, Mapping):
        first = [value["kind"]] if "kind" in value else []
        return " ".join(shown(part) for part in [*first, *(value[key] for key in value if key != "kind")])
    return " ".join(map(shown, value)) if isinstance(value, list) else str(value)


def check_sweep(definition: Any) -> dict[str, Any]:
    """`definition` as it is if it is a sweep; raises OptionError for the first mistake.

    Whether the values suit their keys is seen when the settings are made.
    """
    if not isinstance(definition, Mapping) or not axes(definition):
        raise OptionError("give at least one key with a list of values, such as width: [0.25, 0.5]")
    if not isinstance(definition.get(ZIP, False), bool):
        raise OptionError(f"{short(definition[ZIP])} is not right; expected true or false", ZIP)
    for key in axes(definition):
        check_key(key)
        check_values(key, definition[key])
    check_lengths(definition)
    return {key: value if key == ZIP else list(value) for key, value in definition.items()}


def check_key(key: Any) -> None:
    parts = str(key).split(".")
    deeper = (len(parts) > 1 and parts[0] == TRAINING) or (len(parts) > 2 and parts[0] == FUSIONS)
    if key not in SWEPT and not (isinstance(key, str) and deeper):
        raise OptionError(
            f"{short(key)} cannot be swept; {suggest(key, SWEPT)} (also training.OPTION and "
            "fusions.NAME.OPTION)"
        )


def check_values(key: str, values: Any) -> None:
    if not isinstance(values, list) or not values:
        raise OptionError(f"{short(values)} is not right; expected a list of values", key)
    seen = []
    for value in map(as_number, values):
        if plain(value) in seen:
            raise OptionError(f"{short(value)} is given twice; leave one out", key)
        seen.append(plain(value))


def as_number(value: Any) -> Any:
    return whole(number(value))


def check_lengths(definition: Mapping[str, Any]) -> None:
    lengths = {key: len(definition[key]) for key in axes(definition)}
    if definition.get(ZIP) and len(set(lengths.values())) > 1:
        counts = ", ".join(f"{cut(key, LONGEST_KEY)} {length}" for key, length in lengths.items())
        raise OptionError(f"lists that are zipped are equally long, and these are not ({counts})", ZIP)
    total = max(lengths.values()) if definition.get(ZIP) else math.prod(lengths.values())
    if total > MOST_SETTINGS:
        raise OptionError(f"{total:,} settings are too many; at most {MOST_SETTINGS:,} are possible")


def with_value(options: Mapping[str, Any], keys: list[str], value: Any) -> dict[str, Any]:
    """`options` with `value` put in at a path of keys."""
    first, *rest = keys
    if not rest:
        return {**options, first: value}
    inner = options.get(first)
    return {**options, first: with_value(inner if isinstance(inner, Mapping) else {}, rest, value)}
