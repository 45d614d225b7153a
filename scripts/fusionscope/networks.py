"""Networks by name: the study's VGG11 and ResNet18 for 32x32 images, or any other architecture.

Sources of the study's: Simonyan & Zisserman 2015 (arXiv 1409.1556), He et al. 2016 (arXiv
1512.03385). Their parameter names follow the layout in which CIFAR weights of these networks are
commonly published, so that such files load as they are.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from fusionscope.architectures import make_architecture, reason
from fusionscope.errors import InputError

INPUT_SHAPE = (3, 32, 32)  # of the study's networks

VGG11_STAGES = (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool", 512, 512, "pool")
RESNET18_STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))  # channels, stride of the first block
BLOCKS_PER_STAGE = 2


class VGG11(nn.Module):
    """Eight convolutions and one linear layer; `width` scales the number of channels."""

    def __init__(self, num_classes: int, width: float = 1.0, *, bias: bool, batch_norm: bool):
        super().__init__()
        layers: list[nn.Module] = []
        channels = INPUT_SHAPE[0]
        for stage in VGG11_STAGES:
            if stage == "pool":
                layers.append(nn.MaxPool2d(2))
                continue
            wider = scaled(stage, width)
            layers.append(nn.Conv2d(channels, wider, 3, padding=1, bias=bias))
            if batch_norm:
                layers.append(nn.BatchNorm2d(wider))
            layers.append(nn.ReLU())
            channels = wider
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, num_classes, bias=bias)

    def forward(self, x: Tensor) -> Tensor:  # (n, 3, 32, 32) -> (n, classes) logits
        return self.classifier(torch.flatten(self.features(x), 1))


class BasicBlock(nn.Module):
    """Two convolutions beside a shortcut: the identity, or a 1x1 projection where shapes change."""

    def __init__(self, channels_in: int, channels: int, stride: int, *, batch_norm: bool):
        super().__init__()
        norm = nn.BatchNorm2d if batch_norm else nn.Identity
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = norm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = norm(channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels_in != channels:
            projection = nn.Conv2d(channels_in, channels, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, norm(channels))

    def forward(self, x: Tensor) -> Tensor:
        branch = F.relu(self.bn1(self.conv1(x)))
        branch = self.bn2(self.conv2(branch))
        return F.relu(branch + self.shortcut(x))


class ResNet18(nn.Module):
    """A convolution, four stages of two blocks, one linear layer; `width` scales the channels.

    As in the published layout, convolutions carry no bias: `bias` is about the linear layer.
    """

    def __init__(self, num_classes: int, width: float = 1.0, *, bias: bool, batch_norm: bool):
        super().__init__()
        channels = scaled(RESNET18_STAGES[0][0], width)
        self.conv1 = nn.Conv2d(INPUT_SHAPE[0], channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels) if batch_norm else nn.Identity()
        for number, (stage, stride) in enumerate(RESNET18_STAGES, start=1):
            blocks = []
            for block in range(BLOCKS_PER_STAGE):
                wider, step = scaled(stage, width), stride if block == 0 else 1
                blocks.append(BasicBlock(channels, wider, step, batch_norm=batch_norm))
                channels = wider
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
        self.linear = nn.Linear(channels, num_classes, bias=bias)

    def forward(self, x: Tensor) -> Tensor:  # (n, 3, 32, 32) -> (n, classes) logits
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.linear(torch.flatten(F.avg_pool2d(x, 4), 1))


def scaled(channels: int, width: float) -> int:
    """`channels` at relative `width`, at least one."""
    return max(1, round(channels * width))


MODEL_TYPES: dict[str, Callable[..., nn.Module]] = {
    name + suffix: partial(network, bias=bias, batch_norm=batch_norm)
    for name, network in (("VGG11", VGG11), ("RESNET18", ResNet18))
    for suffix, bias, batch_norm in (
        ("", True, True),
        ("_NOBIAS", False, True),
        ("_NOBN", True, False),
        ("_NOBIAS_NOBN", False, False),
    )
}


def build(
    num_classes: int,
    *,
    model_type: str | None = None,
    architecture: str | None = None,
    width: float | None = None,
    input_size: int = INPUT_SHAPE[1],
    biases: bool = False,
) -> nn.Module:
    """A network in eval mode that knows its `input_shape`; its weights are its maker's default.

    Either `model_type`, one of MODEL_TYPES, or `architecture`, such as `torchvision:resnet50` or
    `my_package.nets:make`. With `biases`, every layer that repair renormalises has one (see
    `give_biases`). Raises InputError if there is no such network, or none for pictures (3, `input_size`,
    `input_size`).
    """
    if architecture is None:
        network = MODEL_TYPES[model_type](num_classes, 1.0 if width is None else width)
    else:
        network = make_architecture(architecture, num_classes, width=width, input_size=input_size)
    network.eval()
    network.input_shape = (INPUT_SHAPE[0], input_size, input_size)
    check_fits(network, num_classes, model_type or f"architecture {architecture}")
    if biases:
        give_biases(network)
    return network


def input_shape(network: nn.Module) -> tuple[int, int, int]:
    """Channels, height and width of one image as `network` takes it."""
    return getattr(network, "input_shape", INPUT_SHAPE)


@torch.no_grad()
def check_fits(network: nn.Module, num_classes: int, name: str) -> None:
    """Raise InputError unless `network` answers one image of its input shape with one logit per class."""
    shape = input_shape(network)
    size = f"{shape[1]}x{shape[2]} pixels"
    try:
        logits = network(torch.zeros(1, *shape))
    except Exception as error:
        raise InputError(
            f"{name}: cannot take pictures of {size} ({reason(error)}); choose another input_size"
        ) from error
    found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if found != (1, num_classes):
        raise InputError(
            f"{name}: answers one picture of {size} with {found}, expected {(1, num_classes)}; "
            "return one logit per class"
        )


def renormalised_layers(network: nn.Module) -> tuple[str, ...]:
    """The convolutions and linear layers that repair renormalises, in forward order.

    They are hidden, i.e. some other layer stands between them and the class outputs, and not read by
    batch norms alone, whose statistics do that work. A layer that is called more than once has no one
    statistic and is left out. None where torch.fx cannot trace the network.
    """
    try:
        traced = fx.symbolic_trace(network)
    except Exception:  # whatever the network's own code raises when it meets a proxy
        return ()
    calls = [node for node in traced.graph.nodes if node.op == "call_module"]
    layers = {
        node: node.target
        for node in calls
        if isinstance(traced.get_submodule(node.target), nn.Conv2d | nn.Linear)
    }
    last, waiting = set(), [node for node in traced.graph.nodes if node.op == "output"]
    while waiting:
        for source in waiting.pop().all_input_nodes:
            if source not in last:
                last.add(source)
                if source not in layers:
                    waiting.append(source)
    targets = [node.target for node in calls]
    return tuple(
        name
        for node, name in layers.items()
        if node not in last and targets.count(name) == 1 and not only_normalised(node, traced)
    )


def only_normalised(node: fx.Node, traced: fx.GraphModule) -> bool:
    """Whether nothing but batch norms reads the output of `node`."""
    return all(
        user.op == "call_module" and isinstance(traced.get_submodule(user.target), _BatchNorm)
        for user in node.users
    )


def give_biases(network: nn.Module) -> None:
    """A zero bias, in place, for each renormalised layer without: room for what repair folds into it."""
    for name in renormalised_layers(network):
        layer = network.get_submodule(name)
        if layer.bias is None:
            layer.bias = nn.Parameter(layer.weight.new_zeros(len(layer.weight)))


def initialised(generator: torch.Generator, num_classes: int, **spec: object) -> nn.Module:
    """`build(num_classes, **spec)` with fresh weights that depend on the generator's seed alone.

    The study's networks as `initialise` says; other architectures as their makers do, which draw
    from PyTorch's global stream: it is seeded for them, and afterwards as it was.
    """
    if spec.get("architecture") is None:
        network = build(num_classes, **spec)
        initialise(network, generator)
        return network
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator.initial_seed())
        return build(num_classes, **spec)


@torch.no_grad()
def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Draw fresh weights in place.

    Convolutions: normal with variance 2 / fan_in, which keeps the scale of the signal through ReLU
    layers (He et al. 2015, arXiv 1502.01852). PyTorch's own default has a sixth of that variance:
    after VGG11's eight layers the signal is 6^-4 of what it was, and without batch norm training
    stays at chance for epochs. The last convolution of a residual branch without batch norm: zero.
    Otherwise the variance of the stream would grow with every block, by orders of magnitude over
    eight; branches that start at zero make every block the identity at first, whatever the depth
    (Zhang et al. 2019, "Fixup Initialization", arXiv 1901.09321). The linear layer: uniform within
    1 / sqrt(fan_in). Biases: zero. Batch norm: one and zero.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
        elif isinstance(module, nn.Linear):
            bound = module.in_features**-0.5
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            module.bias.zero_()
    for module in network.modules():
        if isinstance(module, BasicBlock) and isinstance(module.bn2, nn.Identity):
            module.conv2.weight.zero_()
