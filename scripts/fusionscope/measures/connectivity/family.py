"""A child and its parents: the lines between the aligned parents, and what the child shares with each."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fusionscope.errors import InputError
from fusionscope.images import FUSED_AT_ONCE, Images
from fusionscope.measurement import Measurement
from fusionscope.measures.connectivity.paths import PathPoint, line, measure_path, repaired_line
from fusionscope.measures.connectivity.similarity import cka_by_group, gram_matrices
from fusionscope.measures.connectivity.variance import LayerVariance, compare, layer_variances
from fusionscope.networks.build import build
from fusionscope.weights import Weights, load_several, load_weights


@dataclass(frozen=True)
class Family:
    """One fusion's networks and weights; parents by name."""

    child_network: nn.Module
    child: Weights
    networks: dict[str, nn.Module]  # of the parents, each as wide as it is
    parents: dict[str, Weights]
    aligned: dict[str, Weights]  # to the reference, which is itself among them
    reference: str  # the name of the parent that the others were aligned to


def load_family(
    child: str | Path,
    aligned: str | Path,
    parents: Sequence[str | Path],
    *,
    network: Mapping[str, Any],
    parent_networks: Mapping[str, Mapping[str, Any]],
    reference: str,
    num_classes: int,
    device: str | torch.device,
) -> Family:
    """The family whose weights are in these files; `network` and `parent_networks` are what `build` takes.

    Raises InputError for weights that do not fit their network.
    """
    networks = {name: build(num_classes, **spec).to(device) for name, spec in parent_networks.items()}
    paths = zip(networks, parents, strict=True)
    weights = {name: load_weights(path, networks[name]) for name, path in paths}
    child_network = build(num_classes, **network).to(device)
    return Family(
        child_network,
        load_weights(child, child_network),
        networks,
        weights,
        weights | load_several(aligned, networks[reference]),
        reference,
    )


def measure_paths(
    family: Family,
    images: Images,
    *,
    points: int,
    batch_size: int,
    repair_images: Images | None = None,
    repaired_at_once: int = FUSED_AT_ONCE,
) -> dict[str, list[PathPoint]]:
    """The line from each aligned parent to the reference, by the parent's name, measured on `images`.

    With `repair_images`, those that the child was repaired on, every point is repaired as it was, with
    `repaired_at_once` images in a batch.
    """
    reference = family.reference
    between: Callable[[Weights, Weights], Callable[[float], Weights]] = line
    if repair_images is not None:
        between = partial(
            repaired_line, family.networks[reference], repair_images, batch_size=repaired_at_once
        )
    return {
        name: measure_path(
            family.child_network,
            between(family.aligned[name], family.aligned[reference]),
            images,
            points=points,
            batch_size=batch_size,
        )
        for name in family.parents
        if name != reference
    }


def path_rows(paths: Mapping[str, Sequence[PathPoint]], *, seed: int, fusion: str) -> list[dict[str, object]]:
    """One row, with PATH_COLUMNS as keys, per point."""
    return [
        {"seed": seed, "fusion": fusion, "parent": name} | vars(point)
        for name, path in paths.items()
        for point in path
    ]


def measure_similarities(
    family: Family, images: Images, batch_size: int
) -> dict[str, dict[str, Measurement]]:
    """CKA of the child and each parent on `images`, by the parent's name and the alignment group's.

    None, and a warning in the log, for a network without groups, which can still be averaged.
    """
    try:
        child = gram_matrices(family.child_network, family.child, images, batch_size)
        return {
            name: cka_by_group(child, gram_matrices(family.networks[name], parent, images, batch_size))
            for name, parent in family.parents.items()
        }
    except InputError as error:
        logging.getLogger("fusionscope").warning("no similarity: %s", error)
        return {}


def measure_variances(family: Family, images: Images, batch_size: int) -> list[LayerVariance]:
    """How much the child's neurons vary on `images` beside those of its parents, layer by layer.

    Raises InputError where the outputs of one of them are not finite.
    """
    child = layer_variances(family.child_network, family.child, images, batch_size, name="the child")
    parents = [
        layer_variances(family.networks[name], parent, images, batch_size, name=name)
        for name, parent in family.parents.items()
    ]
    return compare(child, parents)
