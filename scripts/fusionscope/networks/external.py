"""Networks of other makers: torchvision's classifiers, and functions of the user's own.

Both are named in one string, `torchvision:resnet50` or `my_package.nets:make`; either way random weights.
"""

import difflib

from torch import nn

from fusionscope.errors import InputError
from fusionscope.registry import load_own, reason, start_folder_first

TORCHVISION = "torchvision"
COLOURS = 3  # channels of the images that torchvision's networks take
SHOWN_NAMES = 3  # of torchvision's that come close to an unknown one


def make_architecture(
    architecture: str, num_classes: int, input_shape: tuple[int, int, int], *, width: float | None
) -> nn.Module:
    """The network that `architecture` names for images of `input_shape`, fresh from its maker.

    Raises InputError, in one sentence, for whatever the maker or its name has against it.
    """
    source, name = architecture.split(":")
    if source != TORCHVISION:
        options = {} if width is None else {"width": width}
        return own_network(architecture, num_classes=num_classes, **options)
    if width is not None:
        raise InputError(f"architecture {architecture}: has no 'width'; leave it out")
    channels, input_size, _ = input_shape
    if channels != COLOURS:
        raise InputError(f"architecture {architecture}: takes {COLOURS} 'channels'; leave them out")
    return torchvision_network(name, num_classes, input_size)


def torchvision_network(name: str, num_classes: int, input_size: int) -> nn.Module:
    """A classifier of torchvision.models with `num_classes` outputs for images of `input_size` pixels."""
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=SHOWN_NAMES)
        hint = f"did you mean {' or '.join(close)}?" if close else "torchvision.models.list_models() has all"
        raise InputError(f"architecture torchvision:{name}: torchvision has no such classifier; {hint}")
    options = torchvision_options(name, input_size)
    try:
        return models.get_model(name, weights=None, num_classes=num_classes, **options)
    except Exception as error:
        raise InputError(
            f"architecture torchvision:{name}: cannot be made with input_size {input_size} "
            f"({reason(error)}); choose another input_size"
        ) from error


def torchvision_options(name: str, input_size: int) -> dict[str, object]:
    """What some factories want to know beyond the number of classes."""
    if name.startswith("vit_"):
        return {"image_size": input_size}
    if name.startswith("maxvit_"):
        return {"input_size": (input_size, input_size)}
    if name in ("googlenet", "inception_v3"):
        return {"aux_logits": False, "init_weights": True}  # one output, as the other classifiers have
    return {}


def own_network(architecture: str, **options: object) -> nn.Module:
    """What the user's own function `architecture`, module:name, makes when it is called with `options`."""
    where = f"architecture {architecture}"
    make = load_own(architecture, "architecture")
    with start_folder_first():  # for what it imports when it runs
        try:
            network = make(**options)
        except Exception as error:
            call = ", ".join(f"{key}={value}" for key, value in options.items())
            raise InputError(
                f"{where}: {architecture.partition(':')[2]}({call}) failed: {reason(error)}; fix it"
            ) from error
    if not isinstance(network, nn.Module):
        raise InputError(f"{where}: gave a {type(network).__name__}; return a torch.nn.Module")
    return network
