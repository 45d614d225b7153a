"""Weights in the forms people have them: the plain state dict comes of each, or one sentence."""

import logging
import re
from collections import OrderedDict

import cases
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from fusionscope.errors import InputError
from fusionscope.networks.build import build, load_network
from fusionscope.weights import load_weights

SPEC = {"model_type": "VGG11", "width": cases.TINY}


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(1)
    network = build(10, **SPEC)
    for name, tensor in network.state_dict().items():
        if "running" in name:
            tensor.uniform_(0.5, 2)
    return network


@pytest.fixture
def path(tmp_path):
    return tmp_path / "parent_1.pth"


def plain(network) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def loaded(content, network, path) -> dict[str, torch.Tensor]:
    torch.save(content, path)
    return load_weights(path, network)


def sentence(content, network, path) -> str:
    with pytest.raises(InputError) as caught:
        loaded(content, network, path)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    return text.removeprefix(str(path))


def assert_same(found, expected) -> None:
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
        assert found[name].dtype == tensor.dtype
        assert found[name].stride() == tensor.stride(), name
        assert not found[name].requires_grad


def renamed(weights, pattern, by):
    return {re.sub(pattern, by, name): tensor for name, tensor in weights.items()}


def averaged(network) -> dict:
    return torch.optim.swa_utils.AveragedModel(network).state_dict()


FORMS = {
    "DataParallel": lambda net: nn.DataParallel(net).state_dict(),
    "compiled": lambda net: torch.compile(net).state_dict(),
    "compiled and DataParallel": lambda net: renamed(plain(net), "^", "_orig_mod.module."),
    "DataParallel around a part": lambda net: renamed(plain(net), r"^features\.", "features.module."),
    "attribute of a training class": lambda net: renamed(plain(net), "^", "model."),
    "attribute, compiled": lambda net: renamed(plain(net), "^", "model._orig_mod."),
    "under a key": lambda net: {"state_dict": plain(net), "epoch": 3},
    "DataParallel under a key": lambda net: {"net": nn.DataParallel(net).state_dict(), "acc": 93.1},
    "under two keys": lambda net: {"checkpoint": {"model": plain(net)}, "best": None},
    "beside an optimizer": lambda net: {
        "optimizer": torch.optim.Adam(net.parameters()).state_dict(),
        "model_state_dict": plain(net),
    },
    "averaged model": averaged,
    "parameters": lambda net: {
        n: nn.Parameter(t) if t.is_floating_point() else t for n, t in plain(net).items()
    },
    "OrderedDict with metadata": lambda net: net.state_dict(),
    "another order": lambda net: OrderedDict(reversed(plain(net).items())),
    "not contiguous": lambda net: {
        n: t.mT.contiguous().mT if t.ndim > 1 else t for n, t in plain(net).items()
    },
    "counters as int32": lambda net: {
        n: t.int() if n.endswith("tracked") else t for n, t in plain(net).items()
    },
    "double": lambda net: {n: t.double() if t.is_floating_point() else t for n, t in plain(net).items()},
    "requires gradients": lambda net: net.state_dict(keep_vars=True),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_plain_state_dict(form, network, path):
    assert_same(loaded(FORMS[form](network), network, path), plain(network))


@pytest.mark.parametrize("form", ["DataParallel", "under a key", "double"])
def test_what_was_not_plain_is_told_to_the_log(form, network, path, caplog):
    caplog.set_level(logging.INFO, "fusionscope")
    loaded(plain(network), network, path)
    assert caplog.messages == []
    loaded(FORMS[form](network), network, path)
    said = {
        "DataParallel": "module.features.0.weight is taken for features.0.weight (58 names alike)",
        "under a key": "the weights are those under 'state_dict'",
        "double": "features.0.weight is torch.float64 and brought to torch.float32 (50 tensors alike)",
    }
    assert caplog.messages == [f"{path}: {said[form]}"]


def test_safetensors_are_read_whatever_they_are_called(network, path):
    save_file(plain(network), path)
    assert_same(load_weights(path, network), plain(network))


def test_counters_that_old_files_lack_are_zero(network, path):
    weights = {name: tensor for name, tensor in plain(network).items() if "tracked" not in name}
    expected = {n: torch.zeros_like(t) if "tracked" in n else t for n, t in plain(network).items()}
    assert_same(loaded(weights, network, path), expected)


def test_counters_are_needed_where_training_reads_them(path):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=None))
    weights = plain(network)
    assert_same(loaded(weights, network, path), weights)
    del weights["1.num_batches_tracked"]
    assert "1.num_batches_tracked is missing, by which its layer weighs" in sentence(weights, network, path)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_the_type_of_the_network_before_anything_is_computed(half, network, path):
    weights = plain(network)
    weights["features.1.running_var"][:] = 40000.0
    halved = {n: t.to(half) if t.is_floating_point() else t for n, t in weights.items()}
    found = loaded(halved, network, path)
    assert_same(found, {n: halved[n].to(t.dtype) for n, t in weights.items()})
    sum_of_two = found["features.1.running_var"] + found["features.1.running_var"]
    assert sum_of_two.isfinite().all()


