"""By which mean and deviation images are normalised: what may be asked for. Needs pydantic alone."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Strict,
    Tag,
    WithJsonSchema,
    model_validator,
)

from fusionscope.options import Count, OptionError, Options, Positive, Share, expecting, whole
from fusionscope.training.data_sets import SIZE

PUBLISHED: Final = "published"
CHANNELS = (1, 3)  # that images may have

MEANS = "a list of three numbers from 0 to 1, one per channel (of one with 'channels: 1')"
DEVIATIONS = "a list of three numbers above 0, one per channel (of one with 'channels: 1')"
NORMALISATION = "published, measured, or both mean and std"


def check_length(numbers: list[float]) -> list[float]:
    if len(numbers) not in CHANNELS:
        raise ValueError(numbers)
    return numbers


OnePerChannel = AfterValidator(check_length)


class Constants(Options):
    """What pixels / 255 are normalised by: the data set's published constants, measured ones, or yours.

    Where none are published they are measured on the training images; yours are what your weights expect.
    """

    mean: Annotated[list[Share], Field(min_length=1, max_length=3), OnePerChannel, expecting(MEANS)] = Field(
        description="Subtracted."
    )
    std: Annotated[
        list[Positive], Field(min_length=1, max_length=3), OnePerChannel, expecting(DEVIATIONS)
    ] = Field(description="Divided by.")


def word_or_constants(value: object) -> str:
    return "constants" if isinstance(value, Mapping | Constants) else "word"


Normalisation = Annotated[
    Annotated[Literal["published", "measured"], expecting(NORMALISATION), Tag("word")]
    | Annotated[Constants, Tag("constants")],
    Discriminator(word_or_constants),
    expecting(NORMALISATION),
]


def check_number_of_channels(channels: int) -> int:
    if channels not in CHANNELS:
        raise ValueError(channels)
    return channels


Channels = Annotated[
    int,
    Strict(),
    AfterValidator(check_number_of_channels),
    BeforeValidator(whole),
    expecting("1 (grey) or 3 (colour, or grey three times)"),
    WithJsonSchema({"enum": list(CHANNELS)}),
]


def check_channels(normalisation: str | Constants, channels: int) -> None:
    """Raise OptionError unless there is a mean and a deviation for each channel."""
    for key in ("mean", "std") if isinstance(normalisation, Constants) else ():
        found = len(getattr(normalisation, key))
        if found != channels:
            raise OptionError(
                f"{found} for images of {channels}; give one number per channel, or other 'channels'",
                key=f"normalisation.{key}",
            )


class PreparationOptions(Options):
    """How a data set is prepared."""

    normalisation: Normalisation = Field(default=PUBLISHED, description="What pixels are normalised by.")
    channels: Channels = Field(default=3, description="Of an image, as networks take it.")
    size: Count = Field(default=SIZE, description="Pixels on each side: 32, or as the data set is published.")

    @model_validator(mode="after")
    def check_together(self) -> "PreparationOptions":
        check_channels(self.normalisation, self.channels)
        return self
