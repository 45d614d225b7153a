"""Parents that have learnt next to nothing: said in the job's log, and again when the run ends.

What such a parent is fused to, and what is measured of it, says nothing about fusion. The job that knows the
accuracy writes a line to its log; the run's main process, which imports neither PyTorch nor NumPy, finds
it there.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from logging import Logger
from pathlib import Path
from typing import TYPE_CHECKING

from fusionscope.statistics.chance import is_at_chance

if TYPE_CHECKING:
    from machinery.experiment import Experiment

AT_CHANCE = "at chance: "  # begins the line in a log
ADVICE = (
    "What is made and measured of a parent at chance says nothing about fusion. If it was trained here, try "
    "the recipe robust, a smaller learning_rate or another initialisation (docs/training.md); if it was "
    "provided, is it for this data set, with its order of classes and its normalisation?"
)


def warn(log: Logger, split: str, accuracy: float | None, labels: Sequence[int]) -> None:
    """A line in the `log` of a job where a parent's `accuracy` on the images of `split` is at chance.

    Chance is the best that a network can do that gives the same answer to every image. An accuracy that is
    undefined (None) is another matter.
    """
    if accuracy is None:
        return
    images, commonest = len(labels), max(Counter(labels).values())
    chance = commonest / images
    if is_at_chance(round(accuracy * images), images, chance):
        log.warning(
            "%s%s accuracy %.3f on %d images, where %.3f is chance",
            *(AT_CHANCE, split, accuracy, images, chance),
        )
        log.warning(ADVICE)


def parents_at_chance(experiments: "Iterable[Experiment]", logs: str | Path) -> list[str]:
    """Parents whose job found them at chance, each with what it found, from the jobs' logs below `logs`."""
    found = []
    for experiment in experiments:
        rule = "train" if experiment.trained else "measure_prediction"
        for seed in experiment.seeds:
            for parent in experiment.parents:
                log = Path(logs) / rule / f"{experiment.name}_seed{seed}_{parent}.log"
                text = log.read_text(errors="replace") if log.exists() else ""
                said = re.search(f"{AT_CHANCE}(.*)", text)
                if said:
                    found.append(f"{experiment.name}, seed {seed}, {parent}: {said[1]}")
    return found


def summary(found: Sequence[str]) -> str:
    """What is said at the end of a run of parents that are at chance."""
    count = "one parent is" if len(found) == 1 else f"{len(found)} parents are"
    return "\n".join([f"WARNING: {count} at chance:", *(f"  {line}" for line in found), ADVICE])