def test_a_network_in_double_precision_keeps_it(network, path):
    double = build(10, **SPEC).double()
    double.load_state_dict(plain(network))
    assert_same(loaded(double.state_dict(), double, path), plain(double))


def test_a_wrapped_network_takes_its_own_names_and_plain_ones(network, path):
    wrapped = nn.DataParallel(network)
    for content in (wrapped.state_dict(), plain(network)):
        assert_same(loaded(content, wrapped, path), plain(wrapped))


def test_views_are_loaded_with_memory_of_their_own(path):
    network = nn.Linear(3, 2)
    storage = torch.arange(1000.0)
    content = {"weight": storage[:6].view(2, 3), "bias": torch.ones(1).expand(2)}
    found = loaded(content, network, path)
    assert torch.equal(found["weight"], torch.arange(6.0).view(2, 3))
    assert found["weight"].untyped_storage().nbytes() == 6 * 4
    found["bias"][0] = 5
    assert found["bias"].tolist() == [5, 1]


def test_a_loaded_network_is_the_same_whatever_the_form(network, path):
    images = torch.randn(2, 3, 32, 32)
    for form in ("DataParallel", "under a key", "safetensors"):
        if form == "safetensors":
            save_file(plain(network), path)
        else:
            torch.save(FORMS[form](network), path)
        assert torch.equal(load_network(path, 10, **SPEC)(images), network(images))


# what is not certain


def changed(net, name, value):
    return plain(net) | {name: value}


