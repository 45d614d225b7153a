"""What may be said of a fusion: the options of each step, their defaults, and what goes together.

A fusion aligns its parents (`method`), merges them (`merge`), repairs the child and trains it on. The class
of each way to align (ALIGNMENTS) has the options that are declared here. Needs pydantic alone, so that
reading a configuration imports neither PyTorch nor NumPy.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from fusionscope.errors import InputError
from fusionscope.options import (
    CODE_PATTERN,
    MANY_TIMES,
    Count,
    Flag,
    OptionError,
    Options,
    Positive,
    Several,
    Share,
    Text,
    check,
    short,
    suggest,
)

# The classes of the steps, by their names in config.yaml; imported when they are used.
ALIGNMENTS = {
    "average": "fusionscope.fusion.average:Average",
    "optimal_transport": "fusionscope.fusion.optimal_transport:OptimalTransport",
    "weight_matching": "fusionscope.fusion.weight_matching:WeightMatching",
}
MERGES = {"mean": "fusionscope.fusion.mean:Mean"}

GROUND_METRICS = {  # of what makes neurons alike; the first is the default
    "weights": ("euclidean", "cosine"),
    "activations": ("correlation", "euclidean"),
}
ONLY_WITH = {  # an option, and the setting of another that gives it a meaning
    "reg": ("solver", "sinkhorn"),
    "sides": ("align_by", "weights"),
    "rows": ("align_by", "weights"),
    "activations": ("align_by", "activations"),
}
OF_WEIGHTS = {"sides": "incoming", "rows": "unit"}  # defaults of what goes with weights alone
SOFT_MAPS = {"columns": "column", "mass": "row"}  # `soft_map`, the old name of `reader_normalisation`


# The ways to align


class AlignmentOptions(Options):
    """The options of one way to align the neurons of a parent to those of the reference."""

    equal_widths: ClassVar[bool] = False  # whether it pairs neurons one to one
    moves_neurons: ClassVar[bool] = True

    @property
    def looks_at_images(self) -> bool:
        """Whether it needs images."""
        return False


class AverageOptions(AlignmentOptions):
    """Neurons stay where they are: neuron i of all parents is averaged."""

    equal_widths: ClassVar[bool] = True
    moves_neurons: ClassVar[bool] = False


class OptimalTransportOptions(AlignmentOptions):
    """Neurons matched by optimal transport (Singh & Jaggi 2020, arXiv 1910.05653)."""

    align_by: Literal["weights", "activations"] = Field(
        default="weights", description="what makes neurons alike: their weights, or their answers to images"
    )
    solver: Literal["exact", "sinkhorn"] = Field(
        default="exact", description="of the transport problem: exact, or with entropy added (needs reg)"
    )
    reg: Positive | None = Field(
        default=None, description="weight of the entropy in units of the cost, for sinkhorn alone"
    )
    mass: Literal["uniform", "importance"] = Field(
        default="uniform",
        description="of a neuron: the same for all, or the norm of its weights or activations",
    )
    ground_metric: Literal["euclidean", "cosine", "correlation"] | None = Field(
        default=None,
        validate_default=True,
        description="between rows of weights: euclidean (default) or cosine; "
        "between activations: correlation (default) or euclidean",
    )
    sides: Literal["incoming", "both"] | None = Field(
        default=None,
        validate_default=True,
        description="weights that count with align_by weights: incoming (default), or both (also those of "
        "the layers that read the neuron)",
    )
    rows: Literal["unit", "raw"] | None = Field(
        default=None,
        validate_default=True,
        description="of weights, with align_by weights: scaled to unit norm (default), or raw, which goes "
        "with ground_metric euclidean",
    )
    activations: Literal["pre", "post"] | None = Field(
        default=None,
        validate_default=True,
        description="with align_by activations, where they are read: post (default) or pre the activation "
        "function",
    )
    reader_normalisation: Literal["column", "row"] = Field(
        default="column",
        description="where a neuron goes to several: column: its outgoing weights go to each of them in full "
        "(Singh & Jaggi); row: they are shared out among them",
    )

    @model_validator(mode="before")
    @classmethod
    def know_the_old_name(cls, options: Any) -> Any:
        if not isinstance(options, Mapping) or "soft_map" not in options:
            return options
        options = dict(options)
        old = options.pop("soft_map")
        if "reader_normalisation" in options:
            raise OptionError("is the old name of 'reader_normalisation'; leave it out", key="soft_map")
        if old not in tuple(SOFT_MAPS):
            raise OptionError(f"{short(old)} is not known; {suggest(old, SOFT_MAPS)}", key="soft_map")
        return options | {"reader_normalisation": SOFT_MAPS[old]}

    @field_validator("ground_metric", "sides", "rows", "activations")
    @classmethod
    def default_by_what_makes_neurons_alike(cls, value: str | None, info: Any) -> str | None:
        align_by = info.data.get("align_by")
        if value is not None or align_by is None:
            return value
        if info.field_name == "ground_metric":
            return GROUND_METRICS[align_by][0]
        if info.field_name == "activations":
            return "post" if align_by == "activations" else None
        return OF_WEIGHTS[info.field_name] if align_by == "weights" else None

    @model_validator(mode="after")
    def check_what_goes_together(self) -> "OptimalTransportOptions":
        for option, (other, value) in ONLY_WITH.items():
            if getattr(self, option) is not None and getattr(self, other) != value:
                raise OptionError(f"'{option}' goes with '{other}: {value}' alone; leave it out")
        if self.solver == "sinkhorn" and self.reg is None:
            raise OptionError("'solver: sinkhorn' needs 'reg', a number above 0")
        known = GROUND_METRICS[self.align_by]
        if self.ground_metric not in known:
            raise OptionError(
                f"'{self.ground_metric}' does not go with 'align_by: {self.align_by}'; "
                f"known are {', '.join(known)}",
                key="ground_metric",
            )
        if self.rows == "raw" and self.ground_metric == "cosine":
            raise OptionError("'ground_metric: cosine' has rows of unit norm; leave 'rows' out")
        return self

    @property
    def looks_at_images(self) -> bool:
        return self.align_by == "activations"


class WeightMatchingOptions(AlignmentOptions):
    """Permutations that bring all weights near those of the reference (Git Re-Basin, arXiv 2209.04836)."""

    equal_widths: ClassVar[bool] = True
    starts: Annotated[Count, MANY_TIMES] = Field(
        default=3, description="starts of coordinate descent, of which the best is kept"
    )


# Whole fusions


class FinetuneOptions(Options):
    """How the child is trained on; what is not said here is as in its parents' recipe."""

    epochs: Annotated[Count, MANY_TIMES] = Field(description="passes over the training images")
    learning_rate: Positive = Field(description="the same in all epochs")


