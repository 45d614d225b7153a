"""REPAIR: goals that are met, statistics against PyTorch's train mode and NumPy, nothing else touched."""

import copy
from functools import cache

import cases
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import mobilenet_v2

from fusionscope.errors import InputError
from fusionscope.fusion.repair import blend, goals_of, output_statistics, repaired, repaired_mean
from fusionscope.images import Images
from fusionscope.networks.biases import give_biases, renormalised_layers
from fusionscope.weights import Weights

COUNT = 40  # images
SEVERAL = 16  # images a batch: the last batch is smaller

HALVES = (0.5, 0.5)


class UserNet(nn.Module):
    """Convolutions of every kind and functional ReLUs; with or without batch norm, bias or not."""

    def __init__(self, *, first_norm: bool, norm: bool):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1, bias=not first_norm)
        self.first_norm = nn.BatchNorm2d(6) if first_norm else nn.Identity()
        self.drop = nn.Dropout(0.5)
        self.grouped = nn.Conv2d(6, 8, 3, stride=2, padding=1, groups=2, bias=False)
        self.grouped_norm = nn.BatchNorm2d(8, momentum=None) if norm else nn.Identity()
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.pixels = nn.Linear(8, 12)  # on the channels of each pixel
        self.hidden = nn.Linear(12 * 16, 20, bias=False)
        self.hidden_norm = nn.BatchNorm1d(20) if norm else nn.Identity()
        self.classes = nn.Linear(20, cases.NUM_CLASSES, bias=False)

    def forward(self, x):
        x = self.drop(F.relu(self.first_norm(self.first(x))))
        x = F.relu(self.grouped_norm(self.grouped(x)), inplace=True)
        x = F.max_pool2d(x + self.depthwise(x), 4)
        x = F.relu(self.pixels(x.permute(0, 2, 3, 1)))
        return self.classes(F.relu(self.hidden_norm(self.hidden(x.flatten(1)))))


class Untraceable(nn.Module):
    """What it does depends on what it sees, so torch.fx has no graph of it."""

    def __init__(self, *, norm: bool):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)
        self.norm = nn.BatchNorm2d(5) if norm else nn.Identity()
        self.classes = nn.Linear(5, cases.NUM_CLASSES)

    def forward(self, x):
        x = self.norm(self.conv(x))
        if x.sum() > 0:
            x = F.relu(x)
        return self.classes(x.mean((2, 3)))


OTHER_NETWORKS = {
    "mobilenet_v2": lambda: mobilenet_v2(num_classes=cases.NUM_CLASSES),
    "user": lambda: UserNet(first_norm=False, norm=False),
    "user, one norm": lambda: UserNet(first_norm=True, norm=False),
    "user, norms": lambda: UserNet(first_norm=True, norm=True),
}
RENORMALISED = (
    "user",
    "user, one norm",
    "user, norms",
    *(t for t in cases.ALL_MODEL_TYPES if not cases.has_norm(t)),
)
NORMED = (
    "mobilenet_v2",
    "user, one norm",
    "user, norms",
    *(t for t in cases.ALL_MODEL_TYPES if cases.has_norm(t)),
)

renormalised_networks = pytest.mark.parametrize("name", RENORMALISED)
normed_networks = pytest.mark.parametrize("name", NORMED)
every_network = pytest.mark.parametrize("name", [*OTHER_NETWORKS, *cases.ALL_MODEL_TYPES])


def network_of(name: str) -> nn.Module:
    """In float64 and eval mode."""
    return OTHER_NETWORKS[name]().double().eval() if name in OTHER_NETWORKS else cases.network_of(name)


@cache
def parent_of(name: str, number: int) -> Weights:
    """Unrelated weights, batch norm's included."""
    if name not in OTHER_NETWORKS:
        return cases.random_weights(name, number)
    random = torch.Generator().manual_seed(number)
    weights = {}
    for key, tensor in network_of(name).state_dict().items():
        if key.endswith("num_batches_tracked"):
            weights[key] = torch.tensor(number)
        elif key.endswith("running_var"):
            weights[key] = torch.empty_like(tensor).uniform_(0.5, 2, generator=random)
        elif tensor.dim() > 1:
            weights[key] = torch.empty_like(tensor).normal_(generator=random) * tensor[0].numel() ** -0.5
        else:  # small biases leave no channel without an image that it answers to
            weights[key] = tensor + 0.1 * torch.empty_like(tensor).normal_(generator=random)
    return weights


def mean(a: Weights, b: Weights) -> Weights:
    return {k: (a[k] + b[k]) / 2 if a[k].is_floating_point() else a[k] for k in a}


