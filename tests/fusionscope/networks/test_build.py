"""The networks: names, shapes, sizes, and the scale of fresh weights."""

import math

import cases
import pytest
import torch
from torch import nn

from fusionscope.errors import InputError
from fusionscope.graph.trace import input_shape
from fusionscope.networks.biases import warn_once
from fusionscope.networks.build import build, initialised
from fusionscope.networks.initialise import initialise
from fusionscope.networks.resnet import BasicBlock
from fusionscope.networks.width import scaled

VGG11_CHANNELS = (3, 64, 128, 256, 256, 512, 512, 512, 512)
NORM_PARTS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def norm_shapes(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.{part}": (channels,) if part != "num_batches_tracked" else () for part in NORM_PARTS}


@pytest.mark.parametrize("model_type", cases.VGG_TYPES)
def test_vgg11_has_the_published_names_and_shapes(model_type):
    expected = {"classifier.weight": (10, 512)}
    if cases.has_bias(model_type):
        expected["classifier.bias"] = (10,)
    convs = cases.VGG11_CONVS[cases.has_norm(model_type)]
    for number, conv in enumerate(convs):
        inputs, outputs = VGG11_CHANNELS[number : number + 2]
        expected[f"{conv}.weight"] = (outputs, inputs, 3, 3)
        if cases.has_bias(model_type):
            expected[f"{conv}.bias"] = (outputs,)
        if cases.has_norm(model_type):
            expected |= norm_shapes(cases.VGG11_NORMS[number], outputs)
    assert shapes(build(10, model_type=model_type)) == expected


@pytest.mark.parametrize("model_type", cases.RESNET_TYPES)
def test_resnet18_has_the_published_names_and_shapes(model_type):
    expected = {"conv1.weight": (64, 3, 3, 3), "linear.weight": (10, 512)}
    if cases.has_bias(model_type):
        expected["linear.bias"] = (10,)
    norms = {"bn1": 64}
    for stage, inputs, channels in ((1, 64, 64), (2, 64, 128), (3, 128, 256), (4, 256, 512)):
        for block in (0, 1):
            prefix = f"layer{stage}.{block}"
            first = inputs if block == 0 else channels
            expected[f"{prefix}.conv1.weight"] = (channels, first, 3, 3)
            expected[f"{prefix}.conv2.weight"] = (channels, channels, 3, 3)
            norms |= {f"{prefix}.bn1": channels, f"{prefix}.bn2": channels}
            if first != channels:
                expected[f"{prefix}.shortcut.0.weight"] = (channels, first, 1, 1)
                norms[f"{prefix}.shortcut.1"] = channels
    if cases.has_norm(model_type):
        for name, channels in norms.items():
            expected |= norm_shapes(name, channels)
    assert shapes(build(10, model_type=model_type)) == expected


def parameter_count(model_type: str) -> int:
    return sum(parameter.numel() for parameter in build(10, model_type=model_type).parameters())


def test_full_vgg11_without_bias_and_norm_has_as_many_parameters_as_summed_by_hand():
    convolutions = 3 * 64 + 64 * 128 + 128 * 256 + 256 * 256 + 256 * 512 + 3 * 512 * 512
    assert parameter_count("VGG11_NOBIAS_NOBN") == 9 * convolutions + 512 * 10 == 9_222_848


def test_full_resnet18_has_as_many_parameters_as_summed_by_hand():
    stem = 9 * 3 * 64 + 2 * 64
    layer1 = 4 * (9 * 64 * 64 + 2 * 64)
    later = sum(
        9 * c // 2 * c + 3 * 9 * c * c + c // 2 * c + 5 * 2 * c  # projection and five norms included
        for c in (128, 256, 512)
    )
    # 11,173,962 is also what others report for this layout with ten classes
    assert parameter_count("RESNET18") == stem + layer1 + later + 512 * 10 + 10 == 11_173_962


@pytest.mark.parametrize("width", [0.01, 0.0625, 0.3, 1.0])
@pytest.mark.parametrize("model_type", cases.ALL_MODEL_TYPES)
def test_every_network_gives_one_finite_logit_per_class_at_every_width(model_type, width):
    network = build(7, **cases.spec_of(model_type, width))
    initialise(network, generator(0))
    with torch.no_grad():
        logits = network(torch.randn(2, 3, 32, 32, generator=generator(1)))
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()
    if width > 0.01:  # it looks at its input; a single channel may be switched off by its ReLU
        assert logits[0].ne(logits[1]).any()


@pytest.mark.parametrize("model_type", ["VGG11_NOBIAS", "RESNET18_NOBN", "MLP"])
def test_a_network_of_one_channel_is_that_of_three_but_for_its_first_layer(model_type):
    grey, usual = (build(10, **cases.spec_of(model_type), channels=channels) for channels in (1, 3))
    assert input_shape(grey) == (1, 32, 32)
    (first, expected), *others = zip(shapes(grey).items(), shapes(usual).items(), strict=True)
    assert first[1][1] * 3 == expected[1][1]
    assert all(one == other for one, other in others)
    assert grey(torch.randn(2, 1, 32, 32)).shape == (2, 10)


def test_width_scales_the_channels_and_leaves_at_least_one():
    assert [scaled(64, width) for width in (1.0, 0.5, 0.125, 0.001)] == [64, 32, 8, 1]
    assert build(10, model_type="VGG11", width=0.25).classifier.in_features == 128


@pytest.mark.parametrize("model_type", cases.ALL_MODEL_TYPES)
def test_a_built_network_is_in_eval_mode(model_type):
    assert not any(module.training for module in build(10, **cases.spec_of(model_type)).modules())


@pytest.mark.parametrize("model_type", ["VGG11", "VGG11_NOBN", "RESNET18", "RESNET18_NOBN"])
def test_convolutions_start_with_the_variance_of_he_and_unnormalised_branches_at_zero(model_type):
    network = build(10, model_type=model_type)
    initialise(network, generator(3))
    unnormalised_branches = {
        module.conv2
        for module in network.modules()
        if isinstance(module, BasicBlock) and not cases.has_norm(model_type)
    }
    seen = 0
    for conv in network.modules():
        if not isinstance(conv, nn.Conv2d):
            continue
        fan_in = conv.in_channels * conv.kernel_size[0] * conv.kernel_size[1]
        seen += 1
        if conv in unnormalised_branches:
            assert conv.weight.eq(0).all()
            continue
        expected = 2 / fan_in
        # a sample variance of n normals has the relative standard error sqrt(2 / n); six of them
        tolerance = 6 * math.sqrt(2 / conv.weight.numel())
        assert conv.weight.var().item() == pytest.approx(expected, rel=tolerance)
        mean_error = math.sqrt(expected / conv.weight.numel())
        assert abs(conv.weight.mean().item()) < 6 * mean_error
    assert seen == (8 if cases.is_vgg(model_type) else 20)
    assert len(unnormalised_branches) == (8 if model_type == "RESNET18_NOBN" else 0)


@pytest.mark.parametrize("model_type", cases.ALL_MODEL_TYPES)
def test_everything_but_hidden_weights_starts_as_documented(model_type):
    network = build(10, **cases.spec_of(model_type, width=0.25))
    with torch.no_grad():  # whatever was there before must be gone
        for tensor in (*network.parameters(), *network.buffers()):
            tensor.fill_(7)
    initialise(network, generator(0))
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            assert module.bias.eq(0).all()
        if isinstance(module, nn.BatchNorm2d):
            assert module.weight.eq(1).all()
            assert module.running_var.eq(1).all()
            assert module.bias.eq(0).all()
            assert module.running_mean.eq(0).all()
            assert module.num_batches_tracked == 0
    classifier = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    bound = 1 / math.sqrt(128)
    largest = classifier.weight.abs().max().item()
    # of 1,280 uniform draws the largest is within 2% of the end but for e^-25
    assert 0.98 * bound < largest <= bound


def test_hidden_layers_of_an_mlp_start_with_the_variance_of_he():
    network = build(10, model_type="MLP", depth=2, width=64)
    initialise(network, generator(3))
    for layer in (network.hidden[0], network.hidden[2]):
        expected = 2 / layer.in_features
        # as for convolutions above
        tolerance = 6 * math.sqrt(2 / layer.weight.numel())
        assert layer.weight.var().item() == pytest.approx(expected, rel=tolerance)
        assert abs(layer.weight.mean().item()) < 6 * math.sqrt(expected / layer.weight.numel())


def test_an_mlp_is_linear_layers_with_relu_between_them_on_the_flattened_image():
    """Against PyTorch's own Sequential, for several depths; ReLU is between the layers and not at the end."""
    images = torch.randn(5, 3, 8, 8, generator=generator(2))
    for depth in (1, 4):
        network = build(7, model_type="MLP", depth=depth, width=6, input_size=8)
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs in [192, *[6] * (depth - 1)]:
            layers += [nn.Linear(inputs, 6), nn.ReLU()]
        same = nn.Sequential(*layers, nn.Linear(6, 7))
        same.load_state_dict(dict(zip(same.state_dict(), network.state_dict().values(), strict=True)))
        assert torch.equal(network(images), same(images))
        assert network(images).min() < 0


def test_an_mlp_is_that_of_git_re_basin_unless_told_otherwise():
    units = [layer.out_features for layer in build(10, model_type="MLP").hidden[::2]]
    assert units == [512, 512, 512]


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"model_type": "VGG11", "depth": 2}, "build.depth: VGG11 has none; leave it out"),
        (
            {"model_type": "MLP", "width": 0.5},
            "build.width: 0.5 is not right; expected a whole number of units",
        ),
        ({"model_type": "MLP", "depth": 0}, "build.depth: 0 is not right; expected a whole number of hidden"),
        ({"model_type": "MLP", "depth": 1001}, "build.depth: 1001 is too large; at most 1,000 makes sense"),
        ({"model_type": "VGG11", "width": 0}, "build.width: 0 is not right; expected a number above 0"),
        (
            {"model_type": "VGG11", "channels": 1, "input_size": 8},
            "choose another input_size; images have 1 channel, in single precision",
        ),
        (
            {"architecture": "torchvision:resnet18", "channels": 1},
            "resnet18: takes 3 'channels'; leave them out",
        ),
        ({"model_type": "MPL"}, "build.model_type: 'MPL' is not known; did you mean 'MLP'?"),
        ({}, "build.model_type: None is not known; known are VGG11"),
        (
            {"architecture": "torchvision:resnet18", "depth": 2},
            "torchvision:resnet18: has no 'depth'; leave it",
        ),
    ],
)
def test_a_network_refuses_what_its_type_does_not_have(spec, sentence):
    with pytest.raises(InputError) as refusal:
        build(10, **spec)
    assert sentence in str(refusal.value)


