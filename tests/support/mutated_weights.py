"""Files of weights as they come: in other forms, damaged, of other kinds; each with what is right for it."""

import argparse
import gzip
import io
import pickle
import random
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from fusionscope.errors import InputError
from fusionscope.weights import load_weights

State = dict[str, Tensor]

# What is to come of a file.
RIGHT = "right"  # the plain state dict
REFUSED = "refused"  # a sentence
EITHER = "either"  # one of the two: it is damaged, perhaps where it does not matter
UNKNOWABLE = "unknowable"  # whatever but a traceback: the format has no checksums, the values may be others


@dataclass(frozen=True)
class MutatedFile:
    """A file, what was done to it, what is to come of loading it, and its weights where that may be right."""

    description: str
    content: bytes
    expected: str
    weights: State


def mutated_files(draw: random.Random, weights: Mapping[str, Tensor]) -> Iterator[MutatedFile]:
    """Files without end, made of the state dict `weights` of a network with batch norm."""
    while True:
        kind = draw.choice(
            (in_another_form, in_another_form, damaged, damaged, with_bad_value, of_other_kind)
        )
        yield kind(draw, {name: tensor.clone() for name, tensor in weights.items()})


def outcome(file: MutatedFile, network: nn.Module, path: Path) -> str:
    """What loading it gives: `right`, `sentence`, `changed` (values without a word), or `traceback`.

    A sentence is one line that begins with the path.
    """
    path.write_bytes(file.content)
    try:
        found = load_weights(path, network)
    except InputError as error:
        return "sentence" if str(error).startswith(str(path)) and "\n" not in str(error) else "traceback"
    except Exception:
        return "traceback"
    same = list(found) == list(file.weights) and all(
        torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype
        for name, tensor in file.weights.items()
    )
    return "right" if same else "changed"


def is_as_expected(file: MutatedFile, found: str) -> bool:
    accepted = {
        RIGHT: ("right",),
        REFUSED: ("sentence",),
        EITHER: ("right", "sentence"),
        UNKNOWABLE: ("right", "sentence", "changed"),
    }
    return found in accepted[file.expected]


# formats


