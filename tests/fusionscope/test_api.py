"""The top-level API: found when it is used, and nothing is imported before."""

import subprocess
import sys
from pathlib import Path

import cases
import networks_for_fusion as nets
import pytest
import torch
from torch import nn

import fusionscope
from fusionscope.errors import InputError
from fusionscope.evaluation import accuracy, predict
from fusionscope.measures.parameter.complexity import path_norm
from fusionscope.measures.parameter.landscape import Landscape
from fusionscope.measures.parameter.subject import Subject
from fusionscope.networks.build import build

SCRIPTS = Path(__file__).parents[2] / "scripts"


def tiny_network() -> nn.Module:
    return build(10, model_type="VGG11", width=cases.TINY)


def test_importing_the_package_imports_nothing_of_it():
    program = (
        "import sys\nbefore = set(sys.modules)\nimport fusionscope\n"
        "new = set(sys.modules) - before - {'fusionscope', 'typing'}\n"
        "assert not {name for name in new if name.startswith(('fusionscope', 'torch', 'numpy'))}, new\n"
        "fusionscope.InputError\nassert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env={"PYTHONPATH": str(SCRIPTS)})


@pytest.mark.parametrize("name", fusionscope.API)
def test_every_name_is_found_and_listed(name):
    found = getattr(fusionscope, name)
    assert callable(found)
    assert found.__doc__
    assert name in dir(fusionscope)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'fusionscope' has no attribute 'fues'"):
        fusionscope.fues  # noqa: B018


def test_a_metric_is_measured_by_its_name():
    network, images = tiny_network(), nets.images(40)
    measured = fusionscope.measure(network, images, "accuracy")
    assert measured.value == accuracy(predict(network, images, 40), images.labels)
    assert fusionscope.accuracy(network, images) == measured
    expected = path_norm(Subject(Landscape(network, images, 256), images, None))
    assert fusionscope.measure(network, images, "path_norm").value == expected


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("path_nrom", {}, "measure: 'path_nrom' is not known; did you mean 'path_norm'?"),
        ("path_norm", {"draws": 3}, "measure: 'path_norm' has no options; leave out draws"),
        ("pac_bayes_sigma", {"drawn": 3}, "unknown key 'drawn'; did you mean 'draws'?"),
        (
            "distance_from_initialisation",
            {},
            "measure: there is no distance_from_initialisation of this",
        ),
    ],
)
def test_a_metric_that_cannot_be_measured_is_refused_in_one_sentence(name, options, sentence):
    with pytest.raises(InputError) as caught:
        fusionscope.measure(tiny_network(), nets.images(20), name, **options)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_training_gives_the_weights_of_the_best_epoch_and_leaves_them_in_the_network():
    network = tiny_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    images = nets.images(20)
    weights = fusionscope.train(
        network, images, images, epochs=1, learning_rate=0.01, schedule={"kind": "constant"}
    )
    assert all(torch.equal(weights[name], tensor) for name, tensor in network.state_dict().items())
    assert not torch.equal(weights["features.0.weight"], before["features.0.weight"])
    assert not network.training
    drawn = [
        fusionscope.train(network, images, images, epochs=1, learning_rate=1e-9, initialisation="he")
        for _ in range(2)
    ]
    assert torch.equal(*(one["features.0.weight"] for one in drawn))  # whatever it had before
    with pytest.raises(InputError, match=r"train: unknown key 'epoch'; did you mean 'epochs'\?"):
        fusionscope.train(network, images, images, epoch=1)