@pytest.mark.parametrize("model_type", cases.ALL_MODEL_TYPES)
def test_fresh_weights_depend_on_the_generator_and_on_nothing_else(model_type):
    one, same, other = (build(10, **cases.spec_of(model_type)) for _ in range(3))
    branches_at_zero = model_type.startswith("RESNET18") and not cases.has_norm(model_type)
    initialise(one, generator(1))
    torch.manual_seed(1234)  # the global state plays no part
    initialise(same, generator(1))
    initialise(other, generator(2))
    for name, parameter in one.named_parameters():
        assert torch.equal(parameter, same.get_parameter(name))
        if parameter.dim() > 1 and not (branches_at_zero and name.endswith("conv2.weight")):
            assert not torch.equal(parameter, other.get_parameter(name))


@torch.no_grad()
def test_a_fresh_resnet18_without_norm_is_as_deep_as_its_shortcuts():
    """Branches that start at zero leave the stem and the three projections between ReLUs."""
    network = build(10, model_type="RESNET18_NOBIAS_NOBN", width=cases.TINY)
    initialise(network, generator(0))
    x = torch.randn(4, 3, 32, 32, generator=generator(1))
    stream = network.conv1(x).relu()
    for layer in (network.layer2, network.layer3, network.layer4):
        stream = layer[0].shortcut(stream).relu()
    assert torch.equal(network(x), network.linear(nn.functional.avg_pool2d(stream, 4).flatten(1)))


