"""One fusion's child and parents: paths and similarities are those of their networks, by name."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from measure_cases import WIDTH, random_images, randomise

from fusionscope.errors import InputError
from fusionscope.measures.connectivity.family import (
    Family,
    load_family,
    measure_paths,
    measure_similarities,
    measure_variances,
    path_rows,
)
from fusionscope.measures.connectivity.paths import PATH_COLUMNS, line, measure_path, repaired_line
from fusionscope.measures.connectivity.similarity import cka_by_group, gram_matrices
from fusionscope.measures.connectivity.variance import layer_variances
from fusionscope.networks.build import build
from fusionscope.weights import save_several

SPEC = {"model_type": "VGG11_NOBIAS_NOBN", "width": WIDTH, "input_size": 32}


@pytest.fixture(scope="module")
def weights():
    """Of three parents, of the first and third aligned to the second (here: other ones), and of a child."""
    names = ("parent_1", "parent_2", "parent_3", "aligned_1", "aligned_3", "child")
    return {name: randomise(build(10, **SPEC), seed).state_dict() for seed, name in enumerate(names)}


@pytest.fixture(scope="module")
def family(weights, tmp_path_factory) -> Family:
    folder = tmp_path_factory.mktemp("weights")
    for name in ("parent_1", "parent_2", "parent_3", "child"):
        torch.save(weights[name], folder / f"{name}.pth")
    aligned = {"parent_1": weights["aligned_1"], "parent_3": weights["aligned_3"]}
    save_several(aligned, folder / "child_aligned.pth")
    parents = ("parent_1", "parent_2", "parent_3")
    return load_family(
        folder / "child.pth",
        folder / "child_aligned.pth",
        [folder / f"{name}.pth" for name in parents],
        network=SPEC,
        parent_networks=dict.fromkeys(parents, SPEC),
        reference="parent_2",
        num_classes=10,
        device="cpu",
    )


def same(found, expected) -> bool:
    return all(torch.equal(found[name], expected[name].float()) for name in expected)


def test_the_aligned_parents_are_those_of_the_file_and_the_reference_is_itself(family, weights):
    assert list(family.parents) == list(family.aligned) == ["parent_1", "parent_2", "parent_3"]
    assert same(family.child, weights["child"])
    assert same(family.parents["parent_1"], weights["parent_1"])
    assert same(family.aligned["parent_1"], weights["aligned_1"])
    assert same(family.aligned["parent_2"], weights["parent_2"])
    assert same(family.aligned["parent_3"], weights["aligned_3"])


def test_paths_lead_from_each_aligned_parent_to_the_reference(family):
    images = random_images(6, dtype=torch.float32)
    paths = measure_paths(family, images, points=3, batch_size=4)
    assert list(paths) == ["parent_1", "parent_3"]
    for name, path in paths.items():
        between = line(family.aligned[name], family.aligned["parent_2"])
        assert path == measure_path(family.child_network, between, images, points=3, batch_size=4)
    rows = path_rows(paths, seed=7, fusion="naive_fused")
    assert len(rows) == 6
    assert all(tuple(row) == PATH_COLUMNS for row in rows)
    assert [row["parent"] for row in rows] == ["parent_1"] * 3 + ["parent_3"] * 3


def test_points_are_repaired_on_the_images_of_the_child_s_own_repair(family):
    images, few = random_images(6, dtype=torch.float32), random_images(4, seed=1, dtype=torch.float32)
    biased = Family(
        build(10, **SPEC, biases=True),
        family.child,
        family.networks,
        family.parents,
        family.aligned,
        family.reference,
    )
    found = measure_paths(biased, images, points=2, batch_size=4, repair_images=few)["parent_1"]
    between = partial(repaired_line, family.networks["parent_2"], few)
    point = between(family.aligned["parent_1"], family.aligned["parent_2"])
    assert found == measure_path(biased.child_network, point, images, points=2, batch_size=4)


def test_similarities_are_of_the_child_and_each_parent_as_it_was(family):
    images = random_images(6, dtype=torch.float32)
    found = measure_similarities(family, images, 4)
    assert list(found) == ["parent_1", "parent_2", "parent_3"]
    child = gram_matrices(family.child_network, family.child, images, 4)
    for name, by_group in found.items():
        parent = gram_matrices(family.networks[name], family.parents[name], images, 4)
        assert by_group == cka_by_group(child, parent)
        assert all(number.value is not None for number in by_group.values())


def test_variances_are_those_of_the_child_beside_the_mean_of_the_parents_as_they_were(family):
    images = random_images(6, dtype=torch.float32)
    found = measure_variances(family, images, 4)
    child = layer_variances(family.child_network, family.child, images, 4)
    parents = [layer_variances(family.networks[name], w, images, 4) for name, w in family.parents.items()]
    assert [each.layer for each in found] == list(child)
    for each in found:
        assert each.child == child[each.layer]
        assert each.parents == pytest.approx(sum(parent[each.layer] for parent in parents) / 3, rel=1e-12)


def test_a_child_whose_outputs_are_not_finite_ends_it_in_a_sentence(family):
    broken = {name: 1e30 * tensor for name, tensor in family.child.items()}
    child = replace(family, child=broken)
    with pytest.raises(InputError, match=r"^the child: its outputs are not finite on \d of 6 images"):
        measure_variances(child, random_images(6, dtype=torch.float32), 4)
