"""Networks by name: the study's VGG11 and ResNet18 for 32x32 images, an MLP, or any other architecture.

The parameter names of the study's follow the layout in which CIFAR weights of these networks are
commonly published, so that such files load as they are.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fusionscope.errors import InputError
from fusionscope.graph.trace import INPUT_SHAPE, input_shape, reference_tensor
from fusionscope.networks.biases import give_biases, warn_once
from fusionscope.networks.external import make_architecture, reason
from fusionscope.networks.initialise import REDRAWS, global_stream, initialise
from fusionscope.networks.model_types import MODEL_TYPES, network_options
from fusionscope.options import unknown
from fusionscope.registry import resolve
from fusionscope.weights import is_extra_state, load_weights, set_weights


def build(
    num_classes: int,
    *,
    model_type: str | None = None,
    architecture: str | None = None,
    width: float | None = None,
    depth: int | None = None,
    input_size: int = INPUT_SHAPE[1],
    channels: int = INPUT_SHAPE[0],
    biases: bool = False,
) -> nn.Module:
    """A network in eval mode that knows its `input_shape`; its weights are its maker's default.

    Either `model_type`, one of MODEL_TYPES, or `architecture`, such as `torchvision:resnet50` or
    `my_package.nets:make`. `width` and `depth` are options of the model type, which has defaults for them.
    With `biases`, every layer that repair renormalises has one (see `give_biases`). Raises InputError if
    there is no such network, or none for images (`channels`, `input_size`, `input_size`), and for an option
    that it does not have.
    """
    shape = (channels, input_size, input_size)
    if architecture is None:
        network = make_model_type(model_type, num_classes, shape, {"width": width, "depth": depth})
    elif depth is not None:
        raise InputError(f"architecture {architecture}: has no 'depth'; leave it out")
    else:
        network = make_architecture(architecture, num_classes, shape, width=width)
    network.eval()
    network.input_shape = shape  # type: ignore[assignment]  # no tensor
    name = model_type or f"architecture {architecture}"
    check_fits(network, num_classes, name)
    if any(map(is_extra_state, network.state_dict())):
        warn_once(
            f"{name}: what its get_extra_state gives is neither saved nor averaged: a new network's is used"
        )
    if biases:
        give_biases(network)
    return network


def make_model_type(
    name: str | None, num_classes: int, input_shape: tuple[int, int, int], given: Mapping[str, float | None]
) -> nn.Module:
    """A network of MODEL_TYPES with the options `given`, where they are not None; raises as `build` does."""
    if name not in MODEL_TYPES:
        raise InputError(f"build.model_type: {unknown(name, list(MODEL_TYPES))}")
    try:
        options = network_options(name, {key: value for key, value in given.items() if value is not None})
    except InputError as error:
        raise InputError(f"build.{error}") from None
    entry = MODEL_TYPES[name]
    return resolve(entry.network)(num_classes, input_shape=input_shape, **entry.arguments, **options)


def load_network(path: str | Path, num_classes: int, **spec: Any) -> nn.Module:
    """`build(num_classes, **spec)` with the weights of the file at `path`; raises InputError as both do."""
    network = build(num_classes, **spec)
    set_weights(network, load_weights(path, network))
    network.weights_file = str(path)  # type: ignore[assignment]  # for sentences about it
    return network


@torch.no_grad()
def check_fits(network: nn.Module, num_classes: int, name: str) -> None:
    """Raise InputError unless `network` answers one image of its input shape with one logit per class."""
    shape = input_shape(network)
    size = f"{shape[1]}x{shape[2]} pixels"
    try:
        logits = network(torch.zeros(1, *shape))
    except Exception as error:
        raise InputError(
            f"{name}: cannot take images of {size} ({reason(error)}); {what_to_change(network)}"
        ) from error
    found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if found != (1, num_classes):
        raise InputError(
            f"{name}: answers one image of {size} with {found}, expected {(1, num_classes)}; "
            "return one logit per class"
        )


def what_to_change(network: nn.Module) -> str:
    """What may help where a network cannot take images: a clause for a sentence."""
    dtype = reference_tensor(network).dtype
    if dtype != torch.get_default_dtype():
        return (
            f"images come in single precision and its weights are {dtype}: make them so, by network.float()"
        )
    channels = input_shape(network)[0]
    number = "1 channel" if channels == 1 else f"{channels} channels"
    return f"choose another input_size; images have {number}, in single precision"


def initialised(
    generator: torch.Generator, num_classes: int, *, initialisation: str = "network", **spec: Any
) -> nn.Module:
    """`build(num_classes, **spec)` with fresh weights that depend on the generator's seed alone.

    `initialisation`: "network" for weights as the network's own code draws them, which is `initialise` for
    the study's, and their maker for others; or an entry of REDRAWS. Makers and REDRAWS draw from PyTorch's
    global stream: it is seeded for them, and afterwards as it was.
    """
    with global_stream(generator):
        network = build(num_classes, **spec)
        if initialisation != "network":
            REDRAWS[initialisation](network)
        elif spec.get("architecture") is None:
            initialise(network, generator)
    return network
