"""Linear CKA against the Gram matrices of all examples, and against what must not change it."""

import math
from dataclasses import replace

import cases
import numpy as np
import pytest
import torch
from measure_cases import random_images, randomise
from torch import Tensor, nn
from torch.nn import functional as F

from fusionscope.alignment.groups import alignment_groups
from fusionscope.errors import InputError
from fusionscope.images import Images
from fusionscope.measures.connectivity.similarity import Similarity, cka_by_group, mean_similarity
from fusionscope.networks.build import build


def cka(*batches: tuple[Tensor, Tensor]) -> float:
    similarity = Similarity()
    for x, y in batches:
        similarity.add(x, y)
    return similarity.cka()


def cka_by_gram_matrices(x: np.ndarray, y: np.ndarray) -> float:
    """HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) with HSIC(K, L) = tr(K H L H); x (n, k), y (m, k)."""
    centring = np.eye(x.shape[1]) - 1 / x.shape[1]

    def hsic(one: np.ndarray, other: np.ndarray) -> float:
        return np.trace(one @ centring @ other @ centring)

    gram_x, gram_y = x.T @ x, y.T @ y
    return hsic(gram_x, gram_y) / math.sqrt(hsic(gram_x, gram_x) * hsic(gram_y, gram_y))


def representations(n: int = 5, m: int = 7, k: int = 40, seed: int = 0) -> tuple[Tensor, Tensor]:
    """x (n, k) and y (m, k) with something in common, and means that are not zero."""
    stream = torch.Generator().manual_seed(seed)
    common, x, y = (torch.randn(size, k, generator=stream, dtype=torch.float64) for size in (3, n, m))
    mix_x, mix_y = (torch.randn(size, 3, generator=stream, dtype=torch.float64) for size in (n, m))
    return x + mix_x @ common + 4, y + mix_y @ common - 2


def rotation(size: int, seed: int = 1) -> Tensor:
    stream = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(size, size, generator=stream, dtype=torch.float64))[0]


def digits_in_float64(count: int = 24) -> Images:
    images = cases.digits()["test"].take(torch.arange(count))
    return replace(images, mean=images.mean.double(), std=images.std.double())


