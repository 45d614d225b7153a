"""What jobs do on a GPU, with tiny networks: each case once on the CPU and once on the pretended GPU.

As a program, gpu_cases.py FILE [CASE ...], it writes as JSON what came of each, and prints the table of
docs/running.md.
"""

import copy
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

import pretended_gpu

if __name__ == "__main__":  # before the library is imported
    sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
    GPU = pretended_gpu.register()

import cases
import networks_for_fusion as nets
import numpy as np
import torch
from torch import Tensor, nn

from fusionscope.evaluation import predict
from fusionscope.fusion.finetune import TrainingData
from fusionscope.fusion.fuse import fuse
from fusionscope.images import Images
from fusionscope.measures.connectivity import family as connectivity
from fusionscope.measures.input.lipschitz import measure_input_space, power_iterated_norms
from fusionscope.measures.names import METRICS
from fusionscope.measures.pair.aligned import AlignedParents, distances_by_layer, measure_alignment
from fusionscope.measures.pair.parents import measure_parents
from fusionscope.measures.parameter.hessian import measure_hessian
from fusionscope.measures.parameter.landscape import Landscape
from fusionscope.measures.parameter.scales import find_scales
from fusionscope.measures.parameter.subject import Subject, load_measures, measure_complexity
from fusionscope.measures.prediction.prediction import ensemble_accuracy, measure_prediction_space
from fusionscope.training.train import train

Work = Callable[[], Any]  # what is compared: tensors, numbers, what is made of them
Case = Callable[[torch.device], Work]  # makes ready on a device, and gives the work to do there

CLASSES = cases.NUM_CLASSES


def images(count: int, device: torch.device, split: str = "train") -> Images:
    return cases.digits()[split].take(torch.arange(count)).to(device)


def network(device: torch.device, name: str, seed: int = 1) -> nn.Module:
    """One of networks_for_fusion's, in single precision and eval mode."""
    found = copy.deepcopy(nets.network_of(name))
    found.load_state_dict(nets.weights_of(name, seed))
    return found.float().eval().to(device)


def parents(name: str) -> list[dict[str, Tensor]]:
    """On the CPU, as they come from files."""
    return [
        {k: v.float() if v.is_floating_point() else v for k, v in nets.weights_of(name, seed).items()}
        for seed in (1, 2)
    ]


# Training


def training(model_type: str, batch_size: int = 16, **changed: Any) -> Case:
    usual = {"epochs": 2, "augmentation": "flip_and_crop", "schedule": {"kind": "one_cycle"}}
    options = cases.training_options(batch_size=batch_size, **usual | changed)

    def case(device: torch.device) -> Work:
        of_training, of_validation = images(64, device), images(40, device, "validation")
        trained = network(device, model_type)

        def work() -> Any:
            order, kept = torch.Generator().manual_seed(5), []
            found = train(trained, of_training, of_validation, order=order, keep=kept.append, **options)
            return found, kept[-1]["optimizer"]

        return work

    return case


# Fusion


def fusing(name: str, **options: Any) -> Case:
    def case(device: torch.device) -> Work:
        networks, weights, sample = [network(device, name)] * 2, parents(name), images(24, device)
        recipe = cases.training_options(batch_size=8)
        order, validation = torch.Generator().manual_seed(1), images(16, device, "validation")
        data = TrainingData(sample, validation, recipe, order, dropout_seed=2)
        return lambda: fuse(networks, weights, images=sample, training=data, seed=3, **options)

    return case


# Measures


def input_space(name: str, **options: Any) -> Case:
    def case(device: torch.device) -> Work:
        measured, sample = network(device, name), images(6, device)
        recipe = {"starts": 4, "power_iterations": 6} | options
        return lambda: measure_input_space(measured, sample, seed=1, **recipe)

    return case


def many_classes(device: torch.device) -> Work:
    measured, x = network(device, "VGG11_NOBIAS_NOBN"), images(6, device).normalised()
    return lambda: power_iterated_norms(measured, x, seed=1, power_iterations=4)


def hessian(name: str, **options: Any) -> Case:
    recipe = {"lanczos_steps": 5, "density_starts": 2, "eigenvalue_tolerance": 0.1, "trace_draws": 3}

    def case(device: torch.device) -> Work:
        measured, sample = network(device, name), images(12, device)
        return lambda: measure_hessian(measured, sample, 8, seed=1, **recipe | options)

    return case


def scales(name: str, precision: str = "single") -> Case:
    recipe = {"images_per_draw": 8, "starts": 2, "ascent_steps": 2, "tolerance": 0.5, "draws": 4}
    recipe |= {"scale_range": [1e-4, 10.0]}

    def case(device: torch.device) -> Work:
        measured = network(device, name)
        landscape = Landscape(measured, right_about(measured, images(24, device)), 16, precision=precision)
        return lambda: find_scales(landscape, seed=1, **recipe)

    return case


