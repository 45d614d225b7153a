"""What config.yaml may say, and from it one plain dictionary per experiment; every mistake has its sentence.

The options of recipes and fusions are declared beside them (training/recipes.py, measures/recipes.py,
fusion/options.py); here they are joined. config_reference.py makes the JSON schema and the reference of it.
Planning a run imports this, so nothing here needs PyTorch, NumPy, pandas or matplotlib.
"""

import os
import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from fusionscope.errors import InputError
from fusionscope.fusion.options import METHODS, FusionOptions, OwnFusion, check_fusion
from fusionscope.measures.recipes import MeasurementRecipe
from fusionscope.networks.model_types import MODEL_TYPES
from fusionscope.options import (
    CODE_PATTERN,
    LONGEST_KEY,
    Count,
    Flag,
    KnownName,
    OptionError,
    Options,
    Positive,
    Several,
    Text,
    WholeNumber,
    check,
    cut,
    expecting,
    short,
    suggest,
)
from fusionscope.report.plot_table import PLOTS
from fusionscope.training.data_sets import DATA_SETS
from fusionscope.training.recipes import TrainingRecipe

IMAGE_FOLDER = "image_folder"  # the data set that needs a path
PARAMETER_PARTS = ("hessian", "scales", "complexity")
PARTS = ("input", *PARAMETER_PARTS, "prediction", "connectivity", "correlation")
NAMED_PARTS = ("training", "measurements")  # keys of an experiment that name an entry of that section

EXPERIMENT_PATTERN = r"^[A-Za-z][A-Za-z0-9_]*$"
FUSION_PATTERN = r"^(?!parent_)(?!.*_aligned$)[A-Za-z][A-Za-z0-9_]*$"
NAME_RULE = "letters, digits and _, a letter first"


def matching(pattern: str) -> AfterValidator:
    """Lets texts through that match `pattern` (Python's kind, which looks ahead; pydantic's does not)."""

    def validate(name: str) -> str:
        if not re.fullmatch(pattern, name):
            raise ValueError(name)
        return name

    return AfterValidator(validate)


ExperimentName = Annotated[
    str,
    matching(EXPERIMENT_PATTERN),
    expecting(NAME_RULE),
    WithJsonSchema({"type": "string", "pattern": EXPERIMENT_PATTERN}),
]
FusionName = Annotated[
    str,
    matching(FUSION_PATTERN),
    expecting(f"{NAME_RULE}, and nothing that starts with parent_ or ends in _aligned"),
    WithJsonSchema({"type": "string", "pattern": FUSION_PATTERN}),
]


RecipeName = Annotated[str, expecting("text")]


def one_or_list(value: object) -> str:
    return "list" if isinstance(value, list) else "one"


WIDTH = "a number above 0, 1 for the network as published, or a list with one for each parent"
Width = Annotated[
    Annotated[Positive, expecting(WIDTH), Tag("one")]
    | Annotated[list[Positive], Field(min_length=2), expecting(WIDTH), Tag("list")],
    Discriminator(one_or_list),
]
MOST_SEEDS, MOST_PARENTS = 10_000, 100  # a list is made of them
SEEDS = f"a number of seeds, at least 1 and at most {MOST_SEEDS}, or a list of whole numbers from 0"
Seeds = Annotated[
    Annotated[Count, Field(le=MOST_SEEDS), expecting(SEEDS), Tag("one")]
    | Annotated[list[WholeNumber], Field(min_length=1), expecting(SEEDS), Tag("list")],
    Discriminator(one_or_list),
]


class Spaces(Options):
    """What is measured; each may be switched off by itself."""

    input: Flag = Field(default=True, description="Lipschitz constants: how the output moves with the image.")
    parameter: Flag = Field(
        default=True, description="Hessian, scales and complexity; false switches off all three."
    )
    hessian: Flag = Field(
        default=True, description="Top eigenvalue, trace and spectral density of the Hessian."
    )
    scales: Flag = Field(default=True, description="Sigma and alpha: perturbations of the weights.")
    complexity: Flag = Field(
        default=True, description="Measures made of sigma and alpha, and those that cost little."
    )
    prediction: Flag = Field(
        default=True, description="Accuracy, losses, generalisation gap and calibration."
    )
    connectivity: Flag = Field(
        default=True, description="The line between parents, similarity of representations."
    )
    correlation: Flag = Field(
        default=True, description="Correlation of every metric with accuracy, or with the gap."
    )

    @model_validator(mode="after")
    def check_together(self) -> "Spaces":
        parts = self.parts()
        if not parts:
            raise OptionError("all are switched off; leave at least one on")
        if "correlation" in parts and "prediction" not in parts:
            raise OptionError(
                "correlation is with a metric of the prediction space; "
                "switch prediction on or correlation off"
            )
        return self

    def parts(self) -> list[str]:
        """The parts that are on, in the order of PARTS."""
        off = () if self.parameter else PARAMETER_PARTS
        return [part for part in PARTS if getattr(self, part) and part not in off]


