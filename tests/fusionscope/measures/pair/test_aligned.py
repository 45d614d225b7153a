"""aligned_gradient_cosine and aligned_weight_distance of parents that are aligned to a reference."""

import networks_for_fusion as nets
import numpy as np
import pytest
import torch
from measure_cases import WIDTH, random_images, randomise
from torch import nn

from fusionscope.errors import InputError
from fusionscope.fusion.fuse import fuse
from fusionscope.measures.pair.aligned import (
    AlignedParents,
    distances_by_layer,
    load_aligned,
    measure_alignment,
)
from fusionscope.measures.pair.cost import NOTHING_ALIGNED
from fusionscope.measures.pair.distance import relative_distance, weight_distance
from fusionscope.measures.pair.gradients import gradient_cosine
from fusionscope.networks.build import build
from fusionscope.state import copy_of
from fusionscope.weights import save_several, set_weights, weights_of

SPEC = {"model_type": "VGG11_NOBIAS_NOBN", "width": WIDTH, "input_size": 32}
IMAGES = random_images(12)


def with_weights(network, weights):
    network = copy_of(network).double().eval()
    set_weights(network, weights)
    return network


@pytest.mark.parametrize("method", ["optimal_transport", "weight_matching"])
@pytest.mark.parametrize("name", ["VGG11", "RESNET18"])
def test_a_permuted_copy_is_the_reference_once_it_is_aligned(method, name):
    network, weights = nets.network_of(name), nets.weights_of(name, 1)
    copy, _ = nets.permuted(network, weights, 3)
    fusion = fuse([network] * 2, [copy, weights], method=method)
    reference, parent = with_weights(network, weights), with_weights(network, copy)
    aligned = with_weights(network, fusion.aligned[0])
    found = AlignedParents(reference, {"parent_1": parent}, {"parent_1": aligned})
    numbers = measure_alignment(found, random_images(12), 8)
    assert numbers["aligned_weight_distance"].value == pytest.approx(0, abs=1e-12)
    assert numbers["aligned_gradient_cosine"].value == pytest.approx(1, abs=1e-10)
    assert weight_distance([reference, parent], [(0, 1)]).value > 0.1
    assert gradient_cosine([reference, parent], [(0, 1)], random_images(12), 8).value < 0.9
    layers = distances_by_layer(found)["parent_1"]
    assert max(each.before for each in layers) > 0.1
    assert max(each.after or 0 for each in layers) == pytest.approx(0, abs=1e-12)


def test_the_gradient_of_an_aligned_network_is_the_unaligned_one_moved_alike():
    """A permutation of the hidden neurons permutes the gradient as it permutes the weights."""

    def mlp(seed):
        return randomise(nn.Sequential(nn.Flatten(), nn.Linear(48, 5), nn.Tanh(), nn.Linear(5, 10)), seed)

    def gradients(network):
        network.zero_grad()
        nn.functional.cross_entropy(network(images.normalised()), images.labels).backward()
        return [p.grad.numpy().copy() for p in network.parameters()]

    def moved(parts):
        first, bias, second, last = parts
        return [first[order], bias[order], second[:, order], last]

    images, order = random_images(9, size=4), [3, 1, 4, 0, 2]
    reference, parent = mlp(1), mlp(2)
    aligned = copy_of(parent)
    with torch.no_grad():
        for p, values in zip(aligned.parameters(), moved([*parent.parameters()]), strict=True):
            p.copy_(values)
    a, b = (np.concatenate([part.ravel() for part in parts]) for parts in (
        gradients(reference), moved(gradients(parent)),
    ))  # fmt: skip
    found = measure_alignment(AlignedParents(reference, {"p": parent}, {"p": aligned}), images, 4)
    expected = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert found["aligned_gradient_cosine"].value == pytest.approx(expected, rel=1e-10)
    w, v = (
        np.concatenate([p.detach().numpy().ravel() for p in n.parameters()]) for n in (reference, aligned)
    )
    distance = np.linalg.norm(w - v) / np.hypot(np.linalg.norm(w), np.linalg.norm(v))
    assert found["aligned_weight_distance"].value == pytest.approx(distance, rel=1e-12)


@pytest.fixture(scope="module")
def weights():
    names = ("parent_1", "parent_2", "parent_3", "aligned_1", "aligned_3")
    return {name: randomise(build(10, **SPEC), seed).state_dict() for seed, name in enumerate(names)}


@pytest.fixture
def files(weights, tmp_path):
    for name in ("parent_1", "parent_2", "parent_3"):
        torch.save(weights[name], tmp_path / f"{name}.pth")
    aligned = {f"parent_{n}": weights[f"aligned_{n}"] for n in (1, 3)} | {"parent_2": weights["parent_2"]}
    save_several(aligned, tmp_path / "aligned.pth")
    return tmp_path


def loaded(folder, names=("parent_1", "parent_2", "parent_3"), spec=SPEC):
    return load_aligned(
        folder / "aligned.pth",
        [folder / f"{name}.pth" for name in names],
        parent_networks=dict.fromkeys(names, spec),
        reference="parent_2",
        num_classes=10,
        device="cpu",
    )


def test_of_three_parents_the_two_that_were_aligned_are_compared_with_the_reference(files, weights):
    found = loaded(files)
    assert list(found.parents) == list(found.aligned) == ["parent_1", "parent_3"]
    for name, network in (("parent_1", found.parents["parent_1"]), ("aligned_3", found.aligned["parent_3"])):
        assert all(torch.equal(v, weights[name][k].float()) for k, v in weights_of(network).items())
    names = [name for name, _ in found.reference.named_parameters()]
    each = [relative_distance(weights[f"aligned_{n}"], weights["parent_2"], names) for n in (1, 3)]
    numbers = measure_alignment(found, random_images(12, dtype=torch.float32), 8)
    assert numbers["aligned_weight_distance"].value == pytest.approx(np.mean(each), rel=1e-6)
    layers = distances_by_layer(found)
    assert list(layers) == ["parent_1", "parent_3"]
    assert [each.layer for each in layers["parent_1"]] == [name.removesuffix(".weight") for name in names]


def test_where_nothing_was_aligned_the_numbers_say_so_and_there_are_no_layers(files):
    save_several({}, files / "aligned.pth")
    found = loaded(files)
    numbers = measure_alignment(found, IMAGES, 8)
    assert {number.reason for number in numbers.values()} == {NOTHING_ALIGNED}
    assert distances_by_layer(found) == {}


def test_a_parent_of_another_width_is_measured_as_it_was_aligned(files, weights):
    wide = {"model_type": "VGG11_NOBIAS_NOBN", "width": 2 * WIDTH, "input_size": 32}
    torch.save(randomise(build(10, **wide), 7).state_dict(), files / "parent_1.pth")
    found = load_aligned(
        files / "aligned.pth",
        [files / "parent_1.pth", files / "parent_2.pth"],
        parent_networks={"parent_1": wide, "parent_2": SPEC},
        reference="parent_2",
        num_classes=10,
        device="cpu",
    )
    del found.aligned["parent_3"]  # the file is of three
    numbers = measure_alignment(found, random_images(12, dtype=torch.float32), 8)
    assert all(number.value is not None for number in numbers.values())
    layers = distances_by_layer(found)["parent_1"]
    assert [each.before for each in layers] == [None] * len(layers)
    assert all(each.after for each in layers)


def test_weights_that_do_not_fit_are_named(files):
    with pytest.raises(InputError, match=r"parent_1\.pth"):
        loaded(files, spec=SPEC | {"width": 2 * WIDTH})
