"""The pair space of a fusion: how near its parents come by being aligned, before they are merged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fusionscope.images import Images
from fusionscope.measurement import Measurement, undefined
from fusionscope.measures.pair.cost import NOTHING_ALIGNED
from fusionscope.measures.pair.distance import LayerDistance, layer_distances, learned, weight_distance
from fusionscope.measures.pair.gradients import gradient_cosine
from fusionscope.networks.build import build, load_network
from fusionscope.weights import load_several, set_weights, weights_of


@dataclass(frozen=True)
class AlignedParents:
    """Parents by name, as they are and as they were aligned to the reference, which is in neither."""

    reference: nn.Module
    parents: dict[str, nn.Module]  # each as wide as it is
    aligned: dict[str, nn.Module]  # as wide as the reference; none where nothing was aligned


def load_aligned(
    aligned: str | Path,
    parents: Sequence[str | Path],
    *,
    parent_networks: Mapping[str, Mapping[str, Any]],
    reference: str,
    num_classes: int,
    device: str | torch.device,
) -> AlignedParents:
    """The networks whose weights are in these files; `parent_networks` are what `build` takes, by name.

    Raises InputError for weights that do not fit their network.
    """
    networks = {
        name: load_network(path, num_classes, **parent_networks[name]).to(device)
        for name, path in zip(parent_networks, parents, strict=True)
    }
    target = networks.pop(reference)
    moved = {}
    for name, weights in load_several(aligned, target).items():
        if name != reference:
            network = build(num_classes, **parent_networks[reference])
            set_weights(network, weights)
            network.weights_file = f"{aligned}, {name}"  # type: ignore[assignment]  # for sentences about it
            moved[name] = network.to(device)
    return AlignedParents(target, networks, moved)


def measure_alignment(found: AlignedParents, images: Images, batch_size: int) -> dict[str, Measurement]:
    """Metrics of the aligned parents beside the reference, of several the mean.

    Gradients are those on `images`. Raises InputError where the outputs of one are not finite.
    """
    networks = [found.reference, *found.aligned.values()]
    pairs = [(0, place) for place in range(1, len(networks))]
    if not pairs:
        names = ("aligned_gradient_cosine", "aligned_weight_distance")
        return dict.fromkeys(names, undefined(NOTHING_ALIGNED))
    return {
        "aligned_gradient_cosine": gradient_cosine(networks, pairs, images, batch_size),
        "aligned_weight_distance": weight_distance(networks, pairs),
    }


def distances_by_layer(found: AlignedParents) -> dict[str, list[LayerDistance]]:
    """How far the layers of each aligned parent lie from the reference's, before and after."""
    reference, names = weights_of(found.reference), learned(found.reference)
    return {
        name: layer_distances(weights_of(found.parents[name]), weights_of(aligned), reference, names)
        for name, aligned in found.aligned.items()
    }