class Experiment(Options):
    """One data set, one architecture, and for each seed parents and their children."""

    dataset: Annotated[str, KnownName(DATA_SETS)] = Field(description="The data set.")
    image_folder: Text | None = Field(
        default=None,
        description="Path of a folder with train/<class>/ and test/<class>/, for dataset image_folder.",
    )
    model_type: Annotated[str, KnownName(MODEL_TYPES)] | None = Field(
        default=None,
        description="A network of the study; either this or architecture.",
    )
    architecture: (
        Annotated[
            str,
            Field(pattern=CODE_PATTERN),
            expecting("torchvision:NAME, or MODULE:FUNCTION of your own, such as my_package.nets:make"),
        ]
        | None
    ) = Field(
        default=None,
        description="Any other network: one of torchvision's classifiers, or a function of your own that is "
        "called with num_classes=...",
    )
    width: Width | None = Field(
        default=None,
        description="Channels relative to the published network: one number, or a list with one for each "
        "parent; 1 for a model_type unless given.",
    )
    input_size: Annotated[Count, expecting("a whole number of pixels, at least 1")] = Field(
        default=32, description="Pixels on each side that images are resized to."
    )
    parents: Annotated[
        Several,
        Field(le=MOST_PARENTS),
        expecting(f"a whole number of parents, at least 2 and at most {MOST_PARENTS}"),
    ] = Field(default=2, description="Parents per seed, all fused into one child.")
    seeds: Seeds = Field(default=5, description="How many seeds (5 means 1 to 5), or which.")
    training: Annotated[str, expecting("the name of an entry under 'training'")] = Field(
        default="paper", description="The training recipe."
    )
    measurements: Annotated[str, expecting("the name of an entry under 'measurements'")] = Field(
        default="full", description="The measurement recipe."
    )
    fusions: Annotated[list[str], expecting("a list of names of entries under 'fusions'")] = Field(
        default=["naive_fused", "geometric_fused"], description="The children: entries under fusions."
    )
    spaces: Spaces = Field(default=Spaces(), description="What is measured.")
    accuracy_metric: Literal["accuracy", "generalisation_gap"] = Field(
        default="accuracy", description="What metrics are correlated with."
    )
    plots: list[Annotated[str, KnownName(PLOTS, own=True)]] | None = Field(
        default=None, description="The plots; all that the spaces allow unless given."
    )
    weights: Literal["trained", "provided"] = Field(
        default="trained",
        description="Where parents come from: trained here, or provided as files, see experiments/README.md.",
    )

    @model_validator(mode="after")
    def check_together(self) -> "Experiment":
        if (self.model_type is None) == (self.architecture is None):
            raise OptionError("give either 'model_type' or 'architecture', one of the two")
        if (self.dataset == IMAGE_FOLDER) != (self.image_folder is not None):
            raise OptionError("'dataset: image_folder' and 'image_folder: <path>' go together")
        if self.width is not None and (self.architecture or "").startswith("torchvision:"):
            raise OptionError("torchvision's networks have no width; leave it out", key="width")
        if isinstance(self.width, list) and len(self.width) != self.parents:
            raise OptionError(
                f"{len(self.width)} widths for {self.parents} parents; give one number for all, or one each",
                key="width",
            )
        return self