class TwoConvolutions(nn.Module):
    """Hidden neurons at hand: `hidden(x)` gives the first and second layer's, after their ReLU."""

    def __init__(self, width: int = 4):
        super().__init__()
        self.input_shape = (3, 6, 6)
        self.one = nn.Conv2d(3, width, 3, padding=1)
        self.two = nn.Conv2d(width, width + 1, 3)
        self.last = nn.Linear((width + 1) * 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.flatten(F.relu(self.two(F.relu(self.one(x)))), 1))

    def hidden(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first = F.relu(self.one(x))
        return first, F.relu(self.two(first))


def two_convolutions(seed: int, width: int = 4) -> TwoConvolutions:
    return randomise(TwoConvolutions(width), seed)


def similarity_of(x: nn.Module, y: nn.Module, images: Images, batch_size: int = 10) -> dict[str, float]:
    return cka_by_group(x, x.state_dict(), y, y.state_dict(), images, batch_size)


def test_it_is_the_alignment_of_the_centred_gram_matrices():
    for seed in range(3):
        x, y = representations(seed=seed)
        found = cka((x, y))
        assert 0.1 < found < 0.9
        assert found == pytest.approx(cka_by_gram_matrices(x.numpy(), y.numpy()), rel=1e-10)


def test_it_is_the_papers_ratio_of_norms_of_centred_matrices():
    x, y = representations()
    a, b = (m.T - m.T.mean(0) for m in (x, y))
    norm = torch.linalg.matrix_norm
    expected = norm(b.T @ a) ** 2 / (norm(a.T @ a) * norm(b.T @ b))
    assert cka((x, y)) == pytest.approx(expected.item(), rel=1e-12)


def test_rotating_scaling_and_shifting_change_nothing_and_squeezing_does():
    x, y = representations()
    expected = cka((x, y))
    assert cka((rotation(5) @ x, y)) == pytest.approx(expected, rel=1e-10)
    assert cka((x, rotation(7) @ y)) == pytest.approx(expected, rel=1e-10)
    assert cka((-1e-3 * x, 1e3 * y + 5)) == pytest.approx(expected, rel=1e-10)
    assert abs(cka((torch.diag(torch.arange(1.0, 6).double()) @ x, y)) - expected) > 0.01


def test_it_is_symmetric():
    x, y = representations()
    assert cka((x, y)) == pytest.approx(cka((y, x)), rel=1e-12)


def test_a_representation_is_wholly_similar_to_itself_and_what_is_unrelated_is_not():
    x, _ = representations(k=4000)
    noise = torch.randn(7, 4000, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    assert cka((x, x)) == pytest.approx(1, rel=1e-12)
    assert 0 <= cka((x, noise)) < 0.02


def test_examples_may_come_in_batches_of_any_size():
    x, y = representations(k=40)
    batches = zip(x.split([1, 7, 30, 2], 1), y.split([1, 7, 30, 2], 1), strict=True)
    assert cka(*batches) == pytest.approx(cka((x, y)), rel=1e-10)


@pytest.mark.parametrize("constant", [0.0, 0.1])
def test_what_does_not_vary_has_no_similarity(constant):
    x, y = representations()
    same = torch.full_like(x, constant)
    assert math.isnan(cka((same, y)))
    assert math.isnan(cka((y, same)))
    assert math.isnan(cka(*[(part, part) for part in same.split(7, 1)]))


def test_single_precision_rounding_is_no_variation_but_one_neuron_that_varies_is():
    x, y = representations()
    rounding = torch.full_like(x, 3.0) * (1 + 1e-7 * torch.sign(x - 4))
    assert math.isnan(cka((rounding, y)))
    rounding[2] = 1e-3 * x[2]
    assert cka((rounding, y)) == pytest.approx(cka((x[2:3], y)), rel=1e-4)


def test_tiny_representations_keep_their_similarity():
    x, y = representations()
    assert cka((1e-60 * x, 1e-60 * y)) == pytest.approx(cka((x, y)), rel=1e-10)


@pytest.mark.parametrize("widths", [(4, 4), (4, 6)])
def test_groups_are_compared_on_what_their_readers_see_at_every_image_and_place(widths):
    x, y = (two_convolutions(seed, width) for seed, width in enumerate(widths))
    images = random_images(9, size=6, classes=3, seed=2)
    found = similarity_of(x, y, images)
    assert list(found) == ["one", "two"]
    with torch.no_grad():
        layers = zip(x.hidden(images.normalised()), y.hidden(images.normalised()), strict=True)
    for name, hidden in zip(found, layers, strict=True):
        dense = (activation.movedim(1, 0).flatten(1).numpy() for activation in hidden)
        assert found[name] == pytest.approx(cka_by_gram_matrices(*dense), rel=1e-10)


def test_the_batch_size_does_not_matter():
    x, y = two_convolutions(0), two_convolutions(1)
    images = random_images(11, size=6, classes=3, seed=2)
    one, other = (similarity_of(x, y, images, batch_size=size) for size in (4, 11))
    assert one == pytest.approx(other, rel=1e-10)


@pytest.mark.parametrize("model_type", ["VGG11", "VGG11_NOBN", "RESNET18"])
def test_networks_are_between_unlike_and_like_and_wholly_like_themselves(model_type):
    network = cases.network_of(model_type)
    a, b = (cases.trained_weights(model_type, parent) for parent in (1, 2))
    images = digits_in_float64()
    names = [group.name for group in alignment_groups(network).groups]
    found = cka_by_group(network, a, network, b, images, 16)
    assert list(found) == names
    assert all(0 < value < 0.999 for value in found.values())
    itself = cka_by_group(network, a, network, a, images, 16)
    assert itself == pytest.approx(dict.fromkeys(names, 1), rel=1e-10)


def test_a_permuted_copy_is_wholly_similar():
    network, weights = cases.network_of("VGG11_NOBN"), cases.trained_weights("VGG11_NOBN", 1)
    permuted = dict(weights)
    order = torch.arange(len(weights["features.0.bias"])).flip(0)
    for name in ("features.0.weight", "features.0.bias"):
        permuted[name] = weights[name][order]
    permuted["features.3.weight"] = weights["features.3.weight"][:, order]
    assert not torch.equal(permuted["features.0.weight"], weights["features.0.weight"])
    found = cka_by_group(network, weights, network, permuted, digits_in_float64(), 16)
    assert found == pytest.approx(dict.fromkeys(found, 1), rel=1e-10)


def test_single_precision_gives_the_same_to_its_own_accuracy():
    weights = [cases.trained_weights("VGG11", parent) for parent in (1, 2)]
    images = digits_in_float64()
    single = build(10, model_type="VGG11", width=cases.TINY)
    double = cases.network_of("VGG11")
    found, expected = (
        cka_by_group(network, weights[0], network, weights[1], images, 16) for network in (single, double)
    )
    assert found == pytest.approx(expected, rel=1e-3)


def test_a_dead_layer_has_no_similarity_and_others_keep_theirs():
    x, y = two_convolutions(0), two_convolutions(1)
    images = random_images(9, size=6, classes=3, seed=2)
    expected = similarity_of(x, y, images)
    with torch.no_grad():
        x.two.bias.fill_(-1e6)
    found = similarity_of(x, y, images)
    assert math.isnan(found["two"])
    assert found["one"] == pytest.approx(expected["one"], rel=1e-12)


def test_the_networks_are_left_as_they_were():
    x, y = two_convolutions(0).train(), two_convolutions(1)
    before = [{name: tensor.clone() for name, tensor in n.state_dict().items()} for n in (x, y)]
    weights = two_convolutions(2).state_dict()
    cka_by_group(x, weights, y, weights, random_images(4, size=6, classes=3), 4)
    assert x.training
    assert not y.training
    for network, state in zip((x, y), before, strict=True):
        for name, tensor in network.state_dict().items():
            assert torch.equal(tensor, state[name])


def test_networks_of_other_groups_are_refused():
    vgg, resnet = cases.network_of("VGG11_NOBN"), cases.network_of("RESNET18_NOBN")
    with pytest.raises(InputError, match="groups"):
        similarity_of(vgg, resnet, digits_in_float64(2))


def test_the_mean_similarity_counts_every_group_and_parent_that_has_a_number():
    by_parent = {"parent_1": {"a": 0.5, "b": math.nan}, "parent_2": {"a": 0.25, "b": 0.75}}
    assert mean_similarity(by_parent)["mean_cka"].value == 0.5
    assert mean_similarity({"parent_1": {"a": math.nan}}) == mean_similarity({}) == {}
