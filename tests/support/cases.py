"""Cases that several test modules share: networks, weights, and hand-written truths about them."""

from functools import cache

import torch
from torch import nn
from torch.func import functional_call

from fusionscope.images import Images
from fusionscope.networks.build import build
from fusionscope.networks.initialise import initialise
from fusionscope.networks.model_types import MODEL_TYPES
from fusionscope.seeding import generator
from fusionscope.training.preparation import prepare
from fusionscope.training.train import train

ALL_MODEL_TYPES = (
    "VGG11",
    "VGG11_NOBIAS",
    "VGG11_NOBN",
    "VGG11_NOBIAS_NOBN",
    "RESNET18",
    "RESNET18_NOBIAS",
    "RESNET18_NOBN",
    "RESNET18_NOBIAS_NOBN",
    "MLP",
)
VGG_TYPES = ALL_MODEL_TYPES[:4]
RESNET_TYPES = ALL_MODEL_TYPES[4:8]
NUM_CLASSES = 10
TINY = 0.0625  # of the published width: 4 to 32 channels
MLP_UNITS = 512  # of a hidden layer where `width` is 1

# The two positions of VGG11's convolutions in its Sequential, which counts conv, (norm,) ReLU and pool.
VGG11_CONVS = {
    False: tuple(f"features.{i}" for i in (0, 3, 6, 8, 11, 13, 16, 18)),
    True: tuple(f"features.{i}" for i in (0, 4, 8, 11, 15, 18, 22, 25)),
}
VGG11_NORMS = tuple(f"features.{i}" for i in (1, 5, 9, 12, 16, 19, 23, 26))

# ResNet18 by hand: each group of neurons, and who writes to it reading which group, in forward order.
RESNET18_STREAMS = {
    "conv1": (("conv1", None), ("layer1.0.conv2", "layer1.0.conv1"), ("layer1.1.conv2", "layer1.1.conv1")),
    "layer1.0.conv1": (("layer1.0.conv1", "conv1"),),
    "layer1.1.conv1": (("layer1.1.conv1", "conv1"),),
    "layer2.0.conv1": (("layer2.0.conv1", "conv1"),),
    "layer2.0.conv2": (
        ("layer2.0.conv2", "layer2.0.conv1"),
        ("layer2.0.shortcut.0", "conv1"),
        ("layer2.1.conv2", "layer2.1.conv1"),
    ),
    "layer2.1.conv1": (("layer2.1.conv1", "layer2.0.conv2"),),
    "layer3.0.conv1": (("layer3.0.conv1", "layer2.0.conv2"),),
    "layer3.0.conv2": (
        ("layer3.0.conv2", "layer3.0.conv1"),
        ("layer3.0.shortcut.0", "layer2.0.conv2"),
        ("layer3.1.conv2", "layer3.1.conv1"),
    ),
    "layer3.1.conv1": (("layer3.1.conv1", "layer3.0.conv2"),),
    "layer4.0.conv1": (("layer4.0.conv1", "layer3.0.conv2"),),
    "layer4.0.conv2": (
        ("layer4.0.conv2", "layer4.0.conv1"),
        ("layer4.0.shortcut.0", "layer3.0.conv2"),
        ("layer4.1.conv2", "layer4.1.conv1"),
    ),
    "layer4.1.conv1": (("layer4.1.conv1", "layer4.0.conv2"),),
}
RESNET18_NORM_OF = {"conv1": "bn1"} | {
    f"layer{stage}.{block}.{conv}": f"layer{stage}.{block}.{norm}"
    for stage in (1, 2, 3, 4)
    for block in (0, 1)
    for conv, norm in (("conv1", "bn1"), ("conv2", "bn2"), ("shortcut.0", "shortcut.1"))
}


def has_norm(model_type: str) -> bool:
    return not model_type.endswith("NOBN") and model_type != "MLP"


def has_bias(model_type: str) -> bool:
    return "NOBIAS" not in model_type


