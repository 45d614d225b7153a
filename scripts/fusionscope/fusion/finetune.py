"""Training a fused child on, as its parents were trained, at a constant learning rate."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from fusionscope.fusion.options import FinetuneOptions
from fusionscope.images import Images
from fusionscope.training.train import train
from fusionscope.weights import Weights, set_weights


@dataclass(frozen=True)
class TrainingData:
    """What a child is trained on with: images, its parents' recipe, and where a broken run goes on."""

    images: Images
    validation_images: Images
    recipe: Mapping[str, Any]  # the arguments of `train`, of which fine-tuning sets its own
    order: torch.Generator  # of the images, and of their augmentation
    dropout_seed: int
    resume: dict[str, Any] | None = None  # the last that `keep` was given
    keep: Callable[[dict[str, Any]], None] | None = None  # is given, after each epoch, what to go on needs


class Finetune(FinetuneOptions):
    """The epoch with the smallest validation loss."""

    def tune(self, network: nn.Module, child: Weights, data: TrainingData) -> Weights:
        """The `child` after training; `network` is changed. Raises InputError where training diverges."""
        set_weights(network, child)
        own = {"epochs": self.epochs, "learning_rate": self.learning_rate, "schedule": {"kind": "constant"}}
        torch.manual_seed(data.dropout_seed)
        trained = train(
            network,
            data.images,
            data.validation_images,
            order=data.order,
            resume=data.resume,
            keep=data.keep,
            **{**data.recipe, **own},
        )
        return trained.best_weights
