"""State dicts in the forms people have them, brought to the one form that a network has.

What is certain is taken, and told to the log: names with the marks of wrappers such as DataParallel, a
state dict inside a training's checkpoint, other precisions. For the rest there is one sentence.
"""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import torch
from torch import Tensor

from fusionscope.errors import InputError
from fusionscope.weight_files import SAVE_STATE_DICT

# What wrappers put into names: DataParallel, torch.compile, and two of distributed training.
WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
COUNTER = "num_batches_tracked"  # of batch norm: old files lack it, and in eval mode nothing reads it
VARIANCE = "running_var"  # of batch norm
OF_AVERAGED_MODEL = "n_averaged"  # what torch.optim.swa_utils.AveragedModel counts
EXTRA_STATE = "_extra_state"  # PyTorch's name for what a module's get_extra_state gives
DEPTH = 4  # of dictionaries in dictionaries
SHOWN = 3  # names in a sentence
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
WHOLE_NUMBERS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


@dataclass(frozen=True)
class Found:
    """A dictionary with tensors in a file."""

    keys: tuple[str, ...]  # that lead to it
    values: Mapping[str, object]  # by the names in the file
    names: Mapping[str, str]  # a name without marks of wrappers, where these are certain -> that in the file

    def lacks(self, expected: Mapping[str, Tensor]) -> list[str]:
        return [name for name in expected if name not in self.names]

    def has_besides(self, expected: Mapping[str, Tensor]) -> list[str]:
        return [name for name in self.names if name not in expected]

    def fits(self, expected: Mapping[str, Tensor]) -> bool:
        """Whether the names are those of `expected`, up to counters that old files lack."""
        return not self.has_besides(expected) and all(map(is_counter, self.lacks(expected)))


def weights_for(
    expected: Mapping[str, Tensor],
    content: object,
    source: str | Path,
    needed_counters: Collection[str] = (),
) -> dict[str, Tensor]:
    """The weights for a network with the state `expected` that `content`, all of a file, certainly means.

    Names, their order, shapes and types are those of `expected`, each tensor has its own memory. Counters
    of batches that old files lack are 0, except `needed_counters`. What was not plain is told to the log.
    Raises InputError, which begins with `source`, where nothing fits or more than one thing does, and for
    values that no network has: infinite ones, negative variances.
    """
    found = choose(dictionaries(content, expected), expected, content, source)
    where = ", ".join([str(source), *found.keys])
    check_names(found, expected, where, needed_counters)
    check_shapes(found, expected, where)
    weights = {
        name: converted(found.values[found.names[name]], tensor, f"{where}: {found.names[name]}")
        if name in found.names
        else torch.zeros(tensor.shape, dtype=tensor.dtype)
        for name, tensor in expected.items()
    }
    for remark in remarks(found, expected):
        logging.getLogger("fusionscope").info("%s: %s", source, remark)
    return weights


# which dictionary of a file


def dictionaries(
    content: object, expected: Mapping[str, Tensor], keys: tuple[str, ...] = ()
) -> Iterator[Found]:
    """Every dictionary in `content` that has tensors by name, or nothing at all."""
    if not isinstance(content, Mapping) or len(keys) > DEPTH:
        return
    values = {key: value for key, value in content.items() if not is_extra_state(key)}
    named = all(isinstance(key, str) for key in values)
    if named and (not values or any(isinstance(value, Tensor) for value in values.values())):
        yield Found(keys, values, names_without_wrappers(values, expected))
    for key, value in values.items():
        yield from dictionaries(value, expected, (*keys, str(key)))


def choose(
    found: Iterable[Found], expected: Mapping[str, Tensor], content: object, source: str | Path
) -> Found:
    """The one that is meant: that which fits, else that which comes closest, to say what it lacks.

    Raises InputError if there are none, or if several fit.
    """
    found = list(found)
    if not found:
        raise InputError(f"{source}: {what_it_is(content)}; {SAVE_STATE_DICT}")
    fitting = [one for one in found if one.fits(expected)]
    if len(fitting) > 1:
        fitting = [one for one in fitting if not other_shapes(one, expected)] or fitting
    if len(fitting) > 1:
        keys = ", ".join(repr(".".join(one.keys)) for one in fitting[:SHOWN])
        raise InputError(f"{source}: has {len(fitting)} state dicts that fit ({keys}); save the one you mean")
    return fitting[0] if fitting else max(found, key=lambda one: len(expected.keys() & one.names.keys()))


