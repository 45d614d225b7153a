"""By which mean and deviation images are normalised: what may be asked for. Needs pydantic alone."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import Discriminator, Field, Tag

from fusionscope.options import Options, Positive, Share, expecting

PUBLISHED: Final = "published"

MEANS = "a list of three numbers from 0 to 1, one per channel"
DEVIATIONS = "a list of three numbers above 0, one per channel"
NORMALISATION = "published, measured, or both mean and std"


class Constants(Options):
    """What pixels / 255 are normalised by: the data set's published constants, measured ones, or yours.

    Where none are published they are measured on the training images; yours are what your weights expect.
    """

    mean: Annotated[list[Share], Field(min_length=3, max_length=3), expecting(MEANS)] = Field(
        description="Subtracted."
    )
    std: Annotated[list[Positive], Field(min_length=3, max_length=3), expecting(DEVIATIONS)] = Field(
        description="Divided by."
    )


def word_or_constants(value: object) -> str:
    return "constants" if isinstance(value, Mapping | Constants) else "word"


Normalisation = Annotated[
    Annotated[Literal["published", "measured"], expecting(NORMALISATION), Tag("word")]
    | Annotated[Constants, Tag("constants")],
    Discriminator(word_or_constants),
    expecting(NORMALISATION),
]


class PreparationOptions(Options):
    """How a data set is prepared."""

    normalisation: Normalisation = Field(default=PUBLISHED, description="What pixels are normalised by.")
