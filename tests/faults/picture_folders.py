"""Folders of pictures as people have them: other formats, damaged files, folders that are none of a class."""

import io
import os
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 32
CLASSES = ("cats", "dogs")
PER_CLASS = {"train": 12, "test": 3}

RIGHT, REFUSED, EITHER = "right", "refused", "either"  # what is to come of a folder


def picture(draw: random.Random) -> Image.Image:
    """Two halves of plain colours, one above the other: what is turned or black is noticed."""
    halves = [[draw.randrange(30, 226) for _ in range(3)] for _ in range(2)]
    pixels = np.array(halves, dtype=np.uint8).repeat(SIZE // 2, axis=0)[:, None].repeat(SIZE, axis=1)
    return Image.fromarray(pixels)


def build(folder: Path, draw: random.Random) -> list[Path]:
    """A folder with nothing wrong, and its files."""
    files = []
    for split, count in PER_CLASS.items():
        for name in CLASSES:
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                files.append(folder / split / name / f"{number:02}.png")
                picture(draw).save(files[-1])
    return files


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def replace(path: Path, content: bytes, suffix: str) -> None:
    path.unlink()
    path.with_suffix(suffix).write_bytes(content)


Change = Callable[[Path, list[Path], random.Random], str]


def of_one(change: Callable[[Path, Image.Image, random.Random], None]) -> Change:
    """What is done to one picture, or to a few."""

    def change_some(folder: Path, files: list[Path], draw: random.Random) -> str:
        chosen = draw.sample(files, draw.choice((1, 1, 3)))
        for path in chosen:
            change(path, Image.open(path).copy(), draw)
        return ", ".join(str(path.relative_to(folder)) for path in chosen)

    return change_some


def lossless(path: Path, image: Image.Image, draw: random.Random) -> None:
    kind, suffix = draw.choice([("BMP", ".bmp"), ("TIFF", ".tif"), ("PPM", ".ppm"), ("PNG", ".PNG")])
    replace(path, encoded(image, kind), suffix)


def other_mode(path: Path, image: Image.Image, draw: random.Random) -> None:
    path.write_bytes(encoded(image.convert(draw.choice(["RGBA", "P"])), "PNG"))


def turned(path: Path, image: Image.Image, draw: random.Random) -> None:
    """Upside down, with the note of cameras that says so: pixels as they were, once that is followed."""
    exif = Image.Exif()
    exif[0x0112] = 3
    path.write_bytes(encoded(image.rotate(180), "PNG", exif=exif))


def real_numbers(path: Path, image: Image.Image, draw: random.Random) -> None:
    replace(path, encoded(Image.fromarray(np.asarray(image.convert("L")) / np.float32(255)), "TIFF"), ".tif")


def sixteen_bits(path: Path, image: Image.Image, draw: random.Random) -> None:
    path.write_bytes(encoded(Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257), "PNG"))


def truncated(path: Path, image: Image.Image, draw: random.Random) -> None:
    os.truncate(path, draw.randrange(path.stat().st_size))


def flipped(path: Path, image: Image.Image, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def text(path: Path, image: Image.Image, draw: random.Random) -> None:
    path.write_text("<html>404</html>")


def enormous(path: Path, image: Image.Image, draw: random.Random) -> None:
    """A few bytes that say they are 400 megapixels."""
    head = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def a_folder(path: Path, image: Image.Image, draw: random.Random) -> None:
    path.unlink()
    path.mkdir()


def into_itself(path: Path, image: Image.Image, draw: random.Random) -> None:
    (path.parent / "loop").unlink(missing_ok=True)
    (path.parent / "loop").symlink_to(path.parent)


def nowhere(path: Path, image: Image.Image, draw: random.Random) -> None:
    path.unlink()
    path.symlink_to("no_such_file.png")


def hidden(folder: Path, files: list[Path], draw: random.Random) -> str:
    """What editors and file managers leave."""
    name = draw.choice([".ipynb_checkpoints", "__MACOSX", ".git", ".thumbnails"])
    for split in draw.choice([("train",), ("train", "test")]):
        (folder / split / name).mkdir()
        if draw.random() < 0.5:
            picture(draw).save(folder / split / name / "01.png")
    return name


def litter(folder: Path, files: list[Path], draw: random.Random) -> str:
    """What systems leave."""
    name = draw.choice(["Thumbs.db", ".DS_Store", "desktop.ini"])
    (draw.choice(files).parent / name).write_bytes(b"\0\1")
    return name


def notes(folder: Path, files: list[Path], draw: random.Random) -> str:
    """What people leave: it might be a picture by mistake."""
    name = draw.choice(["notes.txt", "labels.csv", "readme"])
    (draw.choice(files).parent / name).write_text("cats,1\n")
    return name


def one_class(folder: Path, files: list[Path], draw: random.Random) -> str:
    for split in PER_CLASS:
        (folder / split / "dogs").rename(folder / f"{split}_dogs")
    return ""


def class_missing(folder: Path, files: list[Path], draw: random.Random) -> str:
    split = draw.choice(sorted(PER_CLASS))
    (folder / split / "dogs").rename(folder / "dogs")
    return split


def class_empty(folder: Path, files: list[Path], draw: random.Random) -> str:
    split = draw.choice(sorted(PER_CLASS))
    for path in (folder / split / "dogs").iterdir():
        path.unlink()
    return split


def few(folder: Path, files: list[Path], draw: random.Random) -> str:
    for path in sorted((folder / "train" / "dogs").iterdir())[1:]:
        path.unlink()
    return ""


def split_missing(folder: Path, files: list[Path], draw: random.Random) -> str:
    split = draw.choice(sorted(PER_CLASS))
    (folder / split).rename(folder / f"my_{split}")
    return split


def split_is_a_file(folder: Path, files: list[Path], draw: random.Random) -> str:
    split = draw.choice(sorted(PER_CLASS))
    (folder / split).rename(folder / f"my_{split}")
    (folder / split).write_text("")
    return split


def renamed(folder: Path, files: list[Path], draw: random.Random) -> str:
    name = draw.choice(["größe", "cats and dogs", "猫", "e\u0301", "-rf", "a.png", "x" * 200])
    for split in PER_CLASS:
        (folder / split / "dogs").rename(folder / split / name)
    return name


# What is done to a folder, and what is to come of it. RIGHT: pixels and labels as they were before.
CHANGES: dict[str, tuple[Change, str]] = {
    "another lossless format": (of_one(lossless), RIGHT),
    "another mode": (of_one(other_mode), EITHER),
    "turned, with a note": (of_one(turned), RIGHT),
    "real numbers": (of_one(real_numbers), REFUSED),
    "sixteen bits": (of_one(sixteen_bits), EITHER),
    "truncated": (of_one(truncated), REFUSED),
    "a bit flipped": (of_one(flipped), EITHER),
    "text": (of_one(text), REFUSED),
    "enormous": (of_one(enormous), REFUSED),
    "a folder in place of a picture": (of_one(a_folder), EITHER),
    "a link to its own folder": (of_one(into_itself), EITHER),
    "a link to nowhere": (of_one(nowhere), EITHER),
    "a hidden folder": (hidden, RIGHT),
    "files of the system": (litter, RIGHT),
    "other files": (notes, EITHER),
    "one class": (one_class, REFUSED),
    "a class missing": (class_missing, REFUSED),
    "an empty class": (class_empty, REFUSED),
    "one picture in a class": (few, EITHER),
    "a split missing": (split_missing, REFUSED),
    "a split that is a file": (split_is_a_file, REFUSED),
    "another name": (renamed, EITHER),
}
