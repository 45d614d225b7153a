"""Debiased linear CKA against the estimator written out, by hand, and against what must not change it."""

import math
from dataclasses import replace

import cases
import numpy as np
import pytest
import torch
from measure_cases import random_images, randomise
from torch import Tensor, nn
from torch.nn import functional as F

from fusionscope.alignment.groups import ActivationAxis, alignment_groups
from fusionscope.errors import InputError
from fusionscope.images import Images
from fusionscope.measurement import Measurement, undefined
from fusionscope.measures.connectivity import similarity
from fusionscope.measures.connectivity.similarity import (
    ALL_ALIKE,
    CKA_COLUMNS,
    FEW,
    NO_GROUPS,
    NOT_FINITE,
    add_products,
    cka_by_group,
    come_image_after_image,
    gram_matrices,
    mean_similarity,
    passes,
    similarity_rows,
    u_centred,
)
from fusionscope.networks.build import build


def measured(x: Tensor, y: Tensor) -> Measurement:
    """CKA of representations (n, p) and (n, q), rows are images, as networks' are compared."""
    grams = []
    for features in (x, y):
        gram = torch.zeros(len(features), len(features), dtype=torch.float64)
        add_products(gram, features)
        grams.append({"group": u_centred(gram)})
    return cka_by_group(*grams)["group"]


def cka(x: Tensor, y: Tensor) -> float:
    return measured(x, y).value


