"""Files that are taken for weights: what is damaged or of another kind is named by its true cause."""

import argparse
import os
import random
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from fusionscope.errors import InputError
from fusionscope.weight_files import read_file
from fusionscope.weights import save_weights

WEIGHTS = {"a.weight": torch.arange(600.0).view(20, 30), "a.bias": torch.zeros(20)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "parent_1.pth"


def sentence(path) -> str:
    """What is said of a file, without its beginning, which is the same for all."""
    with pytest.raises(InputError) as caught:
        read_file(path)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    return text.removeprefix(f"{path}: ").removeprefix("cannot be read as a PyTorch state dict: ")


def test_any_flipped_bit_is_found_or_changes_no_value(path):
    save_weights(WEIGHTS, path)
    whole, draw = path.read_bytes(), random.Random(1)
    for _ in range(300):
        bit = draw.randrange(8 * len(whole))
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            found = read_file(path)
        except InputError:
            continue
        assert all(torch.equal(found[name], tensor) for name, tensor in WEIGHTS.items()), bit


def test_a_flipped_bit_in_a_value_is_named(path):
    save_weights(WEIGHTS, path)
    content = bytearray(path.read_bytes())
    content[content.index(torch.arange(600.0).numpy().tobytes()[:64])] ^= 1
    path.write_bytes(content)
    assert sentence(path) == "it is damaged (wrong checksum of archive/data/0); copy or download it again"


def test_files_without_checksums_are_read(path):
    torch.serialization.set_crc32_options(False)
    try:
        save_weights(WEIGHTS, path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(read_file(path)["a.weight"], WEIGHTS["a.weight"])


def test_what_older_versions_wrote_is_read(path):
    torch.save(WEIGHTS, path, _use_new_zipfile_serialization=False)
    assert torch.equal(read_file(path)["a.weight"], WEIGHTS["a.weight"])


CONTENTS = {
    b"": "it is empty; copy or download it again",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1\n": (
        "it is Git LFS's pointer to the file, not the file; run git lfs pull"
    ),
    b"\n<!DOCTYPE html><html>": "it is a web page; download the file that the page is about",
    b"epoch,loss\n1,2.3\n": "it is a text file; save network.state_dict(), and nothing else",
    b"\x1f\x8b\x08\x00": "it is compressed by gzip; unpack it",
    b"PK\x03\x04 no zip": "truncated, damaged, or another kind of file; copy or download it again",
    b'\x05\x00\x00\x00\x00\x00\x00\x00{"a":': (
        "truncated, damaged, or another kind of file; copy or download it again"
    ),
}


@pytest.mark.parametrize("content", CONTENTS)
def test_other_files_are_named_for_what_they_are(content, path):
    path.write_bytes(content)
    assert sentence(path) == CONTENTS[content]


def test_other_archives_are_named_for_what_they_are(path):
    with open(path, "wb") as file:
        np.savez(file, a=np.zeros(3))
    assert sentence(path) == "it is an archive that holds a.npy; unpack it"


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_torchscript_program_is_named(path):
    torch.jit.script(nn.Linear(2, 2)).save(path)
    assert sentence(path) == "it is a TorchScript program; save network.state_dict(), and nothing else"


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("content", "named"),
    [
        (nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        ({"state_dict": WEIGHTS, "args": argparse.Namespace(lr=0.1)}, "argparse.Namespace"),
        ({"state_dict": WEIGHTS, "best": np.float64(93.1)}, "numpy._core.multiarray.scalar"),
    ],
)
def test_python_objects_are_named(content, named, zipped, path):
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert sentence(path) == (
        f"it holds Python objects ({named}), which are never loaded: that could run code; "
        "save network.state_dict(), and nothing else"
    )


def test_an_archive_that_unpacks_to_more_than_itself_is_not_unpacked(path):
    save_weights({"a": torch.zeros(1_000_000)}, path)
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, record in records.items():
            archive.writestr(name, record)
    assert sentence(path) == "it is compressed, as torch.save never does; load it and save it again"


def with_claim(content: bytes, numbers: int) -> bytes:
    """A file of 12 numbers that says it has more."""
    claim = b"\x8a\x06" + numbers.to_bytes(6, "little")
    for end in (b"Nt", b"t"):  # as the older format and as the newer one go on
        if b"K\x0c" + end in content:
            return content.replace(b"K\x0c" + end, claim + end)
    raise AssertionError


def test_more_numbers_than_memory_holds_are_a_sentence(path):
    torch.save({"a": torch.zeros(12)}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(with_claim(path.read_bytes(), 10**12))
    assert sentence(path) == "it is damaged, or there is not enough memory for it"
    save_weights({"a": torch.zeros(12)}, path)
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:  # with the right checksums
        for name, record in records.items():
            archive.writestr(name, with_claim(record, 10**12) if name.endswith(".pkl") else record)
    assert sentence(path) == "truncated, damaged, or another kind of file; copy or download it again"


def test_what_cannot_be_opened_is_named(tmp_path):
    assert sentence(tmp_path) == "it is a folder; put the file with the weights in its place"
    assert sentence(tmp_path / "no.pth") == "no such file; put the weights there or train them"
    loop, dangling, pipe = tmp_path / "loop", tmp_path / "dangling", tmp_path / "pipe"
    loop.symlink_to(loop)
    assert sentence(loop) == "it is a link that leads back to itself"
    dangling.symlink_to(tmp_path / "gone")
    assert (
        sentence(dangling) == "it is a link to a file that is not there; put the weights there or train them"
    )
    os.mkfifo(pipe)
    assert sentence(pipe) == "it is no file with content (a pipe or a device)"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_the_right_to_read_it_is_named(path):
    save_weights(WEIGHTS, path)
    path.chmod(0)
    assert sentence(path) == "you have no right to read it; change its permissions (chmod)"
