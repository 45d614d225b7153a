"""The code blocks of a page of the documentation, and what a reader who follows the page does with them."""

import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

FILE_NAME = re.compile(r"# ([\w./-]+\.(?:py|yaml))\n")  # in a block's first line: the file to save it as
NOT_THE_READERS = ("SNAKEMAKE", "MAKE", "MFLAGS", "ARGS")  # what a run of the tests by make or Snakemake sets
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The file that the reader saves it as, by its first line; None where it has no such line."""
        named = FILE_NAME.match(self.text)
        return named[1] if named else None


def blocks(page: str) -> list[Block]:
    """All fenced blocks of a page, in order."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [Block(*one) for one in found]


def follow(page: Iterable[Block], folder: Path) -> list[tuple[Block, str]]:
    """Save files and run commands as they come; each `text` block with what the command before it printed.

    Raises AssertionError, with what was printed, where a command fails or a block is of no known kind.
    """
    shown, printed = [], ""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(NOT_THE_READERS)}
    for block in page:
        if block.file:
            (folder / block.file).write_text(block.text)
        elif block.language == "bash":
            command = ["bash", "-e", "-o", "pipefail", "-c", block.text]
            output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
            done = subprocess.run(command, cwd=folder, env=inherited, check=False, **output)
            printed = done.stdout
            assert done.returncode == 0, block.text + printed
        else:
            assert block.language == "text", f"neither a file, a command nor an output:\n{block.text}"
            shown.append((block, printed))
    return shown


def links(page: str) -> list[tuple[str, str]]:
    """File and heading of each link inside the repository; one of the two may be empty."""
    return re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", page)


def anchors(page: str) -> set[str]:
    """The headings of a page as links name them, on GitHub."""
    headings = re.findall(
        r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def words(text: str) -> list[list[str]]:
    """The words of each line, any number written as #: what stays the same on another processor."""
    lines = [NUMBER.sub("#", line).split() for line in text.splitlines()]
    return [line for line in lines if line]