def is_vgg(model_type: str) -> bool:
    return model_type.startswith("VGG11")


def spec_of(model_type: str, width: float = TINY) -> dict:
    """How `build` is told to make a network of this width, relative to its usual one."""
    units = max(1, round(width * MLP_UNITS))
    return {"model_type": model_type, "width": units if model_type == "MLP" else width}


def network_of(model_type: str, width: float = TINY) -> nn.Module:
    """The network in float64, so that rounding hides nothing."""
    return build(NUM_CLASSES, **spec_of(model_type, width)).double()


def random_weights(model_type: str, seed: int, width: float = TINY) -> dict[str, torch.Tensor]:
    """Float64 weights in which nothing is left at a value that would hide a mistake, buffers included."""
    random = torch.Generator().manual_seed(seed)
    weights = {}
    for name, tensor in network_of(model_type, width).state_dict().items():
        if name.endswith("num_batches_tracked"):
            weights[name] = torch.randint(0, 1000, (), generator=random)
        elif name.endswith("running_var"):
            weights[name] = torch.empty_like(tensor).uniform_(0.5, 2, generator=random)
        else:
            weights[name] = torch.empty_like(tensor).normal_(generator=random)
            if tensor.dim() > 1:
                weights[name] /= tensor[0].numel() ** 0.5
    return weights


@cache
def trained_weights(model_type: str, parent: int) -> dict[str, torch.Tensor]:
    """Weights after an epoch on some digits, in float64; made once per process."""
    network = build(NUM_CLASSES, **spec_of(model_type))
    initialise(network, generator(model_type, parent, "initial weights"))
    images = digits()
    trained = train(
        network,
        images["train"].take(torch.arange(256)),
        images["validation"],
        **training_options(batch_size=16),
        order=generator(model_type, parent, "order"),
    )
    return {k: v.double() if v.is_floating_point() else v for k, v in trained.best_weights.items()}


PARENTS = {
    "random": random_weights,
    "trained": trained_weights,
}


def training_options(**changed) -> dict:
    """Arguments of `train` for one gentle epoch, some of them changed."""
    usual = {
        "epochs": 1,
        "batch_size": 32,
        "learning_rate": 0.05,
        "momentum": 0.9,
        "weight_decay": 0.0,
        "clip_norm": 1.0,
        "schedule": {"kind": "constant"},
        "augmentation": "none",
    }
    return usual | changed


@cache
def digits() -> dict[str, Images]:
    arrays = prepare("digits", "unused")
    return {
        split: Images(
            pixels=torch.from_numpy(arrays[f"{split}_pixels"]),
            labels=torch.from_numpy(arrays[f"{split}_labels"]),
            mean=torch.from_numpy(arrays["mean"]),
            std=torch.from_numpy(arrays["std"]),
            num_classes=int(arrays["num_classes"]),
        )
        for split in ("train", "validation", "test")
    }


def probe(count: int = 6) -> torch.Tensor:
    """Float64 inputs on which two functions are compared."""
    return torch.randn(count, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(99))


@torch.no_grad()
def outputs(network: nn.Module, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    return functional_call(network.eval(), weights, (probe(),))


def relative_difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest absolute difference over the largest expected value."""
    scale = expected.abs().max().item()
    assert 0 < scale < float("inf")
    return (found - expected).abs().max().item() / scale


def labelled(labels: list[int], num_classes: int = 2, size: int = 4) -> Images:
    """Small random images with the given labels."""
    random = torch.Generator().manual_seed(5)
    return Images(
        pixels=torch.randint(0, 256, (len(labels), 3, size, size), dtype=torch.uint8, generator=random),
        labels=torch.tensor(labels),
        mean=torch.tensor([0.5, 0.4, 0.3]),
        std=torch.tensor([0.2, 0.25, 0.3]),
        num_classes=num_classes,
    )


assert set(ALL_MODEL_TYPES) == set(MODEL_TYPES), "a model type came or went: say so here"
