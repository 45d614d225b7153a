"""Whatever file is provided as weights: read rightly, or refused in one sentence."""

import random
from itertools import islice

import cases
import pytest
import torch

from fusionscope.networks.build import build

from .tally import LOST, RIGHT, SENTENCE, TRACEBACK, Tally, tries

mutated_weights = pytest.importorskip("mutated_weights")
SEED = 2026
OUTCOMES = {"right": RIGHT, "sentence": SENTENCE, "traceback": TRACEBACK, "changed": RIGHT}


@pytest.mark.filterwarnings("ignore")  # PyTorch's, of what the files are made with
@pytest.mark.parametrize("model_type", ["VGG11", "RESNET18"])
def test_files_of_weights_are_read_rightly_or_refused(model_type, tmp_path, record_property):
    tally = Tally("weight files")
    torch.manual_seed(SEED)
    network = build(cases.NUM_CLASSES, **cases.spec_of(model_type))
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    files = mutated_weights.mutated_files(random.Random(SEED), weights)
    for number, file in enumerate(islice(files, tries(250, 50))):
        found = mutated_weights.outcome(file, network, tmp_path / "parent_1.pth")
        expected = mutated_weights.is_as_expected(file, found)
        # a right file that is refused, or other values without a word, are lost to who provided them
        told = OUTCOMES[found] if expected or found == "traceback" else LOST
        tally.add(told, f"{model_type}, file {number}: {file.description}: {found}, not {file.expected}")
    tally.end(record_property)
