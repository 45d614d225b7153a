"""Odd folders of images, drawn at random, and what is to become of each."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

RIGHT, SENTENCE, EITHER = "right", "sentence", "either"


def write_folder(folder: Path, stream: np.random.Generator) -> tuple[str, str]:
    """Write a folder of images with one oddity into `folder`; what it is, and what is expected of it.

    `either`: the images as they are, or a sentence, but never anything else.
    """
    for half, count in (("train", 10), ("test", 2)):
        for name in ("cat", "d\u00f6g"):
            (folder / half / name).mkdir(parents=True)
            for number in range(count):
                picture(stream).save(folder / half / name / f"{number}.png")
    name = str(stream.choice(list(ODDITIES)))
    change, expected = ODDITIES[name]
    change(folder / "train" / "cat", stream)
    return name, expected


def picture(stream: np.random.Generator, mode: str = "RGB") -> Image.Image:
    height, width = stream.integers(1, 60, 2)
    pixels = stream.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def of_mode(mode: str, suffix: str) -> Callable[[Path, np.random.Generator], None]:
    def change(folder: Path, stream: np.random.Generator) -> None:
        picture(stream, mode).save(folder / f"odd.{suffix}")

    return change


def damaged(suffix: str, cut: bool) -> Callable[[Path, np.random.Generator], None]:
    """A file cut off or with some bytes changed."""

    def change(folder: Path, stream: np.random.Generator) -> None:
        file = io.BytesIO()
        picture(stream).save(file, Image.registered_extensions()[f".{suffix}"])
        content = bytearray(file.getvalue())
        if cut:
            content = content[: int(stream.integers(len(content)))]
        else:
            for position in stream.integers(0, len(content), 5):
                content[position] = int(stream.integers(256))
        (folder / f"odd.{suffix}").write_bytes(content)

    return change


def text(folder: Path, stream: np.random.Generator) -> None:
    (folder / "odd.png").write_text("no image")


def hidden(folder: Path, stream: np.random.Generator) -> None:
    name = str(stream.choice([".ipynb_checkpoints", "__MACOSX", ".cache"]))
    (folder.parent / name).mkdir()
    (folder.parent / name / "1.png").write_text("no image")


def link_in_a_circle(folder: Path, stream: np.random.Generator) -> None:
    (folder / "again").symlink_to(folder.parent)


def link_to_nothing(folder: Path, stream: np.random.Generator) -> None:
    (folder / "odd.png").symlink_to(folder / "nothing")


def class_without_images(folder: Path, stream: np.random.Generator) -> None:
    (folder.parent / "emu").mkdir()


def turned(folder: Path, stream: np.random.Generator) -> None:
    exif = Image.Exif()
    exif[0x0112] = int(stream.integers(0, 12))  # 1 to 8 have a meaning
    picture(stream).save(folder / "odd.jpg", exif=exif)


def animated(folder: Path, stream: np.random.Generator) -> None:
    frame = picture(stream)
    frame.save(folder / "odd.gif", save_all=True, append_images=[frame.rotate(90)])


ODDITIES = {
    **{f"{mode} as png": (of_mode(mode, "png"), RIGHT) for mode in ("1", "L", "LA", "P", "RGBA")},
    **{f"{mode} as tif": (of_mode(mode, "tif"), RIGHT) for mode in ("CMYK", "LA", "YCbCr")},
    **{f"{mode} as tif": (of_mode(mode, "tif"), SENTENCE) for mode in ("F", "I")},
    **{f"{suffix} cut off": (damaged(suffix, True), EITHER) for suffix in ("png", "jpg", "gif", "tif")},
    **{f"{suffix} changed": (damaged(suffix, False), EITHER) for suffix in ("png", "jpg", "gif", "tif")},
    "text as png": (text, SENTENCE),
    "hidden folder": (hidden, RIGHT),
    "link in a circle": (link_in_a_circle, SENTENCE),
    "link to nothing": (link_to_nothing, SENTENCE),
    "class without images": (class_without_images, SENTENCE),
    "EXIF orientation": (turned, RIGHT),
    "animated": (animated, RIGHT),
}
