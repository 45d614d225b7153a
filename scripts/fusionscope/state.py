"""What a network holds besides its weights: left as it was by a forward pass, and copied."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def left_as_it_was(network: nn.Module) -> Iterator[None]:
    """Whatever a forward pass assigns, counts up or collects inside: afterwards `network` is what it was.

    That is its attributes, what is in lists, sets and dictionaries among these, the values of its buffers
    and whether it is in training mode. Parameters are not looked at: no forward pass changes them.
    """
    contents = [(container, copy.copy(container)) for container in containers(network)]
    values = [(buffer, buffer.detach().clone()) for buffer in network.buffers()]
    try:
        yield
    finally:
        for container, content in contents:
            container.clear()
            container.extend(content) if isinstance(container, list) else container.update(content)
        with torch.no_grad():
            for buffer, value in changed(values):
                buffer.copy_(value)


def changed(pairs: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """The pairs whose values differ: the others are not written to, which autograd would count as a change.

    One answer for all of them, for a GPU is waited for once.
    """
    if not pairs:
        return []
    device = pairs[0][0].device
    differ = torch.stack([(one != other).any().to(device) for one, other in pairs]).tolist()
    return [pair for pair, differs in zip(pairs, differ, strict=True) if differs]


def containers(network: nn.Module) -> list[dict | list | set]:
    """The attributes of each module, and the lists, sets and dictionaries among them."""
    attributes = [vars(module) for module in network.modules()]
    parts = [value for own in attributes for value in own.values() if isinstance(value, dict | list | set)]
    return [*attributes, *parts]


def copy_of(network: nn.Module) -> nn.Module:
    """A deep copy of `network`.

    What a forward pass with gradients left in it (a last activation, a weight that a hook computes) is
    copied without its graph: PyTorch refuses to copy such tensors.
    """
    kept = (tensor for part in containers(network) for tensor in tensors_in(part) if not tensor.is_leaf)
    return copy.deepcopy(network, {id(tensor): tensor.detach().clone() for tensor in kept})


def tensors_in(value: object) -> Iterator[Tensor]:
    """The tensors in lists, tuples and dictionaries of such."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from tensors_in(part)
