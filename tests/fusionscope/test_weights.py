"""Weights on disk: what was saved comes back, what is broken is named, nothing half-written is left."""

import pickle
from pathlib import Path

import cases
import odd_networks
import pytest
import torch

from fusionscope.errors import InputError
from fusionscope.networks.build import build
from fusionscope.weights import (
    combine,
    load_several,
    load_weights,
    save_several,
    save_weights,
    set_weights,
    weights_of,
)


@pytest.fixture
def network():
    return build(10, model_type="VGG11", width=cases.TINY)


def save_changed(network, path: Path, **changes) -> Path:
    """The network's state dict with some entries changed (None: taken out); dots written as __."""
    weights = dict(network.state_dict())
    for name, value in changes.items():
        weights.pop(name.replace("__", "."), None)
        if value is not None:
            weights[name.replace("__", ".")] = value
    torch.save(weights, path)
    return path


def sentence(path: Path, network) -> str:
    with pytest.raises(InputError) as caught:
        load_weights(path, network)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


@pytest.mark.parametrize("model_type", cases.ALL_MODEL_TYPES)
def test_saved_weights_come_back_bit_for_bit(model_type, tmp_path):
    weights = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in cases.random_weights(model_type, 1).items()
    }
    save_weights(weights, tmp_path / "parent_1.pth")
    loaded = load_weights(tmp_path / "parent_1.pth", build(10, **cases.spec_of(model_type)))
    assert list(loaded) == list(weights)
    for name, tensor in weights.items():
        assert torch.equal(loaded[name], tensor)
        assert loaded[name].dtype == tensor.dtype


def test_saved_weights_are_a_plain_state_dict_for_anybody(network, tmp_path):
    save_weights(network.state_dict(), tmp_path / "w.pth")
    other = build(10, model_type="VGG11", width=cases.TINY)
    other.load_state_dict(torch.load(tmp_path / "w.pth", weights_only=True))
    assert torch.equal(other.classifier.weight, network.classifier.weight)
    assert [path.name for path in tmp_path.iterdir()] == ["w.pth"]


def test_loading_does_not_touch_the_network(network, tmp_path):
    save_changed(network, tmp_path / "w.pth", classifier__bias=torch.arange(10.0))
    before = network.classifier.bias.clone()
    load_weights(tmp_path / "w.pth", network)
    assert torch.equal(network.classifier.bias, before)


def test_a_view_is_saved_without_the_memory_behind_it(tmp_path):
    save_weights({"w": torch.zeros(10_000_000)[:3]}, tmp_path / "w.pth")
    assert (tmp_path / "w.pth").stat().st_size < 10_000


def test_a_missing_file_is_named(network, tmp_path):
    assert "no such file" in sentence(tmp_path / "parent_1.pth", network)


@pytest.mark.parametrize("kept", [0, 1, 1000, -1])
def test_a_truncated_file_is_named(network, tmp_path, kept):
    path = save_changed(network, tmp_path / "w.pth")
    path.write_bytes(path.read_bytes()[:kept])
    assert "cannot be read" in sentence(path, network)


@pytest.mark.parametrize("content", [b"epoch,loss\n1,2.3\n", b"\x89PNG\r\n\x1a\n", b"PK\x03\x04 no zip"])
def test_another_kind_of_file_is_named(network, tmp_path, content):
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    assert "cannot be read" in sentence(path, network)


def test_a_folder_is_named(network, tmp_path):
    assert "cannot be read" in sentence(tmp_path, network)


class Mischief:
    """Runs code where it is unpickled: it leaves a file."""

    def __init__(self, witness: Path):
        self.witness = witness

    def __reduce__(self):
        return (Path.touch, (self.witness,))


@pytest.mark.parametrize(
    "writer", [torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing, protocol=2))]
)
def test_pickled_code_is_not_run(network, tmp_path, writer):
    witness, path = tmp_path / "witness", tmp_path / "w.pth"
    writer({"features.0.weight": Mischief(witness)}, path)
    assert "cannot be read" in sentence(path, network)
    assert not witness.exists()
    pickle.loads(pickle.dumps(Mischief(witness)))  # it would have run
    assert witness.exists()