@torch.no_grad()
def test_the_signal_keeps_its_scale_through_vgg11_without_norm():
    """PyTorch's default has a sixth of He's variance per layer: 6^-8 after eight layers."""
    x = torch.randn(8, 3, 32, 32, generator=generator(0))
    network = build(10, model_type="VGG11_NOBIAS_NOBN")
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.reset_parameters()
    default = network.features(x).square().mean().item()
    initialise(network, generator(0))
    ours = network.features(x).square().mean().item()
    # Pooling lifts the second moment and zero padding lowers it: by less than this, in all.
    assert 0.1 < ours < 10
    # Without biases the ratio is 6^8 in expectation, whatever pooling and padding do.
    assert ours / default == pytest.approx(6**8, rel=0.5)


@pytest.mark.parametrize(
    ("name", "size"),
    [("resnet18", 32), ("mobilenet_v2", 40), ("vit_b_32", 64), ("googlenet", 64), ("swin_t", 32)],
)
def test_a_classifier_of_torchvision_gives_one_logit_per_class_at_the_size_asked_for(name, size):
    network = build(7, architecture=f"torchvision:{name}", input_size=size)
    assert not any(module.training for module in network.modules())
    assert input_shape(network) == (3, size, size)
    with torch.no_grad():
        logits = network(torch.randn(2, 3, size, size, generator=generator(1)))
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()


