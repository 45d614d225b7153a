"""The last epoch of a training, on disk beside what it will become: a killed job goes on from there.

Snakemake deletes a job's outputs before it starts and after it failed; so this is a file that Snakemake
does not know, tied to the job by a hash of all that the training depends on.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from fusionscope.errors import InputError
from fusionscope.weight_files import read_file
from fusionscope.weights import save_whole


def identity_of(settings: object, files: Iterable[str | Path]) -> str:
    """A hash of `settings` (whose repr says it all), of the content of `files` and of PyTorch's version."""
    digest = hashlib.sha256(repr((torch.__version__, settings)).encode())
    for path in files:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


@dataclass(frozen=True)
class LastEpoch:
    """Where a training keeps its last epoch, and whose it is."""

    path: Path
    identity: str

    def read(self) -> dict | None:
        """What `write` was last given; None if nothing is there, or nothing of this training."""
        if not self.path.exists():
            return None
        try:
            content = read_file(self.path)  # tensors and plain values: nothing is unpickled
        except InputError:
            return None  # damaged, by a full disk perhaps: as good as none
        if not isinstance(content, Mapping) or content.get("identity") != self.identity:
            return None
        return content["state"]

    def write(self, state: dict) -> None:
        """Keep `state`, whole or not at all: a kill while it is written leaves the epoch before."""
        save_whole({"identity": self.identity, "state": state}, self.path)

    def remove(self) -> None:
        """The training has ended and its outputs are written."""
        self.path.unlink(missing_ok=True)