def test_a_whole_pickled_network_is_refused(network, tmp_path):
    torch.save(network, tmp_path / "w.pth")
    assert "cannot be read" in sentence(tmp_path / "w.pth", network)


@pytest.mark.parametrize(
    "content",
    [[torch.zeros(3)], {"model": {"epoch": 3}}, {3: torch.zeros(3)}, torch.zeros(3), 7],
)
def test_something_else_than_tensors_by_name_is_refused(network, tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    assert "is not a state dict" in sentence(tmp_path / "w.pth", network)


def test_a_missing_name_is_named(network, tmp_path):
    path = save_changed(network, tmp_path / "w.pth", classifier__weight=None)
    assert "classifier.weight is missing" in sentence(path, network)


def test_an_empty_state_dict_names_the_first_parameter(network, tmp_path):
    torch.save({}, tmp_path / "w.pth")
    assert "features.0.weight is missing" in sentence(tmp_path / "w.pth", network)


def test_an_unexpected_name_is_named(network, tmp_path):
    path = save_changed(network, tmp_path / "w.pth", surprise__weight=torch.zeros(3))
    assert "surprise.weight is not part of this network" in sentence(path, network)


def test_another_shape_is_named_with_what_was_found_and_expected(network, tmp_path):
    path = save_changed(network, tmp_path / "w.pth", features__0__weight=torch.zeros(64, 3, 3, 3))
    text = sentence(path, network)
    assert "features.0.weight is (64, 3, 3, 3), expected (4, 3, 3, 3)" in text
    assert "'width'" in text


def test_weights_of_another_width_are_refused(network, tmp_path):
    save_weights(build(10, model_type="VGG11", width=0.125).state_dict(), tmp_path / "w.pth")
    text = sentence(tmp_path / "w.pth", network)
    assert "features.0.weight is (8, 3, 3, 3), expected (4, 3, 3, 3)" in text


def test_weights_for_other_classes_are_refused(network, tmp_path):
    save_weights(build(100, model_type="VGG11", width=cases.TINY).state_dict(), tmp_path / "w.pth")
    assert "classifier.weight is (100, 32), expected (10, 32)" in sentence(tmp_path / "w.pth", network)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["classifier.bias", "features.1.running_var"])
def test_values_that_are_not_finite_are_named(network, tmp_path, name, bad):
    broken = network.state_dict()[name].clone()
    broken[-1] = bad
    path = save_changed(network, tmp_path / "w.pth", **{name.replace(".", "__"): broken})
    assert f"{name} has values that are not finite" in sentence(path, network)


def test_whole_numbers_in_place_of_weights_are_named(network, tmp_path):
    path = save_changed(network, tmp_path / "w.pth", classifier__bias=torch.zeros(10, dtype=torch.int64))
    assert "classifier.bias is torch.int64, expected torch.float32" in sentence(path, network)


