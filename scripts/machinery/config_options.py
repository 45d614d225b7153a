"""Every key of config.yaml: its type, its range, its default and one sentence.

The options of recipes and fusions are declared beside them (training/recipes.py, measures/recipes.py,
fusion/options.py); here they are joined with what is said of an experiment and of the run. Needs pydantic
alone.
"""

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
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
from fusionscope.fusion.options import METHODS, FusionOptions, OwnFusion
from fusionscope.measures.names import METRICS, PARENTS
from fusionscope.measures.recipes import MeasurementRecipe
from fusionscope.networks.model_types import MODEL_TYPES, network_options
from fusionscope.options import (
    CODE_PATTERN,
    MANY_TIMES,
    Count,
    Flag,
    KnownName,
    OptionError,
    Options,
    Positive,
    Several,
    Text,
    WholeNumber,
    expecting,
    short,
)
from fusionscope.report.plot_table import PLOTS
from fusionscope.training.data_sets import DATA_SETS
from fusionscope.training.normalisation import PUBLISHED, Channels, Normalisation, check_channels
from fusionscope.training.recipes import TrainingRecipe
from machinery.sweeps import check_sweep

IMAGE_FOLDER = "image_folder"  # the data set that needs a path
PARAMETER_PARTS = ("hessian", "scales", "complexity")
PARTS = ("input", *PARAMETER_PARTS, "prediction", "connectivity", "pair", "correlation")

LONGEST_NAME = 60  # characters: several names and endings make up the name of one file
NAME_PATTERN = rf"[A-Za-z][A-Za-z0-9_]{{0,{LONGEST_NAME - 1}}}$"
EXPERIMENT_PATTERN = f"^{NAME_PATTERN}"
FUSION_PATTERN = rf"^(?!parent_|{PARENTS}$)(?!.*_(aligned|last_epoch)$){NAME_PATTERN}"
WINDOWS_DEVICE = r"con|prn|aux|nul|com\d|lpt\d"  # no file can be called so there
OTHER_MODELS_FILE = rf"{PARENTS}|parent_.*|.*_(aligned|last_epoch)"  # also where a disk ignores case
NAME_RULE = (
    f"letters a to z, digits and _, a letter first, at most {LONGEST_NAME} characters, and no device of "
    "Windows such as con"
)


def names_of_files(pattern: str, kept: str) -> AfterValidator:
    """Lets names through that match `pattern` and not, in upper or lower case, `kept` (for others)."""

    def validate(name: str) -> str:
        if not re.fullmatch(pattern, name) or re.fullmatch(kept, name, re.IGNORECASE):
            raise ValueError(name)
        return name

    return AfterValidator(validate)


ExperimentName = Annotated[
    str,
    names_of_files(EXPERIMENT_PATTERN, WINDOWS_DEVICE),
    expecting(NAME_RULE),
    WithJsonSchema({"type": "string", "pattern": EXPERIMENT_PATTERN}),
]
FusionName = Annotated[
    str,
    names_of_files(FUSION_PATTERN, f"{WINDOWS_DEVICE}|{OTHER_MODELS_FILE}"),
    expecting(
        f"{NAME_RULE}; not parents, nothing that starts with parent_ or ends in _aligned or _last_epoch"
    ),
    WithJsonSchema({"type": "string", "pattern": FUSION_PATTERN}),
]
RecipeName = Annotated[str, expecting("text")]
MetricNames = Annotated[
    list[Annotated[str, KnownName(METRICS, own=True)]],
    Field(min_length=1),
    expecting("a list of metrics, at least one"),
]


def one_or_list(value: object) -> str:
    return "list" if isinstance(value, list) else "one"


WIDTH = "a number above 0, 1 for a VGG11 or ResNet18 as published, or a list with one for each parent"
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


