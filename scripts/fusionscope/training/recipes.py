"""What a training recipe may say: every option with its range, its default and one sentence.

Defaults are those of the recipe `paper`; a recipe states what differs. Needs pydantic alone.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fusionscope.options import (
    MANY_TIMES,
    BelowOne,
    Count,
    NotNegative,
    OptionError,
    Options,
    Positive,
    PositiveOrNone,
    WholeNumber,
    expecting,
)


class Steps(Options):
    """The learning rate times `factor` after some of the epochs."""

    kind: Literal["steps"] = Field(description="The learning rate falls in steps.")
    at: Annotated[list[Count], expecting("a list of epochs")] = Field(
        description="Epochs after which it falls."
    )
    factor: Positive = Field(description="What it is multiplied with.")


class OneCycle(Options):
    """Up to the learning rate and down to nearly zero (Smith & Topin 2018, arXiv 1708.07120)."""

    kind: Literal["one_cycle"] = Field(description="Up to the learning rate and down to nearly zero.")


class Constant(Options):
    """The learning rate as it is."""

    kind: Literal["constant"] = Field(description="The learning rate stays as it is.")


class Linear(Options):
    """Up to the learning rate and down to zero, both in a straight line, step by step."""

    kind: Literal["linear"] = Field(description="The learning rate rises and falls linearly.")
    warmup_epochs: WholeNumber = Field(
        default=0, description="Epochs in which it rises; after them it falls to zero, which the end reaches."
    )


class TrainingRecipe(Options):
    """How parents are trained; the epoch with the smallest validation loss is kept."""

    epochs: Annotated[Count, MANY_TIMES] = Field(default=30, description="Passes over the training images.")
    batch_size: Count = Field(default=64, description="Images per step.")
    initialisation: Literal["network", "pytorch", "he"] = Field(
        default="network",
        description="How weights are drawn before training: network, as its own code does (a model_type: "
        "hidden layers by He, residual branches without batch norm from zero); pytorch, each layer's "
        "default; he, variance 2 / fan_in for convolutions and linear layers, biases from zero.",
    )
    learning_rate: Positive = Field(
        default=0.05, description="Learning rate that the schedule starts from, or rises to."
    )
    optimiser: Literal["sgd", "adamw"] = Field(
        default="sgd",
        description="sgd, or adamw: Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv "
        "1711.05101), betas 0.9 and 0.999.",
    )
    momentum: BelowOne = Field(default=0.9, description="Momentum of SGD; adamw has none.")
    weight_decay: NotNegative = Field(
        default=0.0,
        description="Times the weights: added to the gradient by sgd, taken off at each step by adamw.",
    )
    clip_norm: PositiveOrNone = Field(
        default=None, description="Largest Euclidean norm of a step's gradient; null for no limit."
    )
    schedule: Annotated[Steps | OneCycle | Constant | Linear, Field(discriminator="kind")] = Field(
        default=Steps(kind="steps", at=[12, 20, 25, 28], factor=0.1),
        description="How the learning rate changes from epoch to epoch.",
    )
    augmentation: Literal["none", "flip_and_crop"] = Field(
        default="none",
        description="What is done to training images: nothing, or random flips and crops after padding.",
    )
    precision: Literal["single", "tf32", "bfloat16"] = Field(
        default="single",
        description="Of the network's operations in a training step: single, or faster on a GPU, tf32 (no "
        "difference on a CPU) or bfloat16. Weights, validation and all measures stay in single precision.",
    )

    @model_validator(mode="after")
    def fits_together(self) -> Self:
        """Nothing is said that would be ignored."""
        if self.optimiser == "adamw" and "momentum" in self.model_fields_set:
            raise OptionError(
                "'momentum' is sgd's, and adamw has none; leave it out, or set 'optimiser: sgd'"
            )
        if isinstance(self.schedule, Linear) and self.schedule.warmup_epochs >= self.epochs:
            raise OptionError(
                f"'schedule' warms up for {self.schedule.warmup_epochs} epochs of {self.epochs}; let "
                "'warmup_epochs' be fewer"
            )
        return self