def what_it_is(content: object) -> str:
    """Why something is no state dict."""
    if isinstance(content, Mapping):
        others = [key for key in content if not isinstance(key, str)]
        if others:
            return f"is not a state dict: {others[0]!r} is no name of a parameter"
        keys = ", ".join(list(content)[:SHOWN])
        return f"is not a state dict (tensors by name), and holds none under its keys ({keys})"
    if isinstance(content, list | tuple):
        return f"is not a state dict, but a list of {len(content)}: which parameter is which, it does not say"
    return f"is not a state dict (tensors by name), but one {type(content).__name__}"


# names


def names_without_wrappers(names: Iterable[str], expected: Iterable[str]) -> dict[str, str]:
    """Each name that a network would have -> the name in the file, which has marks of wrappers besides.

    The marks are those in WRAPPERS, anywhere, and what all names begin with, such as `model.`; a network may
    itself have some. They count as marks if more names are the network's without them.
    """
    names, expected = list(names), set(expected)
    of_network = {".".join(unmarked(name)): name for name in expected}
    parts = {name: unmarked(name) for name in names if name != OF_AVERAGED_MODEL}
    readings = [{name: name for name in names}]
    for left_out in range(length_of_shared_beginning(parts.values()) + 1):
        short = {name: ".".join(part[left_out:]) for name, part in parts.items()}
        reading = {of_network.get(ours, ours): theirs for theirs, ours in short.items()}
        if len(reading) == len(parts):  # else two names become one
            readings.append(reading)
    return max(readings, key=lambda reading: len(reading.keys() & expected))


def unmarked(name: str) -> list[str]:
    """The parts of a name without those in WRAPPERS."""
    return [part for part in name.split(".") if part not in WRAPPERS]


def length_of_shared_beginning(parts: Collection[list[str]]) -> int:
    """How many parts all names have in common, from the first; the last part of a name never counts."""
    same = takewhile(lambda column: len(set(column)) == 1, zip(*(part[:-1] for part in parts), strict=False))
    return len(list(same))


def is_counter(name: str) -> bool:
    return name.split(".")[-1] == COUNTER


def is_extra_state(name: object) -> bool:
    """Whether a name in a state dict is that of what `get_extra_state` gives."""
    return str(name).split(".")[-1] == EXTRA_STATE


def check_names(
    found: Found, expected: Mapping[str, Tensor], where: str, needed_counters: Collection[str]
) -> None:
    """Raise InputError unless a file has all names of a network, and no others."""
    lacking, besides = found.lacks(expected), found.has_besides(expected)
    if found.fits(expected):
        needed = [name for name in lacking if name in needed_counters]
        if needed:
            raise InputError(
                f"{where}: {needed[0]} is missing, by which its layer weighs what it sees in training "
                "(momentum=None); save it too"
            )
        return
    wrong = [f"{name} is missing" for name in lacking[:1]]
    wrong += [f"{found.names[name]} is not part of this network" for name in besides[:1]]
    counts = f"{len(lacking)} of {len(expected)} names are missing, {len(besides)} are unknown"
    raise InputError(f"{where}: {' and '.join(wrong)} ({counts}); {reason_for_names(found, expected)}")


def reason_for_names(found: Found, expected: Mapping[str, Tensor]) -> str:
    """What may be the reason for other names."""
    for beginning in dict.fromkeys(name.partition(".")[0] + "." for name in found.names):
        part = {name.removeprefix(beginning): name for name in found.names if name.startswith(beginning)}
        if Found(found.keys, found.values, part).fits(expected):
            return f"those that begin with {beginning!r} would fit: save these alone"
    return "is it of another network? are 'model_type' or 'architecture' right in config.yaml?"


def remarks(found: Found, expected: Mapping[str, Tensor]) -> Iterator[str]:
    """What was not plain about a file, for the log."""
    if found.keys:
        yield f"the weights are those under {'.'.join(found.keys)!r}"
    renamed = [(theirs, ours) for ours, theirs in found.names.items() if theirs != ours]
    if renamed:
        yield f"{renamed[0][0]} is taken for {renamed[0][1]} ({len(renamed)} names alike)"
    counters = found.lacks(expected)
    if counters:
        yield f"{counters[0]} is missing and taken to be 0 ({len(counters)} layers alike)"
    for dtype, names in other_types(found, expected).items():
        yield f"{names[0]} is {dtype} and brought to {expected[names[0]].dtype} ({len(names)} tensors alike)"


# values


