"""What a measurement recipe may say: every option with its range and its default.

The defaults are the recipe `full`, which is for the study's data sets; a recipe says what differs from it.
Needs pydantic alone, so that planning a run imports neither PyTorch nor NumPy.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from fusionscope.measures.names import METRICS
from fusionscope.options import (
    CODE_PATTERN,
    MANY_TIMES,
    Count,
    OptionError,
    Options,
    Positive,
    PositiveOrNone,
    Several,
    SeveralOrNone,
    expecting,
    short,
    suggest,
)

# The complexity measures that cost little, by name: module:function of a Subject, imported when it is used.
COMPLEXITY = {name: metric.compute for name, metric in METRICS.items() if metric.compute is not None}


class InputRecipe(Options):
    """How the input space is measured."""

    images: Several = Field(default=512, description="test images at which the norm of the Jacobian is found")
    starts: Annotated[Count, MANY_TIMES] = Field(
        default=32,
        description="starts of the ascent to the Lipschitz constant: up to half of them images, the others "
        "random",
    )
    power_iterations: Annotated[Count, MANY_TIMES] = Field(
        default=80,
        description="iterations from each start; the better half goes on with twice as many, as often as "
        "that adds more than 1 %",
    )


class EitherOr(Options):
    """Options, two of them to say how many draws are made: their number, or the error that they leave.

    Where one of the two is given, the other's default does not count.
    """

    @classmethod
    def pair(cls) -> tuple[str, str]:
        """The names of the two options."""
        raise NotImplementedError

    @model_validator(mode="before")
    @classmethod
    def drop_the_default_of_the_other(cls, options: Any) -> Any:
        if isinstance(options, Mapping) and any(options.get(name) is not None for name in cls.pair()):
            return dict.fromkeys(cls.pair()) | dict(options)
        return options

    @model_validator(mode="after")
    def check_just_one_is_given(self) -> "EitherOr":
        draws, error = self.pair()
        if (getattr(self, draws) is None) == (getattr(self, error) is None):
            raise OptionError(f"give either '{draws}' or '{error}', not both or neither")
        return self


class HessianRecipe(EitherOr):
    """How the Hessian of the loss is measured."""

    images: Several = Field(
        default=2048, description="training images of the loss, the same for all models of an experiment"
    )
    lanczos_steps: Annotated[Several, MANY_TIMES] = Field(
        default=60, description="matrix-vector products of a Lanczos run, and vectors that are stored"
    )
    density_starts: Annotated[Count, MANY_TIMES] = Field(
        default=5,
        description="Lanczos runs for the spectral density; the first finds the outliers and serves all "
        "numbers",
    )
    eigenvalue_tolerance: Positive = Field(
        default=0.001,
        description="relative residual of the top eigenvalue; where a run ends above it, it is censored",
    )
    trace_draws: Annotated[SeveralOrNone, MANY_TIMES] = Field(
        default=None,
        description="random vectors for the trace, or drawn classes for each image where there are more than "
        "20 (of fewer all are taken), unless trace_target_error says how many",
    )
    trace_target_error: PositiveOrNone = Field(
        default=0.01,
        description="standard error of the trace, relative to it, that ends drawing; not with trace_draws",
    )
    precision: Literal["single", "double"] = Field(
        default="single", description="of the network's operations: single or double"
    )

    @classmethod
    def pair(cls) -> tuple[str, str]:
        return "trace_draws", "trace_target_error"


class ScalesRecipe(EitherOr):
    """How sigma and alpha are searched, the scales of perturbations that cost a tenth of the accuracy."""

    images: Several = Field(
        default=2048,
        description="training images that judge perturbations, the same for all models of an experiment",
    )
    draws: Annotated[SeveralOrNone, MANY_TIMES] = Field(
        default=None, description="of Gaussian noise, for sigma, unless target_error says how many"
    )
    target_error: PositiveOrNone = Field(
        default=0.01,
        description="standard error of sigma, relative to it, that ends drawing; not with draws",
    )
    images_per_draw: Count = Field(default=64, description="of the images, that judge one draw")
    starts: Annotated[Count, MANY_TIMES] = Field(
        default=8, description="attacks for alpha, the most promising directions first"
    )
    ascent_steps: Annotated[Count, MANY_TIMES] = Field(
        default=20, description="gradient steps of an attack at each scale"
    )
    tolerance: Positive = Field(
        default=0.002, description="of log(sigma) and log(alpha): the width of the bracket that ends a search"
    )
    precision: Literal["single", "bfloat16"] = Field(
        default="single", description="of the network's operations: single, or bfloat16, faster on a GPU"
    )
    scale_range: Annotated[
        list[Positive],
        Field(min_length=2, max_length=2),
        expecting("a list of two numbers above 0, the smaller first"),
    ] = Field(
        default=[1e-6, 100.0],
        description="smallest and largest sigma and alpha that are tried; there a value is censored",
    )

    @classmethod
    def pair(cls) -> tuple[str, str]:
        return "draws", "target_error"

    @model_validator(mode="before")
    @classmethod
    def refuse_what_is_gone(cls, options: Any) -> Any:
        if isinstance(options, Mapping) and "ascent_images" in options:
            raise OptionError(
                "is no option any more: a step looks at those that fall first; leave it out",
                key="ascent_images",
            )
        return options

    @field_validator("scale_range", mode="before")
    @classmethod
    def accept_pairs(cls, ends: Any) -> Any:
        return list(ends) if isinstance(ends, tuple) else ends

    @field_validator("scale_range")
    @classmethod
    def check_order(cls, ends: list[float]) -> list[float]:
        low, high = ends
        if low >= high:
            raise OptionError(f"{low:g} is not below {high:g}; write the smaller first")
        return ends


class PredictionRecipe(Options):
    """How the prediction space is measured."""

    calibration_bins: Annotated[Count, MANY_TIMES] = Field(
        default=15, description="bins of confidence for the expected calibration error"
    )


class ConnectivityRecipe(Options):
    """How the way from one parent to another is measured, and what a child shares with them."""

    images: Several = Field(
        default=10000, description="test images on which the line between parents is measured"
    )
    points: Annotated[Several, MANY_TIMES] = Field(
        default=25, description="networks on the line, both ends included"
    )
    similarity_images: Several = Field(
        default=1000, description="test images for the similarity of representations and for their variance"
    )


class PairRecipe(Options):
    """How parents are compared before they are merged."""

    images: Several = Field(
        default=2048,
        description="training images of the gradients, the same for all pairs of an experiment, aligned or "
        "not",
    )
    similarity_images: Several = Field(
        default=1000, description="test images for the similarity of the parents' representations"
    )


class MeasurementRecipe(Options):
    """How all models of an experiment are measured."""

    batch_size: Count = Field(
        default=256, description="images evaluated at once: changes speed and memory, no result"
    )
    input_space: InputRecipe = Field(default=InputRecipe(), description="of the input space")
    hessian: HessianRecipe = Field(default=HessianRecipe(), description="of the Hessian of the loss")
    flatness: ScalesRecipe = Field(default=ScalesRecipe(), description="of the scales sigma and alpha")
    complexity: Annotated[list[str], expecting("a list of measures, none twice; [] for none")] = Field(
        default=list(COMPLEXITY),
        description="measures that cost little, or functions of one's own, MODULE:FUNCTION; [] for none",
        json_schema_extra={
            "items": {"anyOf": [{"enum": list(COMPLEXITY)}, {"type": "string", "pattern": CODE_PATTERN}]},
            "uniqueItems": True,
        },
    )
    prediction_space: PredictionRecipe = Field(
        default=PredictionRecipe(), description="of the prediction space"
    )
    connectivity: ConnectivityRecipe = Field(
        default=ConnectivityRecipe(), description="of the way between parents"
    )
    pair_space: PairRecipe = Field(default=PairRecipe(), description="of parents before they are merged")

    @field_validator("complexity")
    @classmethod
    def check_measures(cls, names: list[str]) -> list[str]:
        for place, name in enumerate(names):
            if name not in COMPLEXITY and not re.match(CODE_PATTERN, name):
                raise OptionError(f"{short(name)} is not known; {suggest(name, COMPLEXITY)}", key=str(place))
            metric = name.split(":")[-1]  # what it is called in tables
            if metric in (other.split(":")[-1] for other in names[:place]):
                raise OptionError(f"{short(metric)} is there twice; leave one out", key=str(place))
        return names
