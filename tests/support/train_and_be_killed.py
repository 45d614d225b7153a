"""A training in a process of its own, for tests that kill it: train_and_be_killed.py FOLDER."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2] / "scripts"), str(Path(__file__).parent)]

import cases  # noqa: E402
import torch  # noqa: E402

from fusionscope.networks.build import initialised  # noqa: E402
from fusionscope.training.train import train  # noqa: E402
from fusionscope.weights import save_weights  # noqa: E402
from machinery.checkpoint import LastEpoch  # noqa: E402

torch.set_num_threads(1)
folder = Path(sys.argv[1])
images = cases.digits()
(folder / "begins").touch()
network = initialised(torch.Generator().manual_seed(0), 10, model_type="VGG11", width=0.125)
place = LastEpoch(folder / "last_epoch.pth", "this one")
kept = place.read()
with open(folder / "resumed", "a") as file:
    print(0 if kept is None else len(kept["curve"]), file=file)
trained = train(
    network,
    images["train"],
    images["validation"],
    order=torch.Generator().manual_seed(1),
    resume=kept,
    keep=place.write,
    **cases.training_options(epochs=8, batch_size=64, schedule={"kind": "one_cycle"}),
)
save_weights(trained.best_weights, folder / "weights.pth")
place.remove()
