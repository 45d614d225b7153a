"""From config.yaml to one plain dictionary per experiment, with every mistake named in one sentence.

What may be said is declared in config_options.py. Planning a run imports both, so nothing in them needs
PyTorch, NumPy, pandas or matplotlib.
"""

import os
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from fusionscope.errors import InputError
from fusionscope.fusion.options import METHODS, check_fusion
from fusionscope.networks.model_types import network_options
from fusionscope.options import LONGEST_KEY, check, cut, short, suggest
from fusionscope.report.plot_table import PLOTS
from fusionscope.training.recipes import TrainingRecipe
from machinery.config_options import Experiment, Settings, Spaces
from machinery.sweeps import (
    FUSIONS,
    TRAINING,
    Children,
    Setting,
    Values,
    is_of_fusion,
    settings_of,
    shown,
    with_value,
)

NAMED_PARTS = ("training", "measurements")  # keys of an experiment that name an entry of that section
LONGEST_LIST_OF_VALUES = 120  # characters of a sentence
MOST_MODELS = 100_000  # of a run, parents and children; Snakemake plans several jobs for each


def read_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` as plain dictionaries, checked, with all defaults; raises InputError for the first mistake.

    Of an experiment and of a fusion, what is not said and has no default is left out. `fusions_as_given`
    are the fusions without their defaults, of which some depend on other options.
    """
    settings = check(Settings, config, "config: ").model_dump()
    settings["fusions_as_given"] = settings["fusions"]
    settings["experiments"] = {name: without_none(e) for name, e in settings["experiments"].items()}
    settings["fusions"] = {
        name: check_fusion(definition, f"config: fusions.{cut(name, LONGEST_KEY)}")
        for name, definition in settings["fusions"].items()
    }
    return settings


def without_none(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}


def resolve_experiments(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The experiments that `run` asks for, each with its recipes and fusions put in and seeds listed.

    One that is swept becomes one for each of its settings, whose `sweep` says of which sweep it is (`name`),
    what its `axes` are called by their keys, which `values` it has by the same, and of each of its `fusions`
    the entry and the values it comes from.

    `settings` are those that read_settings gives. Keys of an experiment: those of config.yaml, with
    `training` and `measurements` the recipes themselves, `fusions` a dictionary name -> definition, `seeds` a
    list, `spaces` a list out of config_options.PARTS, `widths` a list with one entry per parent, None
    where the architecture is not asked for any, and `depth` where the model type has one.
    """
    experiments: dict[str, dict[str, Any]] = {}
    for name in settings["run"]:
        if name not in settings["experiments"]:
            known = list(settings["experiments"])
            raise InputError(f"config: run: no experiment {short(name)}; {suggest(name, known)}")
        experiments |= resolve_settings(name, settings)
    check_number_of_models(experiments)
    return experiments


def check_number_of_models(experiments: Mapping[str, Mapping[str, Any]]) -> None:
    """A run is planned job by job, so the number of its models is limited."""
    numbers = {
        name: len(experiment["seeds"]) * (experiment["parents"] + len(experiment["fusions"]))
        for name, experiment in experiments.items()
    }
    total = sum(numbers.values())
    if total > MOST_MODELS:
        largest = max(numbers, key=lambda name: numbers[name])
        raise InputError(
            f"config: run: {total:,} models would be planned, {numbers[largest]:,} of them in "
            f"{cut(largest, LONGEST_KEY)}; at most {MOST_MODELS:,} are possible in one run: name fewer "
            "experiments, or lower their 'seeds' or 'parents'"
        )


def resolve_settings(name: str, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """An experiment as one of its name or, if it is swept, as one for each of its settings."""
    experiment = settings["experiments"][name]
    where = f"config: experiments.{cut(name, LONGEST_KEY)}"
    if "sweep" not in experiment:
        fusions: Children = {fusion: (fusion, {}) for fusion in experiment["fusions"]}
        return {name: resolve_experiment(experiment, Setting(name, {}, {}, fusions), settings, where)}
    try:
        points = settings_of(name, experiment["sweep"], experiment["fusions"])
    except InputError as error:
        raise InputError(f"{where}.sweep: {error}") from None
    check_swept_fusions(experiment, f"{where}.sweep")
    unswept = {key: value for key, value in experiment.items() if key != "sweep"}
    return {point.name: resolve_point(unswept, name, point, settings, where) for point in points}


def check_swept_fusions(experiment: Mapping[str, Any], where: str) -> None:
    """The fusions whose options are swept are those of the experiment."""
    for key in filter(is_of_fusion, experiment["sweep"]):
        fusion = key.split(".")[1]
        if fusion not in experiment["fusions"]:
            raise InputError(
                f"{where}.{cut(key, LONGEST_KEY)}: {short(fusion)} is no fusion of this experiment; "
                f"{suggest(fusion, experiment['fusions'])}"
            )


def resolve_point(
    unswept: dict[str, Any], sweep: str, point: Setting, settings: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """One setting of a sweep; a mistake names the values with which it is one."""
    of_point = f"{where}.sweep: with {told(point.values)}: " if point.values else f"{where}: "
    experiment = unswept | {key: value for key, value in point.values.items() if "." not in key}
    experiment = without_none(check(Experiment, experiment, of_point).model_dump())
    children = {child: {"fusion": name, "values": own} for child, (name, own) in point.fusions.items()}
    of_sweep = {"name": sweep, "axes": point.axes, "values": point.values, "fusions": children}
    return resolve_experiment(experiment, point, settings, where, of_point) | {"sweep": of_sweep}


def resolve_experiment(
    experiment: Mapping[str, Any],
    point: Setting,
    settings: Mapping[str, Any],
    where: str,
    of_point: str | None = None,
) -> dict[str, Any]:
    """An experiment with its recipes and fusions put in; `where` starts the sentences about mistakes in its
    keys, `of_point` those about values that are swept."""
    experiment = dict(experiment)
    for part in NAMED_PARTS:
        experiment[part] = look_up(experiment[part], settings[part], f"{where}.{part}")
    experiment["training"] = swept_recipe(experiment["training"], point.values, of_point or where)
    experiment["fusions"] = {
        child: swept_fusion(fusion, values, settings, where, of_point)
        for child, (fusion, values) in point.fusions.items()
    }
    experiment["seeds"] = seed_list(experiment["seeds"])
    experiment["spaces"] = Spaces(**experiment["spaces"]).parts()
    experiment |= resolve_network(experiment)
    check_plots(experiment, where)
    for fusion, definition in experiment["fusions"].items():
        check_fits_parents(fusion, definition, experiment, where)
    return experiment


def swept_recipe(recipe: Mapping[str, Any], values: Values, where: str) -> Mapping[str, Any]:
    """A training recipe with the values of its options that are swept."""
    options = {key: value for key, value in values.items() if key.startswith(f"{TRAINING}.")}
    for key, value in options.items():
        recipe = with_value(recipe, key.split(".")[1:], value)
    return check(TrainingRecipe, recipe, f"{where}training").model_dump() if options else recipe


def swept_fusion(
    fusion: str, values: Values, settings: Mapping[str, Any], where: str, of_point: str | None
) -> dict[str, Any]:
    """The definition of a child: an entry under `fusions`, with the values of its options that are swept."""
    definition = look_up(fusion, settings[FUSIONS], f"{where}.fusions")
    if not values:
        return definition
    definition = settings["fusions_as_given"][fusion]
    for key, value in values.items():
        definition = with_value(definition, key.split(".")[2:], value)
    return check_fusion(definition, f"{where}.sweep: with {told(values)}: fusions.{fusion}")


def told(values: Values) -> str:
    """Values of swept keys as a sentence names them."""
    return cut(", ".join(f"{key} {shown(value)}" for key, value in values.items()), LONGEST_LIST_OF_VALUES)


def check_plots(experiment: Mapping[str, Any], where: str) -> None:
    """Plots that are asked for by name show parts that are measured."""
    for plot in experiment.get("plots", ()):
        lacking = PLOTS[plot].lacks(experiment["spaces"]) if plot in PLOTS else []
        if lacking:
            raise InputError(
                f"{where}.plots: '{plot}' shows what 'spaces' has switched off ({', '.join(lacking)}); "
                "switch it on, or leave the plot out"
            )


def check_fits_parents(
    fusion: str, definition: Mapping[str, Any], experiment: Mapping[str, Any], where: str
) -> None:
    """A fusion and the parents of an experiment: how many there are, and how wide."""
    parents, reference, method = experiment["parents"], definition["reference"], definition["method"]
    if reference > parents:
        raise InputError(
            f"config: fusions.{cut(fusion, LONGEST_KEY)}.reference: there is no parent {short(reference)} in "
            f"{where.split('.')[-1]}, which has {parents}; name one of them, or raise its 'parents'"
        )
    equal_widths = method in METHODS and getattr(METHODS[method], "equal_widths", False)
    if equal_widths and len(set(experiment["widths"])) > 1:
        raise InputError(
            f"{where}.fusions: '{cut(fusion, LONGEST_KEY)}' ({method}) needs parents of equal width; "
            "leave it out, or give one width for all"
        )


def resolve_network(experiment: Mapping[str, Any]) -> dict[str, Any]:
    """The `widths`, one per parent, and what else its model type lets one choose, with defaults."""
    width = experiment.get("width")
    widths = list(width) if isinstance(width, list) else [width] * experiment["parents"]
    if "model_type" not in experiment:
        return {"widths": widths}
    given = {"depth": experiment.get("depth")}
    each = [network_options(experiment["model_type"], without_none(given | {"width": w})) for w in widths]
    return {"widths": [options.pop("width") for options in each]} | each[0]


def look_up(name: str, section: Mapping[str, Any], where: str) -> Any:
    if name not in section:
        raise InputError(f"{where}: {short(name)} is not defined; {suggest(name, list(section))}")
    return section[name]


def seed_list(seeds: int | list[int]) -> list[int]:
    """`3` means 1, 2, 3; a list is taken as it is, without repeats."""
    return list(range(1, seeds + 1)) if isinstance(seeds, int) else list(dict.fromkeys(seeds))


def check_files(paths: Iterable[str | Path]) -> None:
    """Raise InputError for a file that is not YAML, with the line; Snakemake names neither file nor line.

    And where a key is given twice: YAML, and so Snakemake, silently takes the last one.
    """
    for path in filter(os.path.isfile, paths):
        try:
            yaml.load(Path(path).read_text(encoding="utf-8-sig"), Loader=StrictLoader)
        except RepeatedKey as error:
            raise InputError(f"{path}, line {error.line}: {error}") from None
        except UnicodeDecodeError:
            raise InputError(f"{path}: is not text in UTF-8; save it as UTF-8") from None
        except RecursionError:
            raise InputError(f"{path}: is nested too deeply; no key lies that deep") from None
        except yaml.YAMLError as error:
            raise InputError(f"{path}{problem(error)}; fix it, and indent with spaces, not tabs") from None


def problem(error: yaml.YAMLError) -> str:
    """Where a file is not YAML, and why, in a few words."""
    mark = getattr(error, "problem_mark", None)
    line = f", line {mark.line + 1}" if mark else ""
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read"
    return f"{line}: is not YAML ({reason})"


class RepeatedKey(ValueError):
    """A key that a mapping already has."""

    def __init__(self, key: object, line: int, first: int) -> None:
        super().__init__(f"the key {short(key)} is given again (first in line {first}); keep one of the two")
        self.line = line


class StrictLoader(yaml.SafeLoader):
    """A loader of YAML that refuses repeated keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key, line = self.construct_object(key_node, deep=True), key_node.start_mark.line + 1
            if isinstance(key, Hashable):  # of others yaml itself complains
                if key in lines:
                    raise RepeatedKey(key, line, lines[key])
                lines[key] = line
        return super().construct_mapping(node, deep)
