"""Origins: the weights of a file, and the one that is farthest."""

import pytest
import torch
from measure_cases import WIDTH, smooth_network
from torch import nn

from fusionscope.measures.parameter.landscape import flatten_parameters
from fusionscope.measures.parameter.origin import farthest, load_origin
from fusionscope.networks.build import build


def test_the_farthest_origin_is_the_one_whose_parameters_are():
    w = flatten_parameters(smooth_network(batch_norm=True))
    origins = [smooth_network(batch_norm=True) for _ in range(3)]  # the same weights
    with torch.no_grad():
        for origin, distance in zip(origins, (3.0, 5.0, 4.0), strict=True):
            origin[0].bias[1] += distance
        origins[0][1].running_mean += 100  # a buffer is not a weight
    assert farthest(w, origins) is origins[1]
    assert farthest(w, origins[::-1]) is origins[1]
    assert farthest(w, []) is None


@pytest.mark.parametrize("biases", [False, True])
def test_an_origin_has_the_weights_of_its_file_and_biases_of_zero(tmp_path, biases):
    spec = {"model_type": "VGG11_NOBIAS_NOBN", "width": WIDTH, "input_size": 32}
    parent = build(10, **spec)
    torch.save(parent.state_dict(), tmp_path / "parent_1.pth")
    origin = load_origin(tmp_path / "parent_1.pth", 10, spec | {"biases": biases})
    known = dict(parent.named_parameters())
    for name, parameter in origin.named_parameters():
        assert torch.equal(parameter, known.pop(name, torch.zeros_like(parameter)))
    assert not known
    assert any(isinstance(m, nn.Conv2d) and m.bias is not None for m in origin.modules()) == biases
    child = build(10, **spec, biases=biases)
    assert flatten_parameters(origin).shape == flatten_parameters(child).shape
