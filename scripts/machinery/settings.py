"""From config.yaml to one plain dictionary per experiment, with every mistake named in one sentence."""

import difflib
from collections.abc import Callable, Mapping

from fusionscope.errors import InputError
from fusionscope.fusion.defaults import DEFAULT_REFERENCE

SPACES = ("input", "parameter", "prediction", "connectivity", "correlation")
NAMED_PARTS = ("training", "measurements")  # keys of an experiment that name an entry of that section

EITHER_OR = (  # of a measurement recipe: how many draws, or the relative standard error they are to bring
    ("hessian", "trace_draws", "trace_target_error"),
    ("flatness", "draws", "target_error"),
)
EQUAL_WIDTHS_ONLY = ("average", "weight_matching")  # methods that pair neurons one to one
ONLY_WITH = {  # an option of a fusion, and the setting of another that gives it a meaning
    "reg": ("solver", "sinkhorn"),
    "sides": ("align_by", "weights"),
    "activations": ("align_by", "activations"),
}
GROUND_METRICS = {"weights": ("euclidean", "cosine"), "activations": ("correlation", "euclidean")}


def check_schema(config: Mapping, schema: Mapping) -> None:
    """Raise InputError for the deepest violation of the JSON `schema`, named by its path in config."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    error = best_match(Draft202012Validator(schema).iter_errors(config))
    if error is not None:
        raise InputError(f"config: {explain(error)}")


def explain(error) -> str:
    """One sentence for a jsonschema error: where, what is wrong, what would be right."""
    where = ".".join(map(str, error.absolute_path)) or "top level"
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        unknown = next(key for key in error.instance if key not in known)
        return f"{where}: unknown key '{unknown}'; {suggest(unknown, known)}"
    if "propertyNames" in error.absolute_schema_path:
        return (
            f"{where}: '{error.instance}' cannot be a name; use letters, digits and _, a letter first, "
            "and for a fusion nothing that starts with parent_ or ends in _aligned"
        )
    if error.validator == "required":
        missing = next(key for key in error.validator_value if key not in error.instance)
        return f"{where}: the key '{missing}' is missing"
    if error.validator == "enum":
        return f"{where}: {error.instance!r} is not known; {suggest(error.instance, error.validator_value)}"
    if isinstance(error.instance, str) and error.validator in ("type", "anyOf") and is_number(error.instance):
        return f"{where}: {error.instance!r} is text, not a number; in YAML write {float(error.instance)!r}"
    return f"{where}: {error.instance!r} is not right; expected {description(error)}"


def description(error) -> str:
    """What the schema says is expected: the violated part itself, or the nearest part around it."""
    part = error
    while part is not None:
        if "description" in part.schema:
            return part.schema["description"]
        part = part.parent
    return f"{error.validator} {error.validator_value}"


def suggest(word: object, known: list) -> str:
    close = difflib.get_close_matches(str(word), [str(name) for name in known], n=1)
    return f"did you mean '{close[0]}'?" if close else f"known are {', '.join(map(str, known))}"


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def resolve_experiments(config: Mapping) -> dict[str, dict]:
    """The experiments that `run` asks for, each with its recipes and fusions put in and seeds listed.

    Keys of an experiment: those of config.yaml, with `training` and `measurements` the recipes
    themselves, `fusions` a dictionary name -> definition, `seeds` a list, `spaces` a list, and `widths`
    a list with one entry per parent, None where the architecture is not asked for any.
    """
    experiments = {}
    for name in config["run"]:
        if name not in config["experiments"]:
            known = list(config["experiments"])
            raise InputError(f"config: run: no experiment '{name}'; {suggest(name, known)}")
        experiments[name] = resolve_experiment(name, config)
    return experiments


def resolve_experiment(name: str, config: Mapping) -> dict:
    experiment = dict(config["experiments"][name])
    where = f"config: experiments.{name}"
    for part in NAMED_PARTS:
        experiment[part] = look_up(experiment[part], config[part], f"{where}.{part}")
    experiment["fusions"] = {
        fusion: look_up(fusion, config["fusions"], f"{where}.fusions") for fusion in experiment["fusions"]
    }
    experiment["seeds"] = seed_list(experiment["seeds"])
    experiment["spaces"] = [space for space in SPACES if experiment["spaces"].get(space, True)]
    check_consistency(experiment, where, measurements=config["experiments"][name]["measurements"])
    check_networks(experiment, where)
    experiment["widths"] = width_list(experiment)
    for fusion, definition in experiment["fusions"].items():
        check_fusion(definition, f"config: fusions.{fusion}")
        check_fits_parents(fusion, definition, experiment, where)
    return experiment


def check_consistency(experiment: Mapping, where: str, *, measurements: str) -> None:
    """What the schema cannot say: settings that are fine each by itself and not together."""
    check_measurements(experiment["measurements"], f"config: measurements.{measurements}")
    if not experiment["spaces"]:
        raise InputError(f"{where}.spaces: all are switched off; leave at least one on")
    if "correlation" in experiment["spaces"] and "prediction" not in experiment["spaces"]:
        raise InputError(
            f"{where}.spaces: correlation is with a metric of the prediction space; "
            "switch prediction on or correlation off"
        )
    if (experiment["dataset"] == "image_folder") != ("image_folder" in experiment):
        raise InputError(f"{where}: 'dataset: image_folder' and 'image_folder: <path>' go together")


def check_measurements(recipe: Mapping, where: str) -> None:
    """A search range that runs forwards, and one answer to how many draws are made."""
    low, high = recipe["flatness"]["scale_range"]
    if low >= high:
        raise InputError(
            f"{where}.flatness.scale_range: {low:g} is not below {high:g}; write the smaller first"
        )
    for part, draws, error in EITHER_OR:
        given = [name for name in (draws, error) if recipe[part].get(name) is not None]
        if len(given) != 1:
            raise InputError(f"{where}.{part}: give either '{draws}' or '{error}', not both or neither")


def check_networks(experiment: Mapping, where: str) -> None:
    """One kind of network, and a width for each parent if there is a list of them."""
    if ("model_type" in experiment) == ("architecture" in experiment):
        raise InputError(f"{where}: give either 'model_type' or 'architecture', one of the two")
    width, parents = experiment.get("width"), experiment["parents"]
    if width is not None and experiment.get("architecture", "").startswith("torchvision:"):
        raise InputError(f"{where}.width: torchvision's networks have no width; leave it out")
    if isinstance(width, list) and len(width) != parents:
        raise InputError(
            f"{where}.width: {len(width)} widths for {parents} parents; give one number for all, or one each"
        )


def check_fusion(definition: Mapping, where: str) -> None:
    """Options of a fusion that do not go together."""
    for option, (other, value) in ONLY_WITH.items():
        if option in definition and definition.get(other) != value:
            raise InputError(f"{where}: '{option}' goes with '{other}: {value}' alone; leave it out")
    if definition.get("solver") == "sinkhorn" and "reg" not in definition:
        raise InputError(f"{where}: 'solver: sinkhorn' needs 'reg', a number above 0")
    metric, align_by = definition.get("ground_metric"), definition.get("align_by")
    if metric is not None and metric not in GROUND_METRICS[align_by]:
        raise InputError(
            f"{where}.ground_metric: '{metric}' does not go with 'align_by: {align_by}'; "
            f"known are {', '.join(GROUND_METRICS[align_by])}"
        )


def check_fits_parents(fusion: str, definition: Mapping, experiment: Mapping, where: str) -> None:
    """A fusion and the parents of an experiment: how many there are, and how wide."""
    parents, reference = experiment["parents"], definition.get("reference", DEFAULT_REFERENCE)
    if reference > parents:
        raise InputError(
            f"config: fusions.{fusion}.reference: there is no parent {reference} in {where.split('.')[-1]}, "
            f"which has {parents}; name one of them, or raise its 'parents'"
        )
    if definition["method"] in EQUAL_WIDTHS_ONLY and len(set(experiment["widths"])) > 1:
        raise InputError(
            f"{where}.fusions: '{fusion}' ({definition['method']}) needs parents of equal width; "
            "leave it out, or give one width for all"
        )


def width_list(experiment: Mapping) -> list[float | None]:
    """The width of each parent; the study's networks are as published unless told otherwise."""
    width = experiment.get("width", 1.0 if "model_type" in experiment else None)
    return list(width) if isinstance(width, list) else [width] * experiment["parents"]


def look_up(name: str, section: Mapping, where: str) -> dict:
    if name not in section:
        raise InputError(f"{where}: '{name}' is not defined; {suggest(name, list(section))}")
    return section[name]


def seed_list(seeds: int | list[int]) -> list[int]:
    """`3` means 1, 2, 3; a list is taken as it is, without repeats."""
    return list(range(1, seeds + 1)) if isinstance(seeds, int) else list(dict.fromkeys(seeds))


def plain(value: object) -> object:
    """`value` with keys sorted and whole floats as integers, so that equal settings look equal."""
    if isinstance(value, Mapping):
        return {key: plain(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def foreign_weights(folder: str, recorded: Mapping[str, str], exists: Callable[[str], bool]) -> list[str]:
    """File names in `folder` that were not written by the workflow; `exists` looks where results are kept.

    `recorded` maps each file of weights that the workflow writes to the record it writes before it.
    """
    return [
        weights
        for weights, record in recorded.items()
        if exists(f"{folder}/{weights}") and not exists(f"{folder}/{record}")
    ]