def hsic_by_song(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741  (the paper's letters)
    """The unbiased estimator HSIC_1 of Song et al. 2012, JMLR 13, as it stands there."""
    n, one = len(k), np.ones(len(k))
    k, l = (m - np.diag(np.diag(m)) for m in (k, l))  # noqa: E741
    middle = (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
    return (np.trace(k @ l) + middle - 2 / (n - 2) * one @ k @ l @ one) / (n * (n - 3))


def cka_by_song(x: np.ndarray, y: np.ndarray) -> float:
    """The ratio of Nguyen et al. 2021, equation 3, of representations (n, p) and (n, q)."""
    k, l = x @ x.T, y @ y.T  # noqa: E741
    return hsic_by_song(k, l) / math.sqrt(hsic_by_song(k, k) * hsic_by_song(l, l))


def published_cka(x: Tensor, y: Tensor) -> float:
    """The biased ratio of Kornblith et al. 2019, section 3."""
    x, y = x - x.mean(0), y - y.mean(0)
    norm = torch.linalg.matrix_norm
    return (norm(y.T @ x) ** 2 / (norm(x.T @ x) * norm(y.T @ y))).item()


def representations(n: int = 40, p: int = 5, q: int = 7, seed: int = 0) -> tuple[Tensor, Tensor]:
    """x (n, p) and y (n, q) with something in common, and means that are not zero."""
    stream = torch.Generator().manual_seed(seed)
    common, x, y = (torch.randn(n, size, generator=stream, dtype=torch.float64) for size in (3, p, q))
    mix_x, mix_y = (torch.randn(3, size, generator=stream, dtype=torch.float64) for size in (p, q))
    return x + common @ mix_x + 4, y + common @ mix_y - 2


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


def similarity_of(x: nn.Module, y: nn.Module, images: Images, batch_size: int = 10) -> dict[str, Measurement]:
    return cka_by_group(*(gram_matrices(each, each.state_dict(), images, batch_size) for each in (x, y)))


def values(found: dict[str, Measurement]) -> dict[str, float]:
    return {name: number.value for name, number in found.items()}


# Of two representations


@pytest.mark.parametrize("n", [4, 5, 40])
def test_it_is_the_ratio_of_the_unbiased_estimators(n):
    for seed in range(3):
        x, y = representations(n, seed=seed)
        assert cka(x, y) == pytest.approx(cka_by_song(x.numpy(), y.numpy()), rel=1e-9)


def test_four_images_by_hand():
    """Images 1 and 2 alike and 3 and 4, against 1 and 3 alike and 2 and 4.

    Without diagonal, rows add to 1 and all to 4: after centring 2/3 where alike, -1/3 elsewhere. Hence
    <A, B> = 2 (4 (2/3)(-1/3) + 2 (1/3)^2) = -4/3 and <A, A> = 2 (2 (2/3)^2 + 4 (1/3)^2) = 8/3.
    """
    first, second = torch.eye(2, dtype=torch.float64)
    x, y = torch.stack([first, first, second, second]), torch.stack([first, second, first, second])
    assert cka(x, y) == pytest.approx(-1 / 2, rel=1e-12)
    assert cka(x, x) == pytest.approx(1, rel=1e-12)


def test_a_centred_matrix_has_rows_that_add_to_zero_and_no_diagonal():
    x, _ = representations()
    centred = u_centred(x @ x.T)
    assert centred.sum(0).abs().max() < 1e-10 * centred.norm()
    assert centred.diagonal().abs().max() == 0


def test_rotating_scaling_and_shifting_change_nothing_and_squeezing_does():
    x, y = representations()
    expected = cka(x, y)
    assert 0.1 < expected < 0.9
    assert cka(x @ rotation(5), y) == pytest.approx(expected, rel=1e-10)
    assert cka(x, y @ rotation(7)) == pytest.approx(expected, rel=1e-10)
    assert cka(-1e-3 * x, 1e3 * y + 5) == pytest.approx(expected, rel=1e-10)
    assert cka(x + torch.arange(5).double(), y) == pytest.approx(expected, rel=1e-10)
    assert abs(cka(x * torch.arange(1.0, 6), y) - expected) > 0.01


def test_it_is_symmetric_and_one_of_a_representation_and_itself():
    x, y = representations()
    assert cka(x, y) == pytest.approx(cka(y, x), rel=1e-12)
    assert cka(x, x) == pytest.approx(1, rel=1e-12)


def test_unrelated_features_have_none_on_average_however_many_they_are():
    """The published ratio is near 0.5 with as many features as images, whatever they are."""
    stream = torch.Generator().manual_seed(0)
    pairs = torch.randn(200, 2, 50, 50, generator=stream, dtype=torch.float64)
    found = np.array([cka(x, y) for x, y in pairs])
    error = found.std(ddof=1) / math.sqrt(len(found))
    assert error < 0.005
    assert abs(found.mean()) < 3 * error
    assert (found < 0).any()  # nothing is clipped
    assert np.mean([published_cka(x, y) for x, y in pairs]) > 0.4


def test_shuffled_images_have_none_on_average_though_features_outnumber_them():
    x, y = representations(30, p=60, q=60)
    stream = torch.Generator().manual_seed(1)
    found = np.array([cka(x, y[torch.randperm(30, generator=stream)]) for _ in range(300)])
    assert abs(found.mean()) < 3 * found.std(ddof=1) / math.sqrt(len(found))


@pytest.mark.parametrize("constant", [0.0, 0.1])
def test_what_does_not_vary_has_no_similarity(constant):
    x, y = representations()
    same = torch.full_like(x, constant)
    assert measured(same, y) == measured(y, same) == undefined(ALL_ALIKE)


def test_a_single_image_that_differs_makes_none_more_alike_than_others():
    x, y = representations()
    alone = torch.zeros_like(x)
    alone[3] = x[3]
    assert measured(alone, y) == undefined(ALL_ALIKE)


def test_single_precision_rounding_is_no_variation_but_one_neuron_that_varies_is():
    x, y = representations()
    rounding = torch.full_like(x, 3.0) * (1 + 1e-7 * torch.sign(x - 4))
    assert measured(rounding, y) == undefined(ALL_ALIKE)
    rounding[:, 2] = 1e-3 * x[:, 2]
    assert cka(rounding, y) == pytest.approx(cka(x[:, 2:3], y), rel=1e-4)


def test_tiny_representations_keep_their_similarity():
    x, y = representations()
    assert cka(1e-60 * x, 1e-60 * y) == pytest.approx(cka(x, y), rel=1e-10)


def test_activations_that_are_not_finite_have_no_similarity():
    x, y = representations()
    x[3, 2] = math.inf
    assert measured(x, y) == measured(y, x) == undefined(NOT_FINITE)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_fewer_than_four_images_have_no_similarity(n):
    assert measured(*representations(n)) == undefined(FEW)


# Of two networks


@pytest.mark.parametrize("widths", [(4, 4), (4, 6)])
def test_groups_are_compared_on_what_their_readers_see_of_whole_images(widths):
    x, y = (two_convolutions(seed, width) for seed, width in enumerate(widths))
    images = random_images(9, size=6, classes=3, seed=2)
    found = similarity_of(x, y, images)
    assert list(found) == ["one", "two"]
    with torch.no_grad():
        layers = zip(x.hidden(images.normalised()), y.hidden(images.normalised()), strict=True)
    for name, hidden in zip(found, layers, strict=True):
        dense = (activation.flatten(1).numpy() for activation in hidden)
        assert found[name].value == pytest.approx(cka_by_song(*dense), rel=1e-9)


def test_neither_the_batch_size_nor_how_many_features_are_held_matters(monkeypatch):
    x, y = two_convolutions(0), two_convolutions(1)
    images = random_images(11, size=6, classes=3, seed=2)
    expected = values(similarity_of(x, y, images, batch_size=11))
    assert values(similarity_of(x, y, images, batch_size=4)) == pytest.approx(expected, rel=1e-10)
    monkeypatch.setattr(similarity, "NUMBERS_AT_ONCE", 11 * 50)  # one has 144 features, two has 80
    monkeypatch.setattr(similarity, "FEATURES_AT_ONCE", 7)
    assert values(similarity_of(x, y, images, batch_size=4)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("at_once", [1, 7, 10, 12, 100])
def test_passes_look_at_each_feature_once_and_at_no_more_than_is_held(at_once):
    sizes = {"a": 5, "b": 12, "c": 1}
    seen = {name: [] for name in sizes}
    for part in passes(sizes, at_once):
        assert sum(columns.stop - columns.start for columns in part.values()) <= at_once
        for name, columns in part.items():
            seen[name] += range(sizes[name])[columns]
    assert seen == {name: list(range(size)) for name, size in sizes.items()}
    assert len(passes(sizes, at_once)) == math.ceil(18 / at_once)


@pytest.mark.parametrize("model_type", ["VGG11", "VGG11_NOBN", "RESNET18"])
def test_networks_are_less_like_others_than_like_themselves(model_type):
    network = cases.network_of(model_type)
    images = digits_in_float64()
    a, b = (
        gram_matrices(network, cases.trained_weights(model_type, parent), images, 16) for parent in (1, 2)
    )
    names = [group.name for group in alignment_groups(network).groups]
    found = values(cka_by_group(a, b))
    assert list(found) == names
    assert all(-0.2 < value < 0.999 for value in found.values())
    assert values(cka_by_group(a, a)) == pytest.approx(dict.fromkeys(names, 1), rel=1e-10)


def test_a_permuted_copy_is_wholly_similar():
    network, weights = cases.network_of("VGG11_NOBN"), cases.trained_weights("VGG11_NOBN", 1)
    permuted = dict(weights)
    order = torch.arange(len(weights["features.0.bias"])).flip(0)
    for name in ("features.0.weight", "features.0.bias"):
        permuted[name] = weights[name][order]
    permuted["features.3.weight"] = weights["features.3.weight"][:, order]
    assert not torch.equal(permuted["features.0.weight"], weights["features.0.weight"])
    images = digits_in_float64()
    found = values(cka_by_group(*(gram_matrices(network, w, images, 16) for w in (weights, permuted))))
    assert found == pytest.approx(dict.fromkeys(found, 1), rel=1e-10)


def test_single_precision_gives_the_same_to_its_own_accuracy():
    weights = [cases.trained_weights("VGG11", parent) for parent in (1, 2)]
    images = digits_in_float64()
    single = build(10, model_type="VGG11", width=cases.TINY)
    double = cases.network_of("VGG11")
    found, expected = (
        values(cka_by_group(*(gram_matrices(network, each, images, 16) for each in weights)))
        for network in (single, double)
    )
    assert found == pytest.approx(expected, abs=1e-4)


def test_a_dead_layer_has_no_similarity_and_others_keep_theirs():
    x, y = two_convolutions(0), two_convolutions(1)
    images = random_images(9, size=6, classes=3, seed=2)
    expected = similarity_of(x, y, images)
    with torch.no_grad():
        x.two.bias.fill_(-1e6)
    found = similarity_of(x, y, images)
    assert found["two"] == undefined(ALL_ALIKE)
    assert found["one"].value == pytest.approx(expected["one"].value, rel=1e-12)


def test_the_networks_are_left_as_they_were():
    network = two_convolutions(0).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    gram_matrices(network, two_convolutions(2).state_dict(), random_images(4, size=6, classes=3), 4)
    assert network.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_activations_in_which_images_are_not_the_outer_axis_are_noticed():
    """Tokens before images, as transformers may have them, and what no image changes."""
    axis = ActivationAxis("node", 2, torch.arange(5).view(5, 1))
    tokens = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0))  # images, tokens, neurons
    assert come_image_after_image(tokens[:1], tokens, axis)
    windows = tokens.view(4, 2, 5)  # those of an image lie together
    assert come_image_after_image(windows[:2], windows, axis)
    tokens_first = tokens.transpose(0, 1)
    assert not come_image_after_image(tokens_first[:, :1], tokens_first, axis)
    assert not come_image_after_image(tokens, tokens, axis)


def test_a_network_that_cannot_be_traced_is_refused():
    class Branching(TwoConvolutions):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x if x.sum() > 0 else -x)

    network = randomise(Branching(), 0)
    with pytest.raises(InputError, match=r"torch\.fx cannot trace"):
        gram_matrices(network, network.state_dict(), random_images(4, size=6), 4)


# Of several parents


def test_the_mean_similarity_counts_every_group_and_parent_that_has_a_number():
    by_parent = {
        "parent_1": {"a": Measurement(0.5), "b": undefined(ALL_ALIKE)},
        "parent_2": {"a": Measurement(-0.25), "b": Measurement(0.5)},
    }
    assert mean_similarity(by_parent) == {"mean_cka": Measurement(0.25)}
    assert mean_similarity({"parent_1": {"a": undefined(FEW)}}) == {"mean_cka": undefined(FEW)}
    assert mean_similarity({}) == {"mean_cka": undefined(NO_GROUPS)}


def test_rows_say_where_there_is_no_number_and_why():
    by_parent = {"parent_1": {"a": Measurement(0.5), "b": undefined(FEW)}}
    rows = similarity_rows(by_parent, seed=7, model="child")
    assert [tuple(row) for row in rows] == [CKA_COLUMNS] * 2
    assert [list(row.values()) for row in rows] == [
        [7, "child", "parent_1", "a", 0.5, ""],
        [7, "child", "parent_1", "b", "", FEW],
    ]
