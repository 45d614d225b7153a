"""The networks by name: the class that makes each, and what may be said of it. Needs pydantic alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field

from fusionscope.errors import InputError
from fusionscope.options import Count, Options, Positive, at_most, check, expecting

Depth = Annotated[Count, at_most(1_000), expecting("a whole number of hidden layers, at least 1")]
Units = Annotated[
    Count, at_most(65_536), expecting("a whole number of units per hidden layer of an MLP, at least 1")
]


class ConvolutionalOptions(Options):
    """A network of the study, in the layout for CIFAR."""

    width: Annotated[Positive, expecting("a number above 0, 1 for the network as published")] = Field(
        default=1.0, description="Channels relative to the published network."
    )


class MLPOptions(Options):
    """Linear layers with ReLU between them, on the flattened image.

    By default the one of Git Re-Basin (Ainsworth et al. 2023, arXiv 2209.04836): 3 layers of 512 units.
    """

    depth: Depth = Field(default=3, description="Hidden layers.")
    width: Units = Field(default=512, description="Units of each hidden layer.")


@dataclass(frozen=True)
class ModelType:
    """A kind of network as an entry of the table.

    `network` is the `module:class` that is called with `num_classes`, the `input_shape` of an image, the
    fixed `arguments` of this type, and the `options` that a configuration may give.
    """

    network: str
    options: type[Options]
    arguments: Mapping[str, bool] = field(default_factory=dict)


MODEL_TYPES: dict[str, ModelType] = {
    name + suffix: ModelType(network, ConvolutionalOptions, {"bias": bias, "batch_norm": batch_norm})
    for name, network in (
        ("VGG11", "fusionscope.networks.vgg:VGG11"),
        ("RESNET18", "fusionscope.networks.resnet:ResNet18"),
    )
    for suffix, bias, batch_norm in (
        ("", True, True),
        ("_NOBIAS", False, True),
        ("_NOBN", True, False),
        ("_NOBIAS_NOBN", False, False),
    )
} | {"MLP": ModelType("fusionscope.networks.mlp:MLP", MLPOptions)}


def network_options(model_type: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a network of MODEL_TYPES: those `given`, and defaults for others.

    Raises InputError, in a sentence that begins with the option, for one that the type does not have, and
    for a value that is not right.
    """
    model = MODEL_TYPES[model_type].options
    for key in given:
        if key not in model.model_fields:
            raise InputError(f"{key}: {model_type} has none; leave it out")
    return check(model, given).model_dump()
