"""Hundreds of files of weights, changed at random: each is read rightly or refused in one sentence."""

import random
from collections import Counter

import cases
import pytest
import torch
from mutated_weights import is_as_expected, mutated_files, outcome

from fusionscope.networks.build import build

FILES = 600  # in the quick form


@pytest.mark.filterwarnings("ignore")  # PyTorch's, of what the files are made with
def test_mutated_files_are_read_rightly_or_refused_in_a_sentence(tmp_path):
    torch.manual_seed(1)
    network = build(10, model_type="VGG11", width=cases.TINY)
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    counts: Counter[tuple[str, str]] = Counter()
    files = mutated_files(random.Random(14), weights)
    for _, file in zip(range(FILES), files, strict=False):
        found = outcome(file, network, tmp_path / "parent_1.pth")
        assert is_as_expected(file, found), (file.description, file.expected, found)
        counts[file.expected, found] += 1
    assert len(counts) >= 5, counts
