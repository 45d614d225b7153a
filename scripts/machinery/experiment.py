"""One experiment: its seeds and models, the networks they are, and the files in which each of them lies.

Knows the layout of files and what config.yaml said; neither Snakemake nor whether a file exists.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fusionscope.fusion.options import looks_at_images, moves_neurons
from fusionscope.training.data_sets import DATA_SETS, SIZE
from fusionscope.training.normalisation import PUBLISHED
from machinery.plain import plain
from machinery.sweeps import OF_DATA

# What is measured of a model or a pair, and the file of each: one rule each, and two for pairs.
PARTS = {
    "input": "input_space.csv",
    "hessian": "hessian.csv",
    "scales": "scales.csv",
    "complexity": "complexity.csv",
    "prediction": "prediction_space.csv",
    "connectivity": "connectivity_space.csv",  # of children alone
    "pair": "pair_space.csv",  # of all parents of a seed together, and of fusions that align them
}
OF_CHILDREN, OF_PAIRS = "connectivity", "pair"


def parent_name(number: int) -> str:
    """The parents of a seed are counted from 1."""
    return f"parent_{number}"


def is_parent(model: str) -> bool:
    """Whether a model is a parent; no fusion may be called so."""
    return model.startswith("parent_")


def record_file(model: str) -> str:
    """What the workflow writes beside (and before) the weights of a model that it made itself."""
    return f"{model}_learning_curve.csv" if is_parent(model) else f"{model}_alignment.csv"


@dataclass(frozen=True)
class Experiment:
    """An experiment that is to be built. `settings`: as `settings.resolve_experiments` gives them."""

    name: str
    settings: Mapping[str, Any]

    @property
    def trained(self) -> bool:
        """Whether the workflow trains the parents; otherwise the user provides them."""
        return self.settings["weights"] == "trained"

    @property
    def sweep(self) -> str | None:
        """The sweep of which this is a setting."""
        return self.settings["sweep"]["name"] if "sweep" in self.settings else None

    @property
    def stream(self) -> str:
        """The name from which random streams come: settings of a sweep share them, so that a seed's parents
        are drawn alike in all."""
        return self.sweep or self.name

    def role(self, model: str) -> str:
        """What a model is to its seed: a child is the fusion that makes it, whatever is swept of that."""
        children = self.settings["sweep"]["fusions"] if "sweep" in self.settings else {}
        return children[model]["fusion"] if model in children else model

    @property
    def seeds(self) -> list[int]:
        return self.settings["seeds"]

    @property
    def parents(self) -> list[str]:
        return [parent_name(number) for number in range(1, self.settings["parents"] + 1)]

    @property
    def fusions(self) -> list[str]:
        return list(self.settings["fusions"])

    @property
    def models(self) -> list[str]:
        return [*self.parents, *self.fusions]

    def measures(self, part: str) -> bool:
        """Whether a part, or the space `correlation`, is switched on."""
        return part in self.settings["spaces"]

    # networks

    def width(self, parent: str) -> float | None:
        """The width that a parent is asked to have; None where its maker decides."""
        return self.settings["widths"][self.parents.index(parent)]

    def network(self, model: str) -> dict[str, Any]:
        """What `networks.build` is told to make a model: parents are alike except for their widths.

        A child is as wide as its reference, and has room for the biases that repair gives it.
        """
        if not is_parent(model):
            network = self.network(self.reference(model))
            return network | {"biases": True} if self.definition(model).get("repair") else network
        settings = self.settings
        network = {key: settings[key] for key in ("model_type", "architecture") if settings.get(key)}
        network |= {key: settings.get(key) for key in ("input_size", "channels", "depth")}
        network["width"] = self.width(model)
        return plain({key: value for key, value in network.items() if value is not None})

    # fusions

    def definition(self, fusion: str) -> dict[str, Any]:
        """What config.yaml says of a fusion, with all defaults."""
        return self.settings["fusions"][fusion]

    def reference(self, fusion: str) -> str:
        """The parent that the others are aligned to."""
        return parent_name(self.definition(fusion)["reference"])

    def aligns(self, fusion: str) -> bool:
        """Whether a fusion aligns its parents before it merges them."""
        return moves_neurons(self.definition(fusion))

    def runs_networks(self, fusion: str) -> bool:
        """Whether a fusion runs networks on images; matching weights alone does not."""
        definition = self.definition(fusion)
        return looks_at_images(definition) or "finetune" in definition

    def repair_images(self, fusion: str) -> int:
        """On how many images a fusion repairs; 0 if it does not."""
        definition = self.definition(fusion)
        return definition["images"] if definition.get("repair") else 0

    def finetune_recipe(self, fusion: str) -> dict[str, Any] | None:
        """How a child is trained on, for what its fusion leaves open: as its parents were. None without."""
        if "finetune" not in self.definition(fusion):
            return None
        recipe = {key: value for key, value in self.settings["training"].items() if key != "initialisation"}
        return plain(recipe)

    # files

    @property
    def data(self) -> str:
        """The prepared data; image folders, and images normalised otherwise, are the experiment's own."""
        dataset, shape = self.settings["dataset"], self.prepared_shape
        if dataset == "image_folder" or self.settings["normalisation"] != PUBLISHED:
            swept = self.settings["sweep"]["values"] if "sweep" in self.settings else {}
            owner = self.name if any(key.split(".")[0] in OF_DATA for key in swept) else self.stream
            return f"data/{dataset}_{owner}.npz"
        # no experiment's name begins with a digit
        channels = "_1_channel" if "channels" in shape else ""
        size = f"_{shape['size']}x{shape['size']}" if "size" in shape else ""
        return f"data/{dataset}{channels}{size}.npz"

    @property
    def prepared_shape(self) -> dict[str, int]:
        """What `prepare` is told of the images' `channels` and `size`, where they are not the usual ones.

        Images of another size than that in which they are published are resized when they are read.
        """
        data_set, size, channels = (self.settings[key] for key in ("dataset", "input_size", "channels"))
        entry = DATA_SETS[data_set]
        shape = {} if entry.grey or channels == 3 else {"channels": channels}
        return shape | ({"size": size} if size == entry.size != SIZE else {})

    def folder(self, seed: int | str) -> str:
        return f"experiments/{self.name}/{self.name}_seed{seed}"

    def weights(self, seed: int | str, model: str) -> str:
        return f"{self.folder(seed)}/{model}.pth"

    def initial_weights(self, seed: int | str, parent: str) -> str:
        return f"{self.folder(seed)}/{parent}_initial_weights.pth"

    def measured(self, seed: int | str, model: str, file: str) -> str:
        """A file of what was measured of a model."""
        return f"results/{self.name}/seed{seed}/{model}/{file}"

    def measured_of_parents(self, seed: int | str, file: str) -> str:
        """A file of what was measured of all parents of a seed together."""
        return f"results/{self.name}/seed{seed}/{file}"

    def table(self, file: str) -> str:
        """A file of results over all seeds."""
        return f"results/{self.name}/{file}"

    def recorded_weights(self) -> Iterator[tuple[str, str]]:
        """Each file of weights that the workflow writes, with the record that it writes before it."""
        for seed in self.seeds:
            folder = self.folder(seed)
            records = {f"{model}.pth": record_file(model) for model in self.models}
            records |= {f"{parent}_initial_weights.pth": record_file(parent) for parent in self.parents}
            records |= {f"{fusion}_aligned.pth": record_file(fusion) for fusion in self.fusions}
            for weights, record in records.items():
                yield f"{folder}/{weights}", f"{folder}/{record}"