def check_shapes(found: Found, expected: Mapping[str, Tensor], where: str) -> None:
    """Raise InputError unless each value is a tensor, and of the right shape."""
    for theirs in found.names.values():
        value = found.values[theirs]
        if not isinstance(value, Tensor):
            raise InputError(
                f"{where}: {theirs} is a {type(value).__name__}, expected a tensor; {SAVE_STATE_DICT}"
            )
        check_layout(value, f"{where}: {theirs}")
    wrong = other_shapes(found, expected)
    if wrong:
        name = wrong[0]
        raise InputError(
            f"{where}: {found.names[name]} is {shape_of(found.values[found.names[name]])}, "
            f"expected {tuple(expected[name].shape)}: {reason_for_shapes(wrong, found, expected)}"
        )


def reason_for_shapes(wrong: list[str], found: Found, expected: Mapping[str, Tensor]) -> str:
    """What may be the reason, by which tensors have another shape."""
    names = list(expected)
    last = names[-1].rpartition(".")[0]
    if all(name.rpartition(".")[0] == last for name in wrong):  # the last layer's alone: other classes
        return "is 'dataset' right in config.yaml, and has it as many classes?"
    ours, theirs = expected[names[0]], found.values[found.names[names[0]]]
    same_width = isinstance(theirs, Tensor) and ours.shape[:1] == theirs.shape[:1]
    if wrong == names[:1] and same_width:  # the first layer reads other images
        return "are 'channels' and 'input_size' right in config.yaml?"
    return f"are 'model_type' and 'width' right in config.yaml? ({len(wrong)} of {len(names)} shapes differ)"


def other_shapes(found: Found, expected: Mapping[str, Tensor]) -> list[str]:
    """The network's names of tensors that have another shape."""
    return [
        name
        for name, theirs in found.names.items()
        if name in expected and shape_of(found.values[theirs]) != tuple(expected[name].shape)
    ]


def shape_of(value: object) -> tuple[int, ...] | None:
    return tuple(value.shape) if isinstance(value, Tensor) and not value.is_nested else None


def other_types(found: Found, expected: Mapping[str, Tensor]) -> dict[torch.dtype, list[str]]:
    """The network's names of tensors that have another type, by that type."""
    types: dict[torch.dtype, list[str]] = {}
    for name, theirs in found.names.items():
        value = found.values[theirs]
        if isinstance(value, Tensor) and value.dtype != expected[name].dtype:
            types.setdefault(value.dtype, []).append(name)
    return types


def check_layout(tensor: Tensor, what: str) -> None:
    """Raise InputError, which begins with `what`, for tensors that are no plain blocks of numbers."""
    if tensor.is_nested:
        raise InputError(f"{what} is a nested tensor; save one of one shape")
    if tensor.layout != torch.strided:
        raise InputError(f"{what} is sparse; save it dense (tensor.to_dense())")
    if tensor.is_meta:
        raise InputError(
            f"{what} has no values: it was saved from the meta device; save it once the network is loaded"
        )
    if tensor.is_quantized:
        raise InputError(f"{what} is quantized; save the network before it is quantized")


def converted(value: object, expected: Tensor, what: str) -> Tensor:
    """A checked copy of the tensor `value`, with the type and layout in memory of `expected`, on the CPU.

    Raises InputError, which begins with `what`, for a type of another kind, and for values that `expected`
    cannot have.
    """
    assert isinstance(value, Tensor)
    tensor, dtype = value.detach(), expected.dtype
    kinds = [kind for kind in (FLOATS, WHOLE_NUMBERS) if dtype in kind]
    if tensor.dtype != dtype and not (kinds and tensor.dtype in kinds[0]):
        raise InputError(f"{what} is {tensor.dtype}, expected {dtype}; save it as that")
    if not tensor.isfinite().all():
        advice = "save it in single precision" if tensor.dtype == torch.float16 else "train it again"
        raise InputError(f"{what} has values that are not finite; {advice}")
    copy = torch.empty_like(expected, device="cpu").copy_(tensor)
    if dtype in FLOATS and not copy.isfinite().all():
        raise InputError(f"{what} has values too large for {dtype}, the type of the network")
    if dtype in WHOLE_NUMBERS and not torch.equal(copy.to(tensor.dtype), tensor):
        raise InputError(f"{what} has values that {dtype}, the type of the network, cannot have")
    if what.endswith((VARIANCE, COUNTER)) and (copy < 0).any():
        raise InputError(f"{what} has negative values, which no training gives; the file is damaged")
    return copy