def some_images(count: int = COUNT) -> Images:
    return cases.digits()["train"].take(torch.arange(count))


def pixels(images: Images) -> torch.Tensor:
    return images.normalised().double()


@cache
def child_and_goal(name: str, batch_size: int = COUNT):
    """The mean of two unrelated parents, what REPAIR asks of it, and what REPAIR makes of it."""
    network, parents = network_of(name), (parent_of(name, 1), parent_of(name, 2))
    child = mean(*parents)
    goal = blend([output_statistics(network, p, some_images(), COUNT) for p in parents], HALVES)
    return child, goal, repaired(network, child, goal, some_images(), batch_size)


def loaded(name: str, weights: Weights) -> nn.Module:
    """The network at `weights`, with the biases that repair may have added to them."""
    network = network_of(name)
    if set(weights) != set(network.state_dict()):
        give_biases(network)
    network.load_state_dict(weights)
    return network


@torch.no_grad()
def arrays_at(network: nn.Module, images: Images, modules: dict[str, nn.Module], *, inputs: bool):
    """What goes into or comes out of each module for all images at once: (c, n) arrays by name."""
    seen = {}

    def note(name):
        def hook(module, args, output):
            x = (args[0] if inputs else output).numpy().copy()
            x = x if isinstance(module, nn.Linear) else np.moveaxis(x, 1, -1)
            seen[name] = x.reshape(-1, x.shape[-1]).T

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in modules.items()]
    network(pixels(images))
    for handle in handles:
        handle.remove()
    return seen


def outputs_of(network: nn.Module, layers, images: Images) -> dict[str, np.ndarray]:
    modules = {name: network.get_submodule(name) for name in layers}
    return arrays_at(network, images, modules, inputs=False)


def norms_of(network: nn.Module) -> dict[str, nn.Module]:
    kinds = nn.BatchNorm1d | nn.BatchNorm2d
    return {name: module for name, module in network.named_modules() if isinstance(module, kinds)}


# The goal