VARIANCE = "features.1.running_var"
REFUSED = {
    "two that fit": (
        lambda net: {"model": plain(net), "ema": plain(net)},
        ": has 2 state dicts that fit ('model', 'ema'); save the one you mean",
    ),
    "a list of tensors": (
        lambda net: list(net.parameters()),
        ": is not a state dict, but a list of 34: which parameter is which, it does not say; "
        "save network.state_dict(), and nothing else",
    ),
    "names that are numbers": (
        lambda net: dict(enumerate(plain(net).values())),
        ": is not a state dict: 0 is no name of a parameter; save network.state_dict(), and nothing else",
    ),
    "one tensor": (
        lambda net: torch.zeros(3),
        ": is not a state dict (tensors by name), but one Tensor; "
        "save network.state_dict(), and nothing else",
    ),
    "a number among tensors": (
        lambda net: changed(net, "classifier.bias", 3.0),
        ": classifier.bias is a float, expected a tensor; save network.state_dict(), and nothing else",
    ),
    "more than the network": (
        lambda net: renamed(plain(net), "^", "model.") | {"loss.weight": torch.ones(10)},
        ": features.0.weight is missing and model.features.0.weight is not part of this network "
        "(58 of 58 names are missing, 59 are unknown); "
        "those that begin with 'model.' would fit: save these alone",
    ),
    "another network": (
        lambda net: build(10, model_type="RESNET18", width=cases.TINY).state_dict(),
        ": features.0.weight is missing and conv1.weight is not part of this network "
        "(58 of 58 names are missing, 122 are unknown); "
        "is it of another network? are 'model_type' or 'architecture' right in config.yaml?",
    ),
    "another width": (
        lambda net: build(10, model_type="VGG11", width=0.125).state_dict(),
        ": features.0.weight is (8, 3, 3, 3), expected (4, 3, 3, 3): "
        "are 'model_type' and 'width' right in config.yaml? (49 of 58 shapes differ)",
    ),
    "other images": (
        lambda net: build(10, **SPEC, channels=1).state_dict(),
        ": features.0.weight is (4, 1, 3, 3), expected (4, 3, 3, 3): "
        "are 'channels' and 'input_size' right in config.yaml?",
    ),
    "other classes": (
        lambda net: build(100, **SPEC).state_dict(),
        ": classifier.weight is (100, 32), expected (10, 32): "
        "is 'dataset' right in config.yaml, and has it as many classes?",
    ),
    "sparse": (
        lambda net: changed(net, "classifier.weight", net.classifier.weight.detach().to_sparse()),
        ": classifier.weight is sparse; save it dense (tensor.to_dense())",
    ),
    "without values": (
        lambda net: changed(net, "classifier.weight", torch.empty(10, 32, device="meta")),
        ": classifier.weight has no values: it was saved from the meta device; "
        "save it once the network is loaded",
    ),
    "eight bits": (
        lambda net: changed(net, "classifier.bias", torch.ones(10).to(torch.float8_e4m3fn)),
        ": classifier.bias is torch.float8_e4m3fn, expected torch.float32; save it as that",
    ),
    "quantized": (
        lambda net: changed(
            net, "classifier.bias", torch.quantize_per_tensor(torch.ones(10), 0.1, 0, torch.qint8)
        ),
        ": classifier.bias is quantized; save the network before it is quantized",
    ),
    "complex": (
        lambda net: changed(net, "classifier.bias", torch.ones(10, dtype=torch.complex64)),
        ": classifier.bias is torch.complex64, expected torch.float32; save it as that",
    ),
    "nested": (
        lambda net: changed(
            net, "classifier.bias", torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
        ),
        ": classifier.bias is a nested tensor; save one of one shape",
    ),
    "a negative variance": (
        lambda net: changed(net, VARIANCE, torch.tensor([1.0, 1, 1, -1e-6])),
        f": {VARIANCE} has negative values, which no training gives; the file is damaged",
    ),
    "infinite in half precision": (
        lambda net: changed(net, VARIANCE, torch.full((4,), 70000.0).half()),
        f": {VARIANCE} has values that are not finite; save it in single precision",
    ),
    "too large for the network": (
        lambda net: changed(net, VARIANCE, torch.full((4,), 1e300, dtype=torch.float64)),
        f": {VARIANCE} has values too large for torch.float32, the type of the network",
    ),
    "an absurd shape": (
        lambda net: changed(net, "classifier.bias", torch.ones(1).expand(10**12)),
        ": classifier.bias is (1000000000000,), expected (10,): "
        "is 'dataset' right in config.yaml, and has it as many classes?",
    ),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # PyTorch's, of nested and quantized tensors
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_certain_is_one_sentence(case, network, path):
    make, expected = REFUSED[case]
    assert sentence(make(network), network, path) == expected


def test_a_sentence_says_under_which_key_it_looked(network, path):
    content = {"state_dict": changed(network, VARIANCE, torch.full((4,), torch.nan)), "epoch": 3}
    assert sentence(content, network, path).startswith(f", state_dict: {VARIANCE} has values that are not")
