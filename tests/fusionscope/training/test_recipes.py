"""A training recipe may ask for what training can do, and for nothing else."""

import inspect
from typing import get_args, get_type_hints

import cases
import pytest
import torch
from torch import nn

from fusionscope.errors import InputError
from fusionscope.images import AUGMENTATIONS
from fusionscope.networks.initialise import REDRAWS
from fusionscope.options import check
from fusionscope.training.recipes import Constant, Linear, OneCycle, Steps, TrainingRecipe
from fusionscope.training.train import SCHEDULES, train


def test_a_recipe_names_the_schedules_augmentations_and_initialisations_that_there_are():
    kinds = {get_args(get_type_hints(model)["kind"])[0] for model in (Steps, OneCycle, Constant, Linear)}
    assert kinds == set(SCHEDULES)
    hints = get_type_hints(TrainingRecipe)
    assert set(get_args(hints["augmentation"])) == set(AUGMENTATIONS)
    assert set(get_args(hints["initialisation"])) == {"network", *REDRAWS}


def test_a_recipe_is_the_arguments_of_training():
    recipe = TrainingRecipe().model_dump()
    of_the_network = {"initialisation"}  # before it is trained
    assert recipe.keys() - of_the_network <= inspect.signature(train).parameters.keys()
    images = cases.labelled([0, 1])
    options = check(TrainingRecipe, {"epochs": 1}).model_dump(exclude=of_the_network)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2))
    trained = train(network, images, images, order=torch.Generator(), **options)
    assert [epoch.learning_rate for epoch in trained.curve] == [0.05]


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        ({"schedule": {"kind": "step"}}, r"^schedule\.kind: 'step' is not known; did you mean 'steps'\?"),
        ({"schedule": {"kind": "constant", "at": [1]}}, r"^schedule: unknown key 'at'; known are kind"),
        ({"schedule": {"at": [1], "factor": 0.1}}, r"^schedule: the key 'kind' is missing"),
        ({"schedule": "constant"}, r"^schedule: 'constant' is not right; expected keys with values"),
        ({"schedule": {"kind": "steps", "at": [0], "factor": 1}}, r"^schedule\.at\.0: 0 is not right"),
        ({"augmentation": "flip"}, r"^augmentation: 'flip' is not known; "),
        ({"initialisation": "He"}, r"^initialisation: 'He' is not known; "),
        ({"precision": "double"}, r"^precision: 'double' is not known; "),
        ({"optimiser": "adam"}, r"^optimiser: 'adam' is not known; "),
        ({"optimiser": "adamw", "momentum": 0.9}, r"'momentum' is sgd's, and adamw has none; leave it out"),
        (
            {"epochs": 5, "schedule": {"kind": "linear", "warmup_epochs": 5}},
            r"'schedule' warms up for 5 epochs of 5; let 'warmup_epochs' be fewer",
        ),
        ({"momentum": 1.0}, r"^momentum: 1.0 is not right; expected a number from 0 to below 1"),
    ],
)
def test_mistakes_are_named(recipe, sentence):
    with pytest.raises(InputError, match=sentence):
        check(TrainingRecipe, recipe)
