"""State dicts: on disk, written whole or not at all and checked before anybody uses them; their mean."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from fusionscope.errors import InputError
from fusionscope.files import whole_file
from fusionscope.weight_files import read_file
from fusionscope.weight_forms import COUNTER, is_extra_state, weights_for

Weights = dict[str, Tensor]  # a state dict: parameters and buffers by name


def save_weights(weights: Mapping[str, Tensor], path: str | Path) -> None:
    """Write a state dict, whole or not at all."""
    save_whole({name: tensor.detach().cpu().clone() for name, tensor in weights.items()}, path)


def save_whole(content: object, path: str | Path) -> None:
    """Whatever torch can save, written whole or not at all."""
    with whole_file(path) as partial, open(partial, "wb") as file:
        torch.save(content, file)  # to a file: by a path, its name would be in the bytes


def load_weights(path: str | Path, network: nn.Module) -> Weights:
    """The weights for `network` in the file at `path`, on the CPU; nothing is unpickled.

    Raises InputError naming the file and what is wrong with it: see `read_file` and `weights_for`, which
    also say which forms are taken. `network` is not touched.
    """
    return weights_for(weights_of(network), read_file(path), path, counters_used(network))


def save_several(models: Mapping[str, Mapping[str, Tensor]], path: str | Path) -> None:
    """State dicts by name, in one file: `name/parameter`."""
    save_weights(
        {f"{model}/{name}": tensor for model, weights in models.items() for name, tensor in weights.items()},
        path,
    )


def load_several(path: str | Path, network: nn.Module) -> dict[str, Weights]:
    """What `save_several` wrote, each checked as in `load_weights`."""
    content = read_file(path)
    if not isinstance(content, Mapping) or not all(isinstance(key, str) and "/" in key for key in content):
        raise InputError(f"{path}: is not a file of several models; delete it, and it is made again")
    models: dict[str, dict[str, object]] = {}
    for key, tensor in content.items():
        model, name = key.split("/", 1)  # a submodule's name may have one, a model's has none
        models.setdefault(model, {})[name] = tensor
    expected = weights_of(network)
    return {model: weights_for(expected, values, f"{path}, {model}") for model, values in models.items()}


def weights_of(network: nn.Module) -> Weights:
    """The state dict of `network`, its own tensors, without extra state."""
    return without_extra_state(network.state_dict())


def without_extra_state(state: Mapping) -> dict:
    """A state dict without what `get_extra_state` adds: it may be anything, and has no mean."""
    return {name: value for name, value in state.items() if not is_extra_state(name)}


def counters_used(network: nn.Module) -> set[str]:
    """The counters of batches that training reads: of layers that average over all they have seen."""
    layers = network.named_modules()
    return {f"{name}.{COUNTER}" for name, layer in layers if getattr(layer, "momentum", 0) is None}


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