class FusionShape:
    """For the JSON schema alone: the definitions that check_fusion accepts, one shape per method."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        models: list[type[FusionOptions]] = [*METHODS.values(), OwnFusion]
        *known, own = (
            handler.resolve_ref_schema(handler(model.__pydantic_core_schema__)) for model in models
        )
        own["properties"]["method"] |= {"pattern": CODE_PATTERN}
        return {"anyOf": [*known, own]}


class Settings(Options):
    """All of config.yaml."""

    run: Annotated[list[str], Field(min_length=1), expecting("a list of experiment names, at least one")] = (
        Field(description="The experiments to build: entries under experiments.")
    )
    data_dir: Annotated[Text, expecting("a folder")] = Field(
        default="data", description="Folder where torchvision's data sets lie, or are downloaded to."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto",
        description="Where networks run: auto is the GPU if there is one; cuda fails without one.",
    )
    gpu_slots: Count = Field(default=1, description="Jobs that may share one GPU.")
    experiments: dict[ExperimentName, Experiment] = Field(description="The experiments by name.")
    training: dict[RecipeName, TrainingRecipe] = Field(
        default={"paper": TrainingRecipe()},
        description="Training recipes by name.",
    )
    measurements: dict[RecipeName, MeasurementRecipe] = Field(
        default={"full": MeasurementRecipe()},
        description="Measurement recipes by name.",
    )
    fusions: dict[FusionName, Annotated[dict[str, Any], FusionShape]] = Field(
        default={"naive_fused": {"method": "average"}, "geometric_fused": {"method": "optimal_transport"}},
        description="How children are made of their parents, by the children's names.",
    )


def read_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` as plain dictionaries, checked, with all defaults; raises InputError for the first mistake.

    Of an experiment and of a fusion, what is not said and has no default is left out.
    """
    settings = check(Settings, config, "config: ").model_dump()
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

    `settings` are those that read_settings gives. Keys of an experiment: those of config.yaml, with
    `training` and `measurements` the recipes themselves, `fusions` a dictionary name -> definition, `seeds` a
    list, `spaces` a list out of PARTS, and `widths` a list with one entry per parent, None where the
    architecture is not asked for any.
    """
    experiments = {}
    for name in settings["run"]:
        if name not in settings["experiments"]:
            known = list(settings["experiments"])
            raise InputError(f"config: run: no experiment {short(name)}; {suggest(name, known)}")
        experiments[name] = resolve_experiment(name, settings)
    return experiments


def resolve_experiment(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    experiment = dict(settings["experiments"][name])
    where = f"config: experiments.{cut(name, LONGEST_KEY)}"
    for part in NAMED_PARTS:
        experiment[part] = look_up(experiment[part], settings[part], f"{where}.{part}")
    experiment["fusions"] = {
        fusion: look_up(fusion, settings["fusions"], f"{where}.fusions") for fusion in experiment["fusions"]
    }
    experiment["seeds"] = seed_list(experiment["seeds"])
    experiment["spaces"] = Spaces(**experiment["spaces"]).parts()
    experiment["widths"] = width_list(experiment)
    check_plots(experiment, where)
    for fusion, definition in experiment["fusions"].items():
        check_fits_parents(fusion, definition, experiment, where)
    return experiment


def check_plots(experiment: Mapping[str, Any], where: str) -> None:
    """Plots that are asked for by name show parts that are measured."""
    for plot in experiment.get("plots", ()):
        lacking = (
            [part for part in PLOTS[plot].needs if part not in experiment["spaces"]] if plot in PLOTS else []
        )
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


def width_list(experiment: Mapping[str, Any]) -> list[float | None]:
    """The width of each parent; the study's networks are as published unless told otherwise."""
    width = experiment.get("width", 1.0 if "model_type" in experiment else None)
    return list(width) if isinstance(width, list) else [width] * experiment["parents"]


def look_up(name: str, section: Mapping[str, Any], where: str) -> Any:
    if name not in section:
        raise InputError(f"{where}: {short(name)} is not defined; {suggest(name, list(section))}")
    return section[name]


def seed_list(seeds: int | list[int]) -> list[int]:
    """`3` means 1, 2, 3; a list is taken as it is, without repeats."""
    return list(range(1, seeds + 1)) if isinstance(seeds, int) else list(dict.fromkeys(seeds))


def plain(value: Any) -> Any:
    """`value` with keys sorted and whole floats as integers, so that equal settings look equal."""
    if isinstance(value, Mapping):
        return {key: plain(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def check_files(paths: Iterable[str | Path]) -> None:
    """Raise InputError where a key is given twice: YAML, and so Snakemake, silently takes the last one."""
    for path in filter(os.path.isfile, paths):
        try:
            yaml.load(Path(path).read_text(encoding="utf-8"), Loader=StrictLoader)
        except RepeatedKey as error:
            raise InputError(f"{path}, line {error.line}: {error}") from None


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


def provided_weights(folder: str, recorded: Mapping[str, str], exists: Callable[[str], bool]) -> list[str]:
    """File names in `folder` that were not written by the workflow; `exists` looks where results are kept.

    `recorded` maps each file of weights that the workflow writes to the record it writes before it.
    """
    return [
        weights
        for weights, record in recorded.items()
        if exists(f"{folder}/{weights}") and not exists(f"{folder}/{record}")
    ]
