"""Networks of other makers: torchvision's classifiers, and functions of the user's own.

Both are named in one string, `torchvision:resnet50` or `my_package.nets:make`; either way random weights.
"""

import difflib
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn

from fusionscope.errors import InputError

TORCHVISION = "torchvision"
SHOWN_NAMES = 3  # of torchvision's that come close to an unknown one


def make_architecture(
    architecture: str, num_classes: int, *, width: float | None, input_size: int
) -> nn.Module:
    """The network that `architecture` names, fresh from its maker.

    Raises InputError, in one sentence, for whatever the maker or its name has against it.
    """
    source, name = architecture.split(":")
    if source != TORCHVISION:
        options = {} if width is None else {"width": width}
        return own_network(source, name, num_classes=num_classes, **options)
    if width is not None:
        raise InputError(f"architecture {architecture}: has no 'width'; leave it out")
    return torchvision_network(name, num_classes, input_size)


def torchvision_network(name: str, num_classes: int, input_size: int) -> nn.Module:
    """A classifier of torchvision.models with `num_classes` outputs for pictures of `input_size` pixels."""
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


def own_network(module: str, name: str, **options: object) -> nn.Module:
    """What the function `name` of the user's `module` makes, which is looked for below the current folder."""
    where = f"architecture {module}:{name}"
    with start_folder_first():
        make = own_function(module, name)
        try:
            network = make(**options)
        except Exception as error:
            call = ", ".join(f"{key}={value}" for key, value in options.items())
            raise InputError(f"{where}: {name}({call}) failed: {reason(error)}; mend it") from error
    if not isinstance(network, nn.Module):
        raise InputError(f"{where}: gave a {type(network).__name__}; return a torch.nn.Module")
    return network


def own_function(module: str, name: str) -> Callable[..., object]:
    where = f"architecture {module}:{name}"
    try:
        imported = importlib.import_module(module)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            raise InputError(
                f"{where}: there is no module {error.name} in {os.getcwd()}; "
                "start the workflow in the folder that holds it"
            ) from error
        raise InputError(f"{where}: importing {module} failed: {reason(error)}; mend it") from error
    make = getattr(imported, name, None)
    if not callable(make):
        raise InputError(f"{where}: {module} has no function '{name}'; define it, or name another")
    return make


@contextmanager
def start_folder_first() -> Iterator[None]:
    """The current folder ahead of all others that are searched for modules, for a while."""
    before = list(sys.path)
    sys.path.insert(0, os.getcwd())
    try:
        yield
    finally:
        sys.path[:] = before


def reason(error: Exception) -> str:
    """An exception in a few words: its kind, and the first line of what it says."""
    first = str(error).strip().partition("\n")[0].rstrip(".;")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