def test_a_network_of_torchvision_has_torchvisions_own_names_and_shapes():
    from torchvision.models import resnet50

    assert shapes(build(7, architecture="torchvision:resnet50")) == shapes(resnet50(num_classes=7))


def test_the_study_s_networks_take_32x32_unless_they_are_told_otherwise():
    assert input_shape(build(10, model_type="VGG11", width=cases.TINY)) == (3, 32, 32)
    assert input_shape(build(10, model_type="RESNET18", width=cases.TINY, input_size=35)) == (3, 35, 35)
    assert input_shape(nn.Linear(1, 1)) == (3, 32, 32)  # whoever does not say


def test_fresh_weights_of_torchvision_depend_on_the_generators_seed_alone():
    spec = {"architecture": "torchvision:resnet18"}
    one = initialised(generator(1), 10, **spec)
    torch.manual_seed(1234)  # the global state plays no part, and goes on as if nothing had happened
    expected = torch.rand(3)
    torch.manual_seed(1234)
    same = initialised(generator(1), 10, **spec)
    assert torch.equal(torch.rand(3), expected)
    other = initialised(generator(2), 10, **spec)
    for name, parameter in one.named_parameters():
        assert torch.equal(parameter, same.get_parameter(name))
    assert not torch.equal(one.conv1.weight, other.conv1.weight)


@pytest.mark.parametrize("model_type", cases.ALL_MODEL_TYPES)
def test_an_initialised_network_of_the_study_is_a_built_one_with_our_weights(model_type):
    spec = cases.spec_of(model_type)
    network = build(10, **spec)
    initialise(network, generator(1))
    found = initialised(generator(1), 10, **spec).state_dict()
    assert found.keys() == network.state_dict().keys()
    assert all(torch.equal(tensor, found[name]) for name, tensor in network.state_dict().items())


