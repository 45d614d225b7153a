"""State dicts: on disk, written whole or not at all and checked before anybody uses them; their mean."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from fusionscope.errors import InputError
from fusionscope.files import whole_file

Weights = dict[str, Tensor]  # a state dict: parameters and buffers by name
EXTRA_STATE = "_extra_state"  # PyTorch's name for what a module's get_extra_state gives


def save_weights(weights: Mapping[str, Tensor], path: str | Path) -> None:
    """Write a state dict, whole or not at all."""
    save_whole({name: tensor.detach().cpu().clone() for name, tensor in weights.items()}, path)


def save_whole(content: object, path: str | Path) -> None:
    """Whatever torch can save, written whole or not at all."""
    with whole_file(path) as partial, open(partial, "wb") as file:
        torch.save(content, file)  # to a file: by a path, its name would be in the bytes


def load_weights(path: str | Path, network: nn.Module) -> Weights:
    """The state dict at `path`, on the CPU, if it is one for `network`; nothing is unpickled.

    Raises InputError naming the file and the first parameter that is missing, unknown, of another
    shape or type, or not finite. `network` is not touched.
    """
    weights = state_dict(read_file(path), path)
    check_weights(weights, weights_of(network), path)
    return weights


def save_several(models: Mapping[str, Mapping[str, Tensor]], path: str | Path) -> None:
    """State dicts by name, in one file: `name/parameter`."""
    save_weights(
        {f"{model}/{name}": tensor for model, weights in models.items() for name, tensor in weights.items()},
        path,
    )


def load_several(path: str | Path, network: nn.Module) -> dict[str, Weights]:
    """What `save_several` wrote, each checked as in `load_weights`."""
    models: dict[str, Weights] = {}
    for key, tensor in state_dict(read_file(path), path).items():
        model, name = key.split("/", 1)  # a submodule's name may have one, a model's has none
        models.setdefault(model, {})[name] = tensor
    for model, weights in models.items():
        check_weights(weights, weights_of(network), f"{path}, {model}")
    return models


def read_file(path: str | Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; put the weights there or train them") from error
    except Exception as error:  # torch raises half a dozen kinds for files that are no checkpoints
        raise InputError(
            f"{path}: cannot be read as a PyTorch state dict: truncated, or another kind of file"
        ) from error


def state_dict(content: object, source: str | Path) -> Weights:
    """What a file holds, if it is tensors by name, without extra state. Raises InputError if not."""
    if isinstance(content, Mapping):
        content = without_extra_state(content)
    if not isinstance(content, Mapping) or not all(isinstance(v, Tensor) for v in content.values()):
        raise InputError(f"{source}: is not a state dict (tensors by name); save network.state_dict()")
    return dict(content)


def weights_of(network: nn.Module) -> Weights:
    """The state dict of `network`, its own tensors, without extra state."""
    return without_extra_state(network.state_dict())


def without_extra_state(state: Mapping) -> dict:
    """A state dict without what `get_extra_state` adds: it may be anything, and has no mean."""
    return {name: value for name, value in state.items() if not is_extra_state(name)}


def is_extra_state(name: object) -> bool:
    """Whether a name in a state dict is that of what `get_extra_state` gives."""
    return str(name).split(".")[-1] == EXTRA_STATE


def check_weights(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: str | Path) -> None:
    """Raise InputError unless `weights` has the names, shapes and kinds of `expected`, all finite."""
    hint = "are 'model_type', 'width' and 'dataset' right in config.yaml?"
    for name in expected:
        if name not in weights:
            raise InputError(f"{source}: {name} is missing: {hint}")
    for name, tensor in weights.items():
        if name not in expected:
            raise InputError(f"{source}: {name} is not part of this network: {hint}")
        found, wanted = tuple(tensor.shape), tuple(expected[name].shape)
        if found != wanted:
            raise InputError(f"{source}: {name} is {found}, expected {wanted}: {hint}")
        if tensor.is_floating_point() != expected[name].is_floating_point():
            raise InputError(f"{source}: {name} is {tensor.dtype}, expected {expected[name].dtype}")
        if not tensor.isfinite().all():
            raise InputError(f"{source}: {name} has values that are not finite; train it again")


@torch.no_grad()
def set_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy `weights` into `network`, all of them, whatever its own way of loading wants to know besides."""
    own = weights_of(network)
    if own.keys() != weights.keys():
        raise KeyError(f"not the weights of this network: {sorted(own.keys() ^ weights.keys())[:3]}")
    for name, tensor in own.items():
        tensor.copy_(weights[name])


def combine(weights: Sequence[Mapping[str, Tensor]], shares: Sequence[float]) -> Weights:
    """The mean with `shares` that add to one; counters (batch norm's num_batches_tracked) stay whole numbers.

    To the last bit: two in equal shares may be swapped, equal ones give themselves back, and so does the
    one that has all. Hence not a sum of products: three thirds of a number need not add to it.
    """
    main = max(range(len(shares)), key=shares.__getitem__)
    child = {}
    for name, most in weights[main].items():
        tensors = [part[name] for part in weights]
        if not (most.is_floating_point() or most.is_complex()):
            child[name] = whole_mean(tensors, shares)
        elif tuple(shares) == (0.5, 0.5):
            child[name] = (tensors[0] + tensors[1]) / 2
        else:
            child[name] = most + sum(
                share * (tensor - most) for share, tensor in zip(shares, tensors, strict=True)
            )
    return child


def whole_mean(tensors: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    """The rounded mean of whole numbers; equal ones stay what they are, however large."""
    if all(torch.equal(tensor, tensors[0]) for tensor in tensors):
        return tensors[0].clone()
    mean = sum(share * tensor.double() for share, tensor in zip(shares, tensors, strict=True))
    return torch.as_tensor(mean).round().to(tensors[0].dtype)