def right_about(measured: nn.Module, sample: Images) -> Images:
    """The same images with the labels that the network gives them: nothing is undefined."""
    return Images(**vars(sample) | {"labels": predict(measured, sample, 16).argmax(1)})


def complexity(name: str) -> Case:
    entries = {metric: entry.compute for metric, entry in METRICS.items() if entry.compute is not None}

    def case(device: torch.device) -> Work:
        measured, origin = network(device, name), network(device, name, seed=2)
        sample = right_about(measured, images(24, device))
        subject = Subject(Landscape(measured, sample, 16), sample, origin)
        return lambda: measure_complexity(load_measures(entries), subject)

    return case


def prediction(name: str) -> Case:
    def case(device: torch.device) -> Work:
        measured, other = network(device, name), network(device, name, seed=2)
        known, unknown = images(24, device), images(20, device, "test")

        def work() -> Any:
            found = measure_prediction_space(
                measured, known, unknown, seed=1, batch_size=16, calibration_bins=5
            )
            members = [predict(member, unknown, 16) for member in (measured, other)]
            return found, ensemble_accuracy(members, unknown.labels)

        return work

    return case


def of_family(name: str, measure: Callable[[connectivity.Family, Images], Any], repair: bool = False) -> Case:
    def case(device: torch.device) -> Work:
        networks = [network(device, name), network(device, name, seed=2)]
        fusion = fuse(
            networks,
            parents(name),
            method="average",
            repair=repair,
            images=images(12, device) if repair else None,
        )
        names = "parent_1", "parent_2"
        family = connectivity.Family(
            fusion.network,
            {key: tensor.cpu() for key, tensor in fusion.child.items()},
            dict(zip(names, networks, strict=True)),
            dict(zip(names, parents(name), strict=True)),
            dict(zip(names, fusion.aligned, strict=True)),
            "parent_2",
        )
        sample = images(20, device, "test")
        return lambda: measure(family, sample)

    return case


def path(family: connectivity.Family, sample: Images) -> Any:
    return connectivity.measure_paths(family, sample, points=3, batch_size=16)


def repaired_path(family: connectivity.Family, sample: Images) -> Any:
    return connectivity.measure_paths(family, sample, points=3, batch_size=16, repair_images=sample)


def similarities(family: connectivity.Family, sample: Images) -> Any:
    return connectivity.measure_similarities(family, sample, 16)


def variances(family: connectivity.Family, sample: Images) -> Any:
    return connectivity.measure_variances(family, sample, 16)


def of_parents(name: str) -> Case:
    def case(device: torch.device) -> Work:
        both, sample = [network(device, name, seed) for seed in (1, 2)], images(20, device, "test")
        few = {"train_images": images(24, device), "similarity_images": sample, "test_images": sample}
        return lambda: measure_parents(both, **few, batch_size=16)

    return case


def of_alignment(name: str) -> Case:
    def case(device: torch.device) -> Work:
        parent, other, reference = (network(device, name, seed) for seed in (1, 2, 3))
        found = AlignedParents(reference, {"parent_1": parent}, {"parent_1": other})
        sample = images(24, device)
        return lambda: (measure_alignment(found, sample, 16), distances_by_layer(found))

    return case


