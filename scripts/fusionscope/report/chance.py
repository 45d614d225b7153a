"""What guessing is worth on an experiment's test images."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fusionscope.prepared import read_arrays


@dataclass(frozen=True)
class Chance:
    """The images that accuracies are measured on."""

    images: int
    commonest: int  # of them, those of the most frequent class
    classes: int

    @property
    def share(self) -> float:
        """The accuracy of the best answer that is the same for every image."""
        return self.commonest / self.images

    @property
    def loss(self) -> float:
        """The cross-entropy, in nats, of the answer that all classes are equally likely."""
        return math.log(self.classes)


def read_chance(path: str | Path) -> Chance:
    """From a prepared file. Raises InputError for one that is damaged."""
    labels, classes = read_arrays(path, ["test_labels", "num_classes"])
    return Chance(images=len(labels), commonest=int(np.bincount(labels).max()), classes=int(classes))
