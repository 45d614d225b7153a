"""Which entries of the tables of things, or code of the user's own, a configuration names.

An entry is a string `module:name`. With it goes what else its table says that a number depends on.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fusionscope.fusion.options import ALIGNMENTS, MERGES
from fusionscope.measures.names import METRICS
from fusionscope.networks.model_types import MODEL_TYPES
from fusionscope.report.plot_table import MEASUREMENTS, PLOTS, Plot
from fusionscope.training.data_sets import DATA_SETS
from machinery.code_hashes import entry_hashes, is_ours, script_hashes
from machinery.plain import plain

BIASES = "fusionscope.networks.biases:give_biases"
REPAIR = "fusionscope.fusion.repair:repaired"
FINETUNE = "fusionscope.fusion.finetune:Finetune"

Entries = dict[str, Any]  # `module:name` -> what its table says besides


def of_data_set(name: str) -> Entries:
    """What reads a data set, and what its images look like."""
    data_set = DATA_SETS[name]
    told = [data_set.num_classes, data_set.mean, data_set.std, data_set.size, data_set.grey]
    enlarge: Entries = {} if data_set.enlarge is None else {data_set.enlarge: None}
    return {data_set.read: plain(told)} | enlarge


def of_network(network: Mapping[str, Any]) -> Entries:
    """What makes a network, by its arguments of `networks.build`."""
    if "architecture" in network:
        found: Entries = {network["architecture"]: None}
    else:
        model_type = MODEL_TYPES[network["model_type"]]
        found = {model_type.network: dict(model_type.arguments)}
    return found | ({BIASES: None} if network.get("biases") else {})


def of_fusion(definition: Mapping[str, Any]) -> Entries:
    """The steps of a fusion: those alone that it takes."""
    steps = [
        ALIGNMENTS.get(definition["method"], definition["method"]),
        MERGES.get(definition["merge"], definition["merge"]),
    ]
    if "finetune" in definition:
        steps.append(FINETUNE)
    return dict.fromkeys(steps) | of_repair(definition)


def of_repair(definition: Mapping[str, Any]) -> Entries:
    """What a fusion repairs with, if it does."""
    return {REPAIR: None} if definition.get("repair") else {}


def of_metrics(names: Iterable[str]) -> Entries:
    """What computes the measures that cost little."""
    return dict.fromkeys(map(entry_of_metric, names))


def entry_of_metric(name: str) -> str:
    """Of a measure that costs little: a name of METRICS, or one's own `module:name`."""
    return METRICS[name].compute or "" if name in METRICS else name


def plot_of(name: str) -> tuple[str, Plot]:
    """A plot and the name of its files, from a name of PLOTS or one's own `module:function`.

    A function of one's own is given the measurements.
    """
    if name in PLOTS:
        return name, PLOTS[name]
    short = name.split(":")[1]
    return short, Plot(draw=name, label=short.replace("_", " "), caption=name, inputs=(MEASUREMENTS,))


def with_entries(rule: str, entries: Entries, keep: tuple[str, ...]) -> dict[str, Any]:
    """The hashes of the modules of a rule's script and of `entries`, as one parameter of a job.

    Modules of the library are listed once, those of the user by the entry that needs them. `keep`: tables
    that the rule's results depend on.
    """
    modules, own = dict(script_hashes(rule, keep=keep)), {}
    for entry in sorted(entries):
        hashes = entry_hashes(entry, Path.cwd(), keep=keep)
        if is_ours(entry):
            modules |= hashes
        elif hashes:
            own[entry] = hashes
    return dict(sorted(modules.items())) | own | {"entries": dict(sorted(entries.items()))}