def zipped(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def older(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def as_safetensors(content: Mapping[str, Tensor]) -> bytes:
    return safetensors.torch.save({name: tensor.detach().contiguous() for name, tensor in content.items()})


# forms that are right


def in_another_form(draw: random.Random, weights: State) -> MutatedFile:
    """Names, types and containers changed, so that the meaning stays certain."""
    done: list[str] = []
    expected = weights
    if draw.random() < 0.5:
        weights, expected, name = in_another_type(draw, weights)
        done.append(name)
    if draw.random() < 0.3:
        weights = {name: tensor for name, tensor in weights.items() if not name.endswith("batches_tracked")}
        expected = {n: torch.zeros_like(t) if n.endswith("tracked") else t for n, t in expected.items()}
        done.append("without counters")
    for _ in range(draw.randrange(4)):
        mark = draw.choice(("module.", "_orig_mod.", "model.", "net."))
        weights = {mark + name: tensor for name, tensor in weights.items()}
        done.append(mark)
    if draw.random() < 0.2:
        weights = dict(draw.sample(list(weights.items()), len(weights)))
        done.append("shuffled")
    if draw.random() < 0.2:
        done.append("safetensors")
        return MutatedFile(", ".join(done), as_safetensors(weights), RIGHT, expected)
    content: object = weights
    for _ in range(draw.randrange(3)):
        content, name = contained(draw, content)
        done.append(name)
    write = draw.choice((zipped, zipped, older))
    return MutatedFile(", ".join([*done, write.__name__]), write(content), RIGHT, expected)


def in_another_type(draw: random.Random, weights: State) -> tuple[State, State, str]:
    """Weights in another precision or layout, what they are in their own, and what was done."""
    dtype = draw.choice((torch.float16, torch.bfloat16, torch.float64))
    if draw.random() < 0.4:
        other = {n: nn.Parameter(t) if t.is_floating_point() else t for n, t in weights.items()}
        return other, weights, "parameters"
    if draw.random() < 0.4:
        other = {n: t.mT.contiguous().mT if t.ndim > 1 else t for n, t in weights.items()}
        return other, weights, "not contiguous"
    other = {n: t.to(dtype) if t.is_floating_point() else t.int() for n, t in weights.items()}
    return other, {n: other[n].to(t.dtype) for n, t in weights.items()}, str(dtype)


def contained(draw: random.Random, content: object) -> tuple[object, str]:
    key = draw.choice(
        ("state_dict", "model", "model_state_dict", "net", "params", "weights", "ema", "module")
    )
    others = {"epoch": 3, "best": 93.1, "name": "run", "none": None, "scheduler": {"last": [1, 2]}}
    others["optimizer"] = {"state": {0: {"step": torch.ones(()), "exp_avg": torch.ones(3)}}}
    chosen = {name: others[name] for name in draw.sample(sorted(others), draw.randrange(len(others)))}
    return OrderedDict([*chosen.items(), (key, content)]), f"under {key}"


# damage


def damaged(draw: random.Random, weights: State) -> MutatedFile:
    """Bytes changed, added or lost."""
    write = draw.choice((zipped, zipped, zipped, older, as_safetensors))
    content = bytearray(write(weights))
    damage = draw.choice((flip_bits, flip_bits, cut, lose, repeat, blank, append, exchange))
    description = damage(draw, content)
    # the older format and safetensors have no checksums
    expected = EITHER if write is zipped else UNKNOWABLE
    return MutatedFile(f"{write.__name__}, {description}", bytes(content), expected, weights)


def flip_bits(draw: random.Random, content: bytearray) -> str:
    bits = [draw.randrange(8 * len(content)) for _ in range(draw.choice((1, 1, 1, 2, 8)))]
    if draw.random() < 0.3:  # at the end, where an archive keeps its directory; or at the beginning
        bits = [draw.randrange(8 * min(4000, len(content))) for _ in bits]
        bits = [8 * len(content) - 1 - bit for bit in bits] if draw.random() < 0.7 else bits
    for bit in bits:
        content[bit // 8] ^= 1 << bit % 8
    return f"bits {bits} flipped"


def cut(draw: random.Random, content: bytearray) -> str:
    kept = draw.randrange(len(content))
    del content[kept:]
    return f"cut after {kept} bytes"


def span(draw: random.Random, content: bytearray) -> tuple[int, int]:
    start = draw.randrange(len(content))
    return start, min(len(content), start + draw.choice((1, 4, 64, 512, 4096)))


def lose(draw: random.Random, content: bytearray) -> str:
    start, end = span(draw, content)
    del content[start:end]
    return f"without the bytes {start} to {end}"


def repeat(draw: random.Random, content: bytearray) -> str:
    start, end = span(draw, content)
    content[start:start] = content[start:end]
    return f"the bytes {start} to {end} twice"


def blank(draw: random.Random, content: bytearray) -> str:
    start, end = span(draw, content)
    content[start:end] = bytes(end - start)
    return f"the bytes {start} to {end} zero"


def append(draw: random.Random, content: bytearray) -> str:
    length = draw.choice((1, 22, 1000, 70_000))
    content += draw.randbytes(length)
    return f"{length} bytes more"


def exchange(draw: random.Random, content: bytearray) -> str:
    start, end = span(draw, content)
    other = draw.randrange(max(1, len(content) - (end - start)))
    if abs(other - start) < end - start:
        return cut(draw, content)
    kept = content[start:end]
    content[start:end] = content[other : other + end - start]
    content[other : other + end - start] = kept
    return f"the bytes {start} to {end} exchanged with those from {other}"


# values that no network has


def with_bad_value(draw: random.Random, weights: State) -> MutatedFile:
    """One entry of the state dict that cannot be right."""
    floats = [name for name, tensor in weights.items() if tensor.is_floating_point() and tensor.ndim]
    name = draw.choice(floats)
    change = draw.choice(sorted(BAD_VALUES))
    weights_now: dict[object, object] = dict(weights)
    BAD_VALUES[change](weights_now, name)
    content: object = weights_now
    done = [f"{name} {change}"]
    for _ in range(draw.randrange(2)):
        content, key = contained(draw, content)
        done.append(key)
    write = draw.choice((zipped, older))
    return MutatedFile(", ".join([*done, write.__name__]), write(content), REFUSED, weights)


def put(value: float) -> Callable[[dict, str], None]:
    def change(weights: dict, name: str) -> None:
        weights[name] = weights[name].clone()
        weights[name].view(-1)[-1] = value

    return change


def as_a(make: Callable[[Tensor], object]) -> Callable[[dict, str], None]:
    def change(weights: dict, name: str) -> None:
        weights[name] = make(weights[name])

    return change


def negative_variance(weights: dict, name: str) -> None:
    variance = next(name for name in weights if name.endswith("running_var"))
    weights[variance] = weights[variance] - 2 * weights[variance].max()


def number_as_name(weights: dict, name: str) -> None:
    weights[7] = weights.pop(name)


def further(weights: dict, name: str) -> None:
    weights["further.weight"] = weights[name]


BAD_VALUES: dict[str, Callable[[dict, str], object]] = {
    "NaN": put(float("nan")),
    "infinite": put(float("inf")),
    "too large": as_a(lambda t: torch.full_like(t, 1e39, dtype=torch.float64)),
    "infinite in half": as_a(lambda t: torch.full_like(t, 1e5).half()),
    "one longer": as_a(lambda t: torch.cat([t, t[:1]])),
    "one dimension more": as_a(lambda t: t[None]),
    "flat": as_a(lambda t: torch.cat([t.flatten(), t.flatten()])),
    "whole numbers": as_a(lambda t: t.long()),
    "complex": as_a(lambda t: t.to(torch.complex64)),
    "sparse": as_a(lambda t: t.to_sparse()),
    "on meta": as_a(lambda t: t.to("meta")),
    "eight bits": as_a(lambda t: t.to(torch.float8_e5m2)),
    "quantized": as_a(lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.quint8)),
    "nested": as_a(lambda t: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])),
    "absurdly long": as_a(lambda t: torch.ones(1).expand(10**12)),
    "a number": as_a(lambda t: 3.5),
    "nothing": as_a(lambda t: None),
    "a list": as_a(lambda t: t.flatten()[:3].tolist()),
    "a dictionary": as_a(lambda t: {"weight": t}),
    "missing": lambda weights, name: weights.pop(name),
    "under a number": number_as_name,
    "beside another": further,
    "beside a negative variance": negative_variance,
}