def test_a_failing_save_leaves_the_old_file_whole(network, tmp_path, monkeypatch):
    path = tmp_path / "parent_1.pth"
    save_weights(network.state_dict(), path)
    before = path.read_bytes()

    def half_a_save(content, file):
        file.write(before[: len(before) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", half_a_save)
    with pytest.raises(OSError, match="No space left"):
        save_weights({"w": torch.zeros(3)}, path)
    assert path.read_bytes() == before


def test_a_failing_first_save_leaves_nothing_under_the_name(tmp_path, monkeypatch):
    def half_a_save(content, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", half_a_save)
    with pytest.raises(OSError, match="No space left"):
        save_weights({"w": torch.zeros(3)}, tmp_path / "parent_1.pth")
    assert not list(tmp_path.glob("*.pth"))


def test_a_new_file_takes_the_name_at_once(tmp_path):
    """Renamed, not written over: whoever has the old file open goes on reading the old file."""
    path = tmp_path / "parent_1.pth"
    save_weights({"w": torch.zeros(3)}, path)
    before = path.read_bytes()
    with open(path, "rb") as reader:
        save_weights({"w": torch.ones(3)}, path)
        assert reader.read() == before
    assert path.read_bytes() != before


def test_a_save_after_a_killed_one_succeeds(network, tmp_path):
    (tmp_path / ".w.partial.pth").write_bytes(b"left behind by a killed job")
    save_weights(network.state_dict(), tmp_path / "w.pth")
    load_weights(tmp_path / "w.pth", network)
    assert [path.name for path in tmp_path.iterdir()] == ["w.pth"]


def test_set_weights_are_all_there_even_where_loading_would_want_to_know_more():
    """torchvision's MNASNet changes its own layers unless a state dict says its version."""
    from torchvision.models import mnasnet0_5

    network, other = mnasnet0_5(num_classes=10), mnasnet0_5(num_classes=10)
    weights = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    set_weights(network, weights)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, weights[name])
    assert not torch.equal(weights["layers.0.weight"], mnasnet0_5().layers[0].weight)


def test_weights_of_another_network_are_not_set(network):
    weights = network.state_dict()
    del weights["classifier.bias"]
    with pytest.raises(KeyError, match=r"classifier\.bias"):
        set_weights(network, weights)


def test_set_weights_do_not_share_memory(network):
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    set_weights(network, weights)
    weights["classifier.bias"] += 1
    assert not torch.equal(network.classifier.bias, weights["classifier.bias"])


def test_several_state_dicts_come_back_from_one_file_as_they_were(tmp_path):
    network = cases.network_of("RESNET18")
    models = {f"parent_{seed}": cases.random_weights("RESNET18", seed) for seed in (1, 3)}
    save_several(models, tmp_path / "aligned.pth")
    found = load_several(tmp_path / "aligned.pth", network)
    assert list(found) == ["parent_1", "parent_3"]
    for model, weights in models.items():
        assert list(found[model]) == list(weights)
        assert all(torch.equal(found[model][name], tensor) for name, tensor in weights.items())
    save_several({}, tmp_path / "none.pth")
    assert load_several(tmp_path / "none.pth", network) == {}


def test_a_bad_one_of_several_state_dicts_is_named(tmp_path):
    weights = cases.random_weights("VGG11", 1)
    broken = weights | {"classifier.weight": torch.full_like(weights["classifier.weight"], torch.nan)}
    save_several({"parent_1": weights, "parent_3": broken}, tmp_path / "aligned.pth")
    with pytest.raises(InputError, match=r"aligned\.pth, parent_3: classifier\.weight has values"):
        load_several(tmp_path / "aligned.pth", cases.network_of("VGG11"))


@pytest.mark.parametrize("make", [odd_networks.ExtraState, odd_networks.ExtraStateOfTensors])
def test_extra_state_is_left_out_of_weights_and_of_files(make, tmp_path):
    network = make()
    assert "_extra_state" in network.state_dict()
    assert "_extra_state" not in weights_of(network)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    weights = load_weights(tmp_path / "w.pth", network)
    set_weights(network, weights)
    assert weights.keys() == weights_of(network).keys()


def test_submodules_may_have_a_slash_in_their_name(tmp_path):
    network = odd_networks.SlashInAName()
    save_several({"parent_1": weights_of(network)}, tmp_path / "aligned.pth")
    assert "branch/a.weight" in load_several(tmp_path / "aligned.pth", network)["parent_1"]


def test_whole_numbers_that_parents_have_alike_stay_what_they_are():
    large = {"key": torch.tensor(2**60 + 1), "order": torch.tensor([2, 0, 1])}
    child = combine([large, large], [0.5, 0.5])
    assert all(torch.equal(child[name], tensor) for name, tensor in large.items())
    assert combine([{"n": torch.tensor(3)}, {"n": torch.tensor(6)}], [0.5, 0.5])["n"] == 4


def test_the_mean_of_complex_numbers_is_complex():
    one, other = {"z": torch.tensor([1 + 2j])}, {"z": torch.tensor([3 - 4j])}
    assert torch.equal(combine([one, other], [0.5, 0.5])["z"], torch.tensor([2 - 1j]))
    assert torch.equal(combine([one, other], [0.25, 0.75])["z"], torch.tensor([2.5 - 2.5j]))