Sweep = Annotated[
    dict[str, Any],
    BeforeValidator(check_sweep),
    WithJsonSchema(
        {
            "type": "object",
            "minProperties": 1,
            "properties": {"zip": {"type": "boolean"}},
            "additionalProperties": {"type": "array", "minItems": 1},
        }
    ),
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
    pair: Flag = Field(
        default=True,
        description="The parents beside each other before they are merged, as they are and aligned.",
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


def alike(names: Iterable[str]) -> tuple[str, str] | None:
    """The first two names that differ in case only."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            return other, name
    return None


class Experiment(Options):
    """One data set, one architecture, and for each seed parents and their children."""

    dataset: Annotated[str, KnownName(DATA_SETS)] = Field(description="The data set.")
    image_folder: Text | None = Field(
        default=None,
        description="Path of a folder with train/<class>/ and test/<class>/, for dataset image_folder.",
    )
    normalisation: Normalisation = Field(
        default=PUBLISHED,
        description="How images are normalised.",
    )
    model_type: Annotated[str, KnownName(MODEL_TYPES)] | None = Field(
        default=None,
        description="A network of the study, or a multilayer perceptron; either this or architecture.",
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
        description="Channels relative to the published network, 1 for a VGG11 or ResNet18 unless given; of "
        "an MLP the units of each hidden layer, 512 unless given. One number, or a list with one for each "
        "parent.",
    )
    depth: Annotated[Count, expecting("a whole number of hidden layers, at least 1")] | None = Field(
        default=None, description="Hidden layers of an MLP, which has 3 unless given."
    )
    input_size: Annotated[Count, expecting("a whole number of pixels, at least 1")] = Field(
        default=32,
        description="Pixels on each side that images are resized to. Digits of 8 and Fashion-MNIST of 28 are "
        "as published; other sizes are made from images of 32: digits enlarged, Fashion-MNIST with a border.",
    )
    channels: Channels = Field(
        default=3,
        description="Of images and networks: 3, in which grey images are repeated, or 1, in which colours "
        "become grey.",
    )
    parents: Annotated[
        Several,
        Field(le=MOST_PARENTS),
        expecting(f"a whole number of parents, at least 2 and at most {MOST_PARENTS}"),
    ] = Field(default=2, description="Parents per seed, all fused into one child.")
    sweep: Sweep | None = Field(
        default=None,
        description="The experiment at several values: a list for each key that is swept, such as width, "
        "training.weight_decay or fusions.naive_repaired.weight; all combinations, or with zip: true the "
        "first of each list, the second of each, and so on. See docs/sweeps.md.",
    )
    seeds: Seeds = Field(default=5, description="How many seeds (5 means 1 to 5), or which.")
    training: Annotated[str, expecting("the name of an entry under 'training'")] = Field(
        default="paper",
        description="The training recipe. paper is the study's, with which networks without batch norm may "
        "diverge or stay near chance: docs/training.md compares it with the recipe robust.",
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
        default=None,
        description="The plots; unless given all that the spaces allow and the seeds are enough for.",
    )
    table_metrics: MetricNames | None = Field(
        default=None, description="The metrics of the LaTeX table; all that are measured unless given."
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
        self.check_network_options()
        check_channels(self.normalisation, self.channels)
        if self.channels != 3 and str(self.architecture).startswith("torchvision:"):
            raise OptionError("torchvision's networks take 3; leave it out", key="channels")
        if isinstance(self.width, list) and len(self.width) != self.parents:
            raise OptionError(
                f"{len(self.width)} widths for {self.parents} parents; give one number for all, or one each",
                key="width",
            )
        self.check_plots()
        return self

    def check_network_options(self) -> None:
        """Width and depth are those of a network that has them."""
        if self.model_type is not None:
            for width in self.width if isinstance(self.width, list) else [self.width]:
                given = {"width": width, "depth": self.depth}
                given = {key: value for key, value in given.items() if value is not None}
                try:
                    network_options(self.model_type, given)
                except InputError as error:
                    key, _, sentence = str(error).partition(": ")
                    raise OptionError(sentence, key=key) from None
        elif self.depth is not None:
            raise OptionError("only a model_type MLP has a depth; leave it out", key="depth")
        elif self.width is not None and str(self.architecture).startswith("torchvision:"):
            raise OptionError("torchvision's networks have no width; leave it out", key="width")

    def check_plots(self) -> None:
        """Of plots of one's own the last part of the name is that of their files."""
        files: dict[str, str] = {}
        for plot in self.plots or ():
            name = plot.split(":")[-1]
            other = files.setdefault(name.casefold(), plot)
            if other != plot:
                raise OptionError(
                    f"{short(other)} and {short(plot)} would be drawn into one file; rename one of them",
                    key="plots",
                )
            if len(name) > LONGEST_NAME:
                raise OptionError(
                    f"{short(name)} is too long for a file's name; use at most {LONGEST_NAME} characters",
                    key="plots",
                )


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
    gpu_slots: Annotated[Count, MANY_TIMES] = Field(default=1, description="Jobs that may share one GPU.")
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

    @model_validator(mode="after")
    def check_case(self) -> "Settings":
        for section, names in (("experiments", self.experiments), ("fusions", self.fusions)):
            pair = alike(names)
            if pair:
                raise OptionError(
                    f"{short(pair[0])} and {short(pair[1])} differ in case only, and would be one file on "
                    "disks that ignore it (macOS, Windows); rename one of them",
                    key=section,
                )
        return self
