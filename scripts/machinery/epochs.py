"""What a person sees of a training: a line in the log for each epoch, and a bar in a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tqdm import tqdm

if TYPE_CHECKING:
    from fusionscope.training.train import Epoch
    from machinery.job import Job


@contextmanager
def reported(running: "Job", title: str, epochs: int) -> Iterator[Callable[["Epoch"], None]]:
    """Inside, a function to be called after each of so many `epochs`; the bar bears the `title`."""
    with tqdm(total=epochs, desc=title, unit="epoch", leave=False, disable=not running.watched) as bar:

        def report(epoch: "Epoch") -> None:
            bar.update()
            bar.set_postfix(loss=f"{epoch.train_loss:.3f}", accuracy=f"{epoch.validation_accuracy:.3f}")
            running.log.info(
                "epoch %d: train loss %.4f, validation loss %.4f, validation accuracy %.4f",
                epoch.epoch, epoch.train_loss, epoch.validation_loss, epoch.validation_accuracy,
            )  # fmt: skip

        yield report
