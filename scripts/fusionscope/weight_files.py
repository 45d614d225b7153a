"""Files of weights as others write them: read without running anything in them, or refused with the cause."""

import errno
import os
import re
import stat
import zipfile
from pathlib import Path

import torch

from fusionscope.errors import InputError

ZIP = b"PK\x03\x04"  # what torch.save writes is a zip archive
# What other files begin with, and what to say of them.
OTHER_KINDS = {
    b"version https://git-lfs": "it is Git LFS's pointer to the file, not the file; run git lfs pull",
    b"\x1f\x8b": "it is compressed by gzip; unpack it",
    b"BZh": "it is compressed by bzip2; unpack it",
    b"\xfd7zXZ": "it is compressed by xz; unpack it",
    b"(\xb5/\xfd": "it is compressed by zstd; unpack it",
    b"\x89HDF": "it is an HDF5 file; save the network's state_dict() with PyTorch",
    b"\x93NUMPY": "it is a NumPy array; save the network's state_dict() with PyTorch",
    b"\x89PNG": "it is an image",
    b"%PDF": "it is a PDF",
}
BEGINNING = 512  # bytes that tell what a file is
SAFETENSORS_HEADER_LIMIT = 100_000_000  # bytes: the format's own
COPY_AGAIN = "copy or download it again"
SAVE_STATE_DICT = "save network.state_dict(), and nothing else"


def read_file(path: str | Path) -> object:
    """What torch.save or safetensors wrote to `path`, on the CPU; nothing is unpickled.

    Raises InputError, which names the file and the cause, for a file that is missing, may not be read, is
    damaged (archives are compared with their own checksums), is of another kind, or holds Python objects.
    """
    beginning = read_beginning(path)
    refuse_other_kinds(beginning, path)
    try:
        if is_safetensors(beginning):
            from safetensors.torch import load_file

            return load_file(path)
        if beginning.startswith(ZIP):
            check_archive(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:  # half a dozen kinds
        raise unreadable(path, cause(error)) from error


def unreadable(path: str | Path, why: str) -> InputError:
    return InputError(f"{path}: cannot be read as a PyTorch state dict: {why}")


def read_beginning(path: str | Path) -> bytes:
    """The first bytes of the file at `path`. Raises InputError if there is none, or it may not be read."""
    try:
        kind = os.stat(path).st_mode
        if stat.S_ISDIR(kind):
            raise unreadable(path, "it is a folder; put the file with the weights in its place")
        if not stat.S_ISREG(kind):
            raise unreadable(path, "it is no file with content (a pipe or a device)")
        with open(path, "rb") as file:
            return file.read(BEGINNING)
    except FileNotFoundError as error:
        link = "it is a link to a file that is not there" if os.path.islink(path) else "no such file"
        raise InputError(f"{path}: {link}; put the weights there or train them") from error
    except PermissionError as error:
        raise unreadable(path, "you have no right to read it; change its permissions (chmod)") from error
    except OSError as error:
        loop = error.errno == errno.ELOOP
        raise unreadable(path, "it is a link that leads back to itself" if loop else str(error)) from error


def refuse_other_kinds(beginning: bytes, path: str | Path) -> None:
    """Raise InputError for files that people take for weights, by their first bytes."""
    if not beginning:
        raise unreadable(path, f"it is empty; {COPY_AGAIN}")
    for signature, why in OTHER_KINDS.items():
        if beginning.startswith(signature):
            raise unreadable(path, why)
    if beginning.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
        raise unreadable(path, "it is a web page; download the file that the page is about")
    if not is_safetensors(beginning) and is_text(beginning):
        raise unreadable(path, f"it is a text file; {SAVE_STATE_DICT}")


def is_safetensors(beginning: bytes) -> bool:
    """Whether a file begins as safetensors do: the length of a header, and the header, which is JSON."""
    return beginning[8:9] == b"{" and int.from_bytes(beginning[:8], "little") <= SAFETENSORS_HEADER_LIMIT


def is_text(beginning: bytes) -> bool:
    return all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in beginning)


def check_archive(path: str | Path) -> None:
    """Raise InputError for a zip archive that torch.save did not write, or that is damaged.

    Each record is compared with its checksum, which torch.load does not do. What torch.save writes is not
    compressed: an archive that unpacks to more than its own size is refused before anything is unpacked.
    """
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        names = [record.filename for record in records]
        if any(name.endswith("/constants.pkl") for name in names):
            raise unreadable(path, f"it is a TorchScript program; {SAVE_STATE_DICT}")
        if not any(name.endswith("/data.pkl") for name in names):
            raise unreadable(
                path, f"it is an archive that holds {', '.join(names[:1]) or 'nothing'}; unpack it"
            )
        unpacked = sum(record.file_size for record in records)
        if unpacked > os.path.getsize(path) or any(record.compress_type for record in records):
            raise unreadable(path, "it is compressed, as torch.save never does; load it and save it again")
        if any(record.CRC for record in records):  # else it was written without checksums
            damaged = archive.testzip()
            if damaged is not None:
                raise unreadable(path, f"it is damaged (wrong checksum of {damaged}); {COPY_AGAIN}")


def cause(error: Exception) -> str:
    """Why PyTorch could not read a file, and what to do."""
    text = str(error)
    python_object = re.search(r"GLOBAL ([\w.]+)", text)
    if python_object:
        return (
            f"it holds Python objects ({python_object[1]}), which are never loaded: that could run code; "
            f"{SAVE_STATE_DICT}"
        )
    if isinstance(error, MemoryError) or "allocate memory" in text:
        return "it is damaged, or there is not enough memory for it"
    return f"truncated, damaged, or another kind of file; {COPY_AGAIN}"