# other kinds of files


def of_other_kind(draw: random.Random, weights: State) -> MutatedFile:
    kind = draw.choice(sorted(OTHER_KINDS))
    return MutatedFile(kind, OTHER_KINDS[kind](draw, weights), REFUSED, weights)


def archive(draw: random.Random, weights: State) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as target:
        target.writestr("parent_1.pth", zipped(weights))
    return buffer.getvalue()


def compressed(draw: random.Random, weights: State) -> bytes:
    """The same archive, but compressed."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(zipped(weights))) as source,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    return buffer.getvalue()


def arrays(draw: random.Random, weights: State) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **{name: tensor.numpy() for name, tensor in weights.items()})
    return buffer.getvalue()


def program(draw: random.Random, weights: State) -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), buffer)
    return buffer.getvalue()


def other_pickles(draw: random.Random, weights: State) -> bytes:
    things: list[object] = [
        {name: tensor.numpy() for name, tensor in weights.items()},
        {name: tensor.tolist() for name, tensor in weights.items()},
        list(weights.values()),
        argparse.Namespace(**weights),
    ]
    thing = draw.choice(things)
    return draw.choice((zipped(thing), older(thing), pickle.dumps(thing, protocol=draw.randrange(6))))


OTHER_KINDS: dict[str, Callable[[random.Random, State], bytes]] = {
    "nothing": lambda draw, weights: b"",
    "random bytes": lambda draw, weights: draw.randbytes(draw.choice((1, 8, 100, 10_000))),
    "zeros": lambda draw, weights: bytes(draw.choice((1, 8, 9, 4096))),
    "text": lambda draw, weights: b"epoch,loss\n1,2.3\n" * draw.randrange(1, 100),
    "a pointer of Git LFS": lambda draw, weights: (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
    ),
    "a web page": lambda draw, weights: b"<html><head><title>404</title></head></html>",
    "compressed by gzip": lambda draw, weights: gzip.compress(zipped(weights)),
    "a zip archive of it": archive,
    "compressed": compressed,
    "NumPy's arrays": arrays,
    "a program": program,
    "other pickles": other_pickles,
    "a pickled network": lambda draw, weights: draw.choice((zipped, older))(nn.Linear(2, 2)),
    "two that fit": lambda draw, weights: zipped({"model": weights, "ema": weights}),
    "no tensors": lambda draw, weights: zipped(draw.choice(([], {}, 3, "text", {"a": {"b": 1}}, (None,)))),
}