@renormalised_networks
@pytest.mark.parametrize("batch_size", [COUNT, SEVERAL, 1])
def test_statistics_are_those_of_numpy_over_all_images_whatever_the_batches(name, batch_size):
    network, weights = network_of(name), parent_of(name, 1)
    found = output_statistics(network, weights, some_images(), batch_size)
    assert tuple(found) == renormalised_layers(network)
    for layer, x in outputs_of(loaded(name, weights), found, some_images()).items():
        np.testing.assert_allclose(found[layer][0].numpy(), x.mean(1), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(found[layer][1].numpy(), x.std(1), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["mobilenet_v2", "VGG11", "RESNET18_NOBIAS"])
def test_networks_with_batch_norm_behind_every_layer_have_no_goal(name):
    assert output_statistics(network_of(name), parent_of(name, 1), some_images(), COUNT) == {}


def test_a_blend_is_the_weighted_mean_of_means_and_of_standard_deviations():
    goals = [{"layer": (torch.tensor([m, 1.0]), torch.tensor([s, 0.0]))} for m, s in ((2, 1), (4, 3), (0, 9))]
    mean, std = blend(goals, [0.5, 0.25, 0.25])["layer"]
    assert mean.tolist() == [2.0, 1.0]
    assert std.tolist() == [3.5, 0.0]


@every_network
def test_the_repaired_mean_of_two_parents_is_their_mean_repaired(name):
    network, parents = network_of(name), (parent_of(name, 1), parent_of(name, 2))
    expected = child_and_goal(name)[-1]
    for goals in (None, goals_of(network, parents, some_images())):
        found = repaired_mean(network, parents, HALVES, some_images(), goals)
        assert list(found) == list(expected)
        for key in found:
            if not key.endswith("num_batches_tracked"):
                assert torch.equal(found[key], expected[key]), key


# Layers without batch norm behind them


@renormalised_networks
@pytest.mark.parametrize("batch_size", [COUNT, SEVERAL])
def test_channels_of_the_child_get_the_mean_and_the_spread_of_the_goal(name, batch_size):
    _, goal, weights = child_and_goal(name, batch_size)
    for layer, x in outputs_of(loaded(name, weights), goal, some_images()).items():
        mean, std = (part.numpy() for part in goal[layer])
        assert std.min() > 1e-3
        np.testing.assert_allclose(x.mean(1), mean, rtol=0, atol=1e-9 * std.max())
        np.testing.assert_allclose(x.std(1), std, rtol=1e-9)


@pytest.mark.parametrize("name", [name for name in RENORMALISED if "norm" not in name])
def test_a_collapsed_child_gets_its_variance_back(name):
    """The mean of unrelated weights spreads less with every layer: 1 / sqrt(2) of it is left by one."""
    child, goal, weights = child_and_goal(name)
    last = list(goal)[-1]
    before = outputs_of(loaded(name, child), [last], some_images())[last].std(1).mean()
    after = outputs_of(loaded(name, weights), [last], some_images())[last].std(1).mean()
    wanted = goal[last][1].numpy().mean()
    assert before < 0.5 * wanted
    assert after == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("kind", ["random", "trained"])
@pytest.mark.parametrize("name", [name for name in RENORMALISED if "norm" not in name])
def test_a_child_equal_to_both_parents_computes_the_same_function(name, kind):
    """Trained networks have dead channels, too, and branches that began at zero."""
    if kind == "trained" and name in OTHER_NETWORKS:
        pytest.skip("only the study's networks are trained for tests")
    network, a = network_of(name), parent_of(name, 1) if kind == "random" else cases.trained_weights(name, 1)
    goal = blend([output_statistics(network, a, some_images(), COUNT)] * 2, HALVES)
    weights = repaired(network, a, goal, some_images(), COUNT)
    with torch.no_grad():
        found, expected = (loaded(name, w)(cases.probe()) for w in (weights, a))
    assert cases.relative_difference(found, expected) < 1e-10


@renormalised_networks
def test_only_the_scale_and_the_bias_of_a_neuron_change(name):
    child, goal, weights = child_and_goal(name)
    for layer in goal:
        old, new = (w[f"{layer}.weight"].flatten(1) for w in (child, weights))
        scale = new.norm(dim=1) / old.norm(dim=1)
        assert not torch.allclose(scale, torch.ones_like(scale), atol=0.01)
        assert torch.allclose(new, old * scale[:, None], rtol=1e-10)


@every_network
@pytest.mark.parametrize("batch_size", [COUNT - 1, SEVERAL])
def test_the_batches_do_not_matter(name, batch_size):
    expected, found = child_and_goal(name)[-1], child_and_goal(name, batch_size)[-1]
    with torch.no_grad():
        logits = [loaded(name, weights)(cases.probe()) for weights in (found, expected)]
    assert cases.relative_difference(*logits) < 1e-9
    assert list(found) == list(expected)


@renormalised_networks
def test_layers_without_a_bias_gain_one_and_fit_the_network_with_biases(name):
    network = network_of(name)
    child, goal, weights = child_and_goal(name)
    without = {layer for layer in goal if network.get_submodule(layer).bias is None}
    assert set(weights) - set(child) == {f"{layer}.bias" for layer in without}
    assert bool(without) == (name not in ("VGG11_NOBN", "MLP"))
    give_biases(network)
    assert list(network.state_dict()) == list(weights)
    for key, tensor in network.state_dict().items():
        assert (weights[key].shape, weights[key].dtype) == (tensor.shape, tensor.dtype)


@pytest.mark.parametrize("name", ["VGG11_NOBIAS_NOBN", "RESNET18_NOBIAS_NOBN", "user"])
def test_weights_of_a_network_with_biases_already_are_repaired_alike(name):
    network = network_of(name)
    give_biases(network)
    zeros = {k: torch.zeros_like(v) for k, v in network.state_dict().items()}
    child, goal, expected = child_and_goal(name)
    found = repaired(network, zeros | child, goal, some_images(), COUNT)
    assert all(torch.equal(found[key], expected[key]) for key in expected)


# Batch norm


@torch.no_grad()
def statistics_of_train_mode(network: nn.Module, batch: torch.Tensor) -> dict[str, tuple]:
    """Mean, variance over n and n of each batch norm by PyTorch's own train mode, and the logits."""
    network = copy.deepcopy(network)
    norms, counts = norms_of(network), {}
    for name, norm in norms.items():
        norm.train()
        norm.momentum = 1.0

        def count(module, args, name=name):
            counts[name] = args[0].numel() // args[0].shape[1]

        norm.register_forward_pre_hook(count)
    logits = network(batch)
    statistics = {
        name: (norm.running_mean, norm.running_var * (counts[name] - 1) / counts[name], counts[name])
        for name, norm in norms.items()
    }
    return statistics, logits


@pytest.mark.parametrize("batch_size", [COUNT, SEVERAL])
@pytest.mark.parametrize("name", [name for name in NORMED if not name.startswith("user")])
def test_running_statistics_are_those_of_all_images_in_train_mode(name, batch_size):
    """Then the child in eval mode answers those images as it would in train mode."""
    child, _, weights = child_and_goal(name, batch_size)
    statistics, logits = statistics_of_train_mode(loaded(name, child), pixels(some_images()))
    for norm, (mean, var, _) in statistics.items():
        scale = var.sqrt().max().item()
        assert torch.allclose(weights[f"{norm}.running_mean"], mean, rtol=1e-9, atol=1e-9 * scale)
        assert torch.allclose(weights[f"{norm}.running_var"], var, rtol=1e-9, atol=1e-9 * scale**2)
    with torch.no_grad():
        assert cases.relative_difference(loaded(name, weights)(pixels(some_images())), logits) < 1e-9


@pytest.mark.parametrize("batch_size", [COUNT, SEVERAL])
@pytest.mark.parametrize(
    ("name", "conv", "norm", "options"),
    [
        ("VGG11", "features.0", "features.1", {"padding": 1}),
        ("RESNET18", "conv1", "bn1", {"padding": 1}),
        ("mobilenet_v2", "features.0.0", "features.0.1", {"padding": 1, "stride": 2}),
        ("user, norms", "first", "first_norm", {"padding": 1}),
    ],
)
def test_the_first_batch_norm_holds_numpys_mean_and_variance(name, conv, norm, options, batch_size):
    child, _, weights = child_and_goal(name, batch_size)
    bias = child.get(f"{conv}.bias")
    x = F.conv2d(pixels(some_images()), child[f"{conv}.weight"], bias, **options).numpy()
    np.testing.assert_allclose(weights[f"{norm}.running_mean"].numpy(), x.mean((0, 2, 3)), atol=1e-12)
    np.testing.assert_allclose(weights[f"{norm}.running_var"].numpy(), x.var((0, 2, 3)), rtol=1e-10)


@normed_networks
def test_repaired_children_send_batch_norms_what_their_statistics_say(name):
    """In eval mode, also where renormalised layers and batch norms alternate and dropout is about."""
    network = loaded(name, child_and_goal(name)[-1])
    norms = norms_of(network)
    assert norms
    for norm, x in arrays_at(network, some_images(), norms, inputs=True).items():
        scale = x.std()
        np.testing.assert_allclose(norms[norm].running_mean.numpy(), x.mean(1), rtol=0, atol=1e-9 * scale)
        np.testing.assert_allclose(norms[norm].running_var.numpy(), x.var(1), rtol=1e-8, atol=1e-9 * scale**2)


@every_network
def test_all_but_statistics_and_renormalised_layers_is_the_childs(name):
    child, goal, weights = child_and_goal(name)
    norms = norms_of(network_of(name))
    changed = {f"{norm}.{part}" for norm in norms for part in ("running_mean", "running_var")}
    changed |= {f"{layer}.{part}" for layer in goal for part in ("weight", "bias")}
    assert changed
    for key in child:
        assert torch.equal(weights[key], child[key]) == (key not in changed), key


# What may go wrong


@every_network
@pytest.mark.parametrize("training", [False, True])
def test_the_network_and_the_weights_are_left_as_they_were(name, training):
    network, child = network_of(name).train(training), mean(parent_of(name, 1), parent_of(name, 2))
    before = copy.deepcopy(network.state_dict()), copy.deepcopy(child)
    goal = output_statistics(network, child, some_images(), COUNT)
    for tensor in repaired(network, child, goal, some_images(), COUNT).values():
        tensor.zero_()
    for now, then in zip((network.state_dict(), child), before, strict=True):
        assert list(now) == list(then)
        assert all(torch.equal(now[key], then[key]) for key in then)
    assert all(module.training == training for module in network.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


@every_network
@pytest.mark.parametrize("batch_size", [COUNT, SEVERAL])
def test_dead_channels_of_the_child_stay_finite(name, batch_size):
    """Rows of zeros, and rows that hold next to nothing, in every convolution and hidden linear layer."""
    network, parents = network_of(name), (parent_of(name, 1), parent_of(name, 2))
    goal = blend([output_statistics(network, p, some_images(), COUNT) for p in parents], HALVES)
    child = mean(*parents)
    for tensor in child.values():
        if tensor.dim() > 1:
            tensor[0], tensor[1] = 0, tensor[1] * 1e-12
    weights = repaired(network, child, goal, some_images(), batch_size)
    assert all(tensor.isfinite().all() for tensor in weights.values())
    network = loaded(name, weights)
    with torch.no_grad():
        assert network(pixels(some_images())).isfinite().all()
    for layer, x in outputs_of(network, goal, some_images()).items():
        assert torch.equal(weights[f"{layer}.weight"][:2], child[f"{layer}.weight"][:2])
        np.testing.assert_allclose(x[:2].mean(1), goal[layer][0][:2].numpy(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["VGG11_NOBN", "RESNET18_NOBIAS_NOBN", "user"])
def test_a_network_of_zeros_gets_the_means_of_the_goal(name):
    network = network_of(name)
    zeros = {key: torch.zeros_like(tensor) for key, tensor in network.state_dict().items()}
    goal = output_statistics(network, parent_of(name, 1), some_images(), COUNT)
    weights = repaired(network, zeros, goal, some_images(), COUNT)
    for layer, (mean, _) in goal.items():
        assert torch.equal(weights[f"{layer}.bias"], mean)
        assert weights[f"{layer}.weight"].eq(0).all()


@pytest.mark.parametrize("name", ["VGG11_NOBN", "user"])
def test_channels_that_are_dead_in_the_parents_become_constant(name):
    """A goal of no spread is met, too: nothing is divided by it."""
    network = network_of(name)
    goal = output_statistics(network, parent_of(name, 1), some_images(), COUNT)
    goal = {layer: (mean, std * torch.arange(len(std)).gt(0)) for layer, (mean, std) in goal.items()}
    weights = repaired(network, parent_of(name, 2), goal, some_images(), COUNT)
    for layer, x in outputs_of(loaded(name, weights), goal, some_images()).items():
        np.testing.assert_allclose(x[0], goal[layer][0][0].item(), rtol=1e-12)
        np.testing.assert_allclose(x.std(1), goal[layer][1].numpy(), rtol=1e-9, atol=1e-10)


@every_network
def test_float32_networks_get_float32_weights_that_meet_the_goal(name):
    network = network_of(name).float()
    parents = [
        {k: v.float() if v.is_floating_point() else v for k, v in parent_of(name, i).items()} for i in (1, 2)
    ]
    goal = blend([output_statistics(network, p, some_images(), COUNT) for p in parents], HALVES)
    weights = repaired(network, mean(*parents), goal, some_images(), COUNT)
    expected = child_and_goal(name)[-1]
    for key, tensor in weights.items():
        assert tensor.dtype == (torch.float32 if expected[key].is_floating_point() else torch.int64)
        scale = expected[key].double().abs().max().item()
        assert (tensor.double() - expected[key]).abs().max().item() < 1e-3 * scale, key


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@every_network
def test_on_a_gpu_the_result_is_the_same(name):
    _, _, expected = child_and_goal(name)
    network, parents = network_of(name).cuda(), (parent_of(name, 1), parent_of(name, 2))
    images = some_images().to("cuda")
    goal = blend([output_statistics(network, p, images, COUNT) for p in parents], HALVES)
    weights = repaired(network, mean(*parents), goal, images, COUNT)
    assert all(tensor.is_cuda for tensor in weights.values())
    for key, tensor in weights.items():
        assert torch.allclose(tensor.cpu(), expected[key], rtol=1e-6, atol=1e-8), key


def test_a_network_that_cannot_be_traced_gets_new_running_statistics():
    network = Untraceable(norm=True).double()
    weights = network.state_dict()
    assert output_statistics(network, weights, some_images(), COUNT) == {}
    found = repaired(network, weights, {}, some_images(), SEVERAL)
    x = F.conv2d(pixels(some_images()), weights["conv.weight"], weights["conv.bias"]).detach().numpy()
    np.testing.assert_allclose(found["norm.running_mean"].numpy(), x.mean((0, 2, 3)), atol=1e-12)
    np.testing.assert_allclose(found["norm.running_var"].numpy(), x.var((0, 2, 3)), rtol=1e-10)


def test_a_network_that_cannot_be_traced_and_has_no_batch_norm_is_refused_in_one_sentence():
    network = Untraceable(norm=False).double()
    with pytest.raises(InputError, match=r"Untraceable: has no batch norm.*leave out 'repair'"):
        output_statistics(network, network.state_dict(), some_images(), COUNT)


class Fickle(nn.Module):
    """Uses a batch norm for bright batches only."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.classes = nn.Linear(3, cases.NUM_CLASSES)

    def forward(self, x):
        return self.classes((self.norm(x) if x.mean() > 0 else x).mean((2, 3)))


@pytest.mark.parametrize("order", [[0, 0, 1, 1], [1, 1, 0, 0]])
def test_batches_that_take_different_ways_are_refused_in_one_sentence(order):
    network = Fickle()
    images = cases.labelled([0] * 4)
    images.pixels.copy_(torch.tensor(order).view(4, 1, 1, 1) * 255)
    with pytest.raises(InputError, match=r"norm: not all batches.*all images in one batch"):
        repaired(network, network.state_dict(), {}, images, batch_size=2)
    repaired(network, network.state_dict(), {}, images, batch_size=4)