NORMED, PLAIN = "RESNET18", "VGG11_NOBIAS_NOBN"
BY_ACTIVATIONS = {"method": "optimal_transport", "align_by": "activations"}
CASES: dict[str, Case] = {
    "training: 2 epochs of 4 steps": training(NORMED),
    "training: 2 epochs of 16 steps": training(NORMED, batch_size=4),
    "training: no batch norm, no augmentation": training(PLAIN, augmentation="none"),
    "training: adamw, linear": training(
        PLAIN, optimiser="adamw", learning_rate=0.001, schedule={"kind": "linear", "warmup_epochs": 1}
    ),
    "training: bfloat16": training(PLAIN, precision="bfloat16"),
    "training: tf32": training(PLAIN, precision="tf32"),
    "fusion: average": fusing(NORMED, method="average"),
    "fusion: average, repair": fusing(NORMED, method="average", repair=True),
    "fusion: average, repair, no batch norm": fusing(PLAIN, method="average", repair=True),
    "fusion: average, fine-tuning": fusing(
        NORMED, method="average", finetune={"epochs": 1, "learning_rate": 0.01}
    ),
    "fusion: optimal_transport, weights": fusing(NORMED, method="optimal_transport"),
    "fusion: optimal_transport, weights, both sides, cosine": fusing(
        PLAIN, method="optimal_transport", sides="both", ground_metric="cosine", mass="importance"
    ),
    "fusion: optimal_transport, activations": fusing(NORMED, **BY_ACTIVATIONS),
    "fusion: optimal_transport, activations, repair": fusing(NORMED, **BY_ACTIVATIONS, repair=True),
    "fusion: optimal_transport, activations, pre, sinkhorn": fusing(
        PLAIN, **BY_ACTIVATIONS, activations="pre", ground_metric="euclidean", solver="sinkhorn", reg=0.05,
        mass="importance", reader_normalisation="row",
    ),
    "fusion: weight_matching": fusing(NORMED, method="weight_matching", starts=2),
    "input space": input_space(PLAIN),
    "input space: more classes than iterations": many_classes,
    "hessian": hessian(PLAIN),
    "hessian: not piecewise linear": hessian("own"),
    "hessian: double precision": hessian(PLAIN, precision="double"),
    "scales": scales(NORMED),
    "scales: bfloat16": scales(PLAIN, "bfloat16"),
    "complexity": complexity(PLAIN),
    "complexity: batch norm": complexity(NORMED),
    "prediction space": prediction(NORMED),
    "connectivity space: path of 3 points": of_family(PLAIN, path),
    "connectivity space: path of 3 points, repaired": of_family(PLAIN, repaired_path, repair=True),
    "connectivity space: similarities": of_family(NORMED, similarities),
    "connectivity space: variances": of_family(NORMED, variances),
    "pair space: parents": of_parents(NORMED),
    "pair space: alignment": of_alignment(NORMED),
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What came of one case on the pretended GPU."""

    difference: float  # the largest relative one from the CPU's numbers; 0 where all bits are the same
    waits: dict[str, int]  # by why and where


def outcome_of(case: Case, gpu: torch.device) -> Outcome:
    """Raises what the case raises, such as Mixed."""
    expected = leaves(case(pretended_gpu.CPU)())
    with pretended_gpu.PretendedGpu():
        work = case(gpu)
        pretended_gpu.WAITS.clear()
        result = work()
        waits = Counter(pretended_gpu.WAITS)
        found = leaves(result)
    assert found.keys() == expected.keys()
    return Outcome(max(difference(found[key], expected[key]) for key in expected), dict(waits))


def leaves(value: Any, where: str = "") -> dict[str, Any]:
    """Every tensor and every number of a result, by its place in it; tensors on the CPU."""
    if isinstance(value, nn.Module):
        return {}
    if isinstance(value, Tensor):
        return {where: value.detach().cpu()}
    if isinstance(value, np.ndarray):
        return {where: torch.from_numpy(value)}
    if is_dataclass(value) and not isinstance(value, type):
        value = vars(value)
    if isinstance(value, Mapping):
        value = {str(key): part for key, part in value.items()}
    elif isinstance(value, list | tuple):
        value = {str(place): part for place, part in enumerate(value)}
    else:
        return {where: value} if isinstance(value, int | float | str | None) else {}
    return {
        key: leaf for name, part in value.items() for key, leaf in leaves(part, f"{where}/{name}").items()
    }


def difference(one: Any, other: Any) -> float:
    """The largest relative one; 0 where all bits are the same, infinite where they cannot be compared."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if one.dtype != other.dtype or one.shape != other.shape:
            return math.inf
        if torch.equal(one, other):
            return 0.0
        one, other = one.double(), other.double()
        return ((one - other).abs().max() / other.abs().max()).item()
    if one == other:
        return 0.0
    both_numbers = isinstance(one, float) and isinstance(other, float) and other != 0
    return abs(one - other) / abs(other) if both_numbers else math.inf


def table(outcomes: Mapping[str, Mapping[str, Any]]) -> str:
    """How often the host waits in each case, and in which functions most; for docs/running.md."""
    lines = ["| what | waits | most of them in |", "| --- | ---: | --- |"]
    for name, outcome in outcomes.items():
        functions: Counter[str] = Counter()
        for reason, count in outcome["waits"].items():
            functions[reason.rpartition(": ")[2]] += count
        most = ", ".join(f"`{function}` {count}" for function, count in functions.most_common(3))
        lines.append(f"| {name} | {sum(functions.values())} | {most} |")
    return "\n".join(lines)


if __name__ == "__main__":
    torch.set_num_threads(1)
    found = {name: asdict(outcome_of(CASES[name], GPU)) for name in sys.argv[2:] or CASES}
    Path(sys.argv[1]).write_text(json.dumps(found))
    print(table(found))