class FusionOptions(Options):
    """What all fusions have, however they align."""

    method: Text = Field(description=f"how parents are aligned: {', '.join(ALIGNMENTS)}, or MODULE:CLASS")
    reference: Count = Field(
        default=2, description="number of the parent that the others are aligned to; the child has its shape"
    )
    weight: Share | None = Field(
        default=None, description="the reference's share of the child; equal shares for all unless given"
    )
    merge: Text = Field(
        default="mean", description=f"how aligned parents become one: {', '.join(MERGES)}, or MODULE:CLASS"
    )
    repair: Flag = Field(
        default=False, description="whether the child's channels get the mean and spread of its parents'"
    )
    finetune: FinetuneOptions | None = Field(
        default=None, description="how the child is trained on; not at all unless given"
    )
    images: Several = Field(
        default=512, description="number of training images for repair, and for alignments that look at some"
    )

    @field_validator("merge")
    @classmethod
    def check_merge(cls, merge: str) -> str:
        if merge not in MERGES and not is_code(merge):
            raise OptionError(f"{short(merge)} is not known; {suggest(merge, MERGES)}")
        return merge


class AverageFusion(AverageOptions, FusionOptions):
    """The mean of the weights, neuron i with neuron i."""

    method: Literal["average"]


class OptimalTransportFusion(OptimalTransportOptions, FusionOptions):
    """Neurons matched by optimal transport, then merged."""

    method: Literal["optimal_transport"]


class WeightMatchingFusion(WeightMatchingOptions, FusionOptions):
    """Neurons matched by coordinate descent on all weights, then merged."""

    method: Literal["weight_matching"]


class OwnFusion(FusionOptions):
    """Aligned by a class of one's own, which checks its options itself."""

    model_config = ConfigDict(extra="allow")


METHODS: dict[str, type[FusionOptions]] = {
    "average": AverageFusion,
    "optimal_transport": OptimalTransportFusion,
    "weight_matching": WeightMatchingFusion,
}


def check_fusion(definition: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """A fusion's `definition` with all defaults, without what is not said of it.

    Raises InputError, in one sentence that begins with `where`, for the first mistake.
    """
    place = f"{where}: " if where else ""
    if "method" not in definition:
        raise InputError(f"{place}the key 'method' is missing; known are {', '.join(METHODS)}")
    method = definition["method"]
    model = fusion_model(method)
    if model is None:
        place = f"{where}.method: " if where else "method: "
        raise InputError(f"{place}{short(method)} is not known; {suggest(method, METHODS)}")
    return check(model, definition, where).model_dump(exclude_none=True)


def fusion_model(method: object) -> type[FusionOptions] | None:
    """The model of definitions with this `method`, a class of one's own included; None if unknown."""
    if isinstance(method, str) and is_code(method):
        return OwnFusion
    return METHODS.get(method) if isinstance(method, str) else None


def is_code(name: str) -> bool:
    """Whether `name` is that of a thing of one's own, `module:name`."""
    return re.match(CODE_PATTERN, name) is not None


def looks_at_images(definition: Mapping[str, Any]) -> bool:
    """Whether a fusion, a definition that has been checked, needs images to align or to repair."""
    fusion = check(METHODS.get(definition["method"], OwnFusion), definition)
    return fusion.repair or not isinstance(fusion, AlignmentOptions) or fusion.looks_at_images


def moves_neurons(definition: Mapping[str, Any]) -> bool:
    """Whether a fusion, a definition that has been checked, may align anything; a class of one's own may."""
    fusion = METHODS.get(definition["method"], OwnFusion)
    return not issubclass(fusion, AlignmentOptions) or fusion.moves_neurons