OWN_NETWORKS = """
import torch
from own.parts import Flat


def make(num_classes, width=1.0):
    hidden = int(8 * width)
    first, last = torch.nn.Linear(3 * 8 * 8, hidden), torch.nn.Linear(hidden, num_classes)
    return torch.nn.Sequential(Flat(), first, last)


def raises(num_classes):
    raise RuntimeError("no such file: table.json")


def gives_text(num_classes):
    return "a network"


def one_output_more(num_classes):
    return make(num_classes + 1)


def in_double(num_classes):
    return make(num_classes).double()


def of_grey_images(num_classes):
    layers = torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, num_classes)
    return torch.nn.Sequential(*layers)


class Two(torch.nn.Module):
    def forward(self, x):
        return x, x


def two_outputs(num_classes):
    return torch.nn.Sequential(make(num_classes), Two())


class Extra(torch.nn.Linear):
    def get_extra_state(self):
        return {"version": 3}

    def set_extra_state(self, state):
        pass


def extra_state(num_classes):
    return torch.nn.Sequential(torch.nn.Flatten(), Extra(3 * 8 * 8, num_classes))


constant = 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A package of the user's in the current folder."""
    import sys

    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "parts.py").write_text("import torch\n\n\nclass Flat(torch.nn.Flatten):\n    pass\n")
    (folder / "nets.py").write_text(OWN_NETWORKS)
    (folder / "broken.py").write_text("import a_module_that_nobody_has\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    yield folder
    assert sys.path == before
    for name in [name for name in sys.modules if name.split(".")[0] == "own"]:
        del sys.modules[name]


def test_a_function_of_the_user_s_own_makes_the_network(own):
    network = build(5, architecture="own.nets:make", input_size=8)
    assert [tuple(p.shape) for p in network.parameters()] == [(8, 192), (8,), (5, 8), (5,)]
    assert not network.training
    wider = build(5, architecture="own.nets:make", input_size=8, width=2.0)
    assert wider[1].out_features == 16


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"architecture": "torchvision:resnet5"}, "has no such classifier; did you mean resnet50"),
        (
            {"architecture": "torchvision:fcn_resnet50"},
            "torchvision:fcn_resnet50: torchvision has no such class",
        ),
        ({"architecture": "torchvision:resnet18", "width": 0.5}, "has no 'width'; leave it out"),
        (
            {"architecture": "torchvision:alexnet"},
            "torchvision:alexnet: cannot take images of 32x32 pixels",
        ),
        ({"architecture": "torchvision:vit_b_16", "input_size": 33}, "cannot be made with input_size 33"),
        ({"architecture": "torchvision:maxvit_t"}, "cannot be made with input_size 32"),
        ({"model_type": "VGG11", "input_size": 64}, "VGG11: cannot take images of 64x64 pixels"),
        ({"architecture": "owm.nets:make"}, "owm.nets:make: there is no module owm in /"),
        ({"architecture": "own.net:make"}, "own.net:make: there is no module own.net in /"),
        (
            {"architecture": "own.broken:make"},
            "importing own.broken failed: ModuleNotFoundError: No module named 'a_",
        ),
        ({"architecture": "own.nets:made"}, "own.nets has no function or class 'made'; define it"),
        ({"architecture": "own.nets:constant"}, "own.nets has no function or class 'constant'"),
        (
            {"architecture": "own.nets:raises"},
            "raises(num_classes=10) failed: RuntimeError: no such file: table",
        ),
        (
            {"architecture": "own.nets:gives_text"},
            "own.nets:gives_text: gave a str; return a torch.nn.Module",
        ),
        ({"architecture": "own.nets:make"}, "own.nets:make: cannot take images of 32x32 pixels"),
        (
            {"architecture": "own.nets:one_output_more", "input_size": 8},
            "own.nets:one_output_more: answers one image of 8x8 pixels with (1, 11), expected (1, 10)",
        ),
        (
            {"architecture": "own.nets:in_double", "input_size": 8},
            "images come in single precision and its weights are torch.float64: make them so",
        ),
        (
            {"architecture": "own.nets:of_grey_images", "input_size": 8},
            "choose another input_size; images have 3 channels, in single precision",
        ),
        (
            {"architecture": "own.nets:two_outputs", "input_size": 8},
            "answers one image of 8x8 pixels with tuple, expected (1, 10); return one logit per class",
        ),
    ],
)
def test_a_network_that_cannot_be_had_is_one_sentence(own, spec, sentence):
    with pytest.raises(InputError) as caught:
        build(10, **spec)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_that_extra_state_is_left_out_is_said_in_the_log(own, caplog):
    warn_once.cache_clear()
    for _ in range(2):
        build(10, architecture="own.nets:extra_state", input_size=8)
    (record,) = caplog.records
    assert (
        "own.nets:extra_state: what its get_extra_state gives is neither saved nor averaged" in record.message
    )
