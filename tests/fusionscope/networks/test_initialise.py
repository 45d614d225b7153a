"""Fresh weights by a rule that suits any network: their variances, what they do to signals, what stays."""

import math

import cases
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from fusionscope.errors import InputError
from fusionscope.networks.build import initialised
from fusionscope.networks.initialise import REDRAWS, draw_he, draw_pytorch_defaults


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


LAYERS = {  # layer, fan_in
    "linear": (lambda: nn.Linear(300, 200), 300),
    "convolution": (lambda: nn.Conv2d(64, 128, 3), 64 * 9),
    "convolution with more inputs than outputs": (lambda: nn.Conv2d(256, 32, 3), 256 * 9),
    "grouped convolution": (lambda: nn.Conv2d(64, 256, 3, groups=4), 16 * 9),
    "along one axis": (lambda: nn.Conv1d(100, 50, 5), 500),
    "in space": (lambda: nn.Conv3d(16, 32, 3), 16 * 27),
}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("initialisation", REDRAWS)
def test_weights_have_the_variance_that_their_rule_says(layer, initialisation):
    make, fan_in = LAYERS[layer]
    module = make()
    with torch.no_grad():  # whatever was there before must be gone
        for parameter in module.parameters():
            parameter.fill_(7)
    torch.manual_seed(1)
    REDRAWS[initialisation](module)
    weight, count = module.weight.detach().double(), module.weight.numel()
    if initialisation == "he":  # normal, 2 / fan_in: fourth moment 3 times the variance squared
        variance, spread = 2 / fan_in, math.sqrt(2)
        assert module.bias.eq(0).all()
        assert weight.abs().max() > 3 * math.sqrt(variance)
    else:  # uniform within 1 / sqrt(fan_in): 1.8 times
        variance, spread = 1 / (3 * fan_in), math.sqrt(0.8)
        bound = fan_in**-0.5
        assert weight.abs().max() <= bound * (1 + 1e-6)
        assert module.bias.abs().max() <= bound * (1 + 1e-6)
        assert module.bias.ne(0).all()
    # five standard errors of a mean square, and of a mean
    assert weight.square().mean().item() == pytest.approx(variance, rel=5 * spread / math.sqrt(count))
    assert abs(weight.mean().item()) < 5 * math.sqrt(variance / count)


def variance_kept(initialisation: str, depth: int = 12, width: int = 256, draws: int = 10) -> float:
    """The variance before the last ReLU over that before the first, a mean over draws of the weights."""
    ratios = []
    for seed in range(draws):
        torch.manual_seed(seed)
        layers = [nn.Linear(width, width) for _ in range(depth)]
        REDRAWS[initialisation](nn.Sequential(*layers))
        signal = torch.randn(64, width)
        variances = []
        with torch.no_grad():
            for layer in layers:
                signal = nn.functional.linear(signal, layer.weight)  # without biases, as in the derivation
                variances.append(signal.square().mean().item())
                signal = signal.relu()
        ratios.append(variances[-1] / variances[0])
    return sum(ratios) / draws


def test_signals_keep_their_scale_through_relu_layers_with_he_and_lose_it_by_default():
    """Eleven layers each multiply the variance by fan_in Var(w) / 2: 1 with he, 1/6 by default."""
    # the ratio's spread over draws is about sqrt(5 depth / width), here 0.5
    assert variance_kept("he") == pytest.approx(1, abs=0.5)
    assert variance_kept("pytorch") == pytest.approx(6**-11, rel=0.5)


@pytest.mark.parametrize("initialisation", REDRAWS)
@pytest.mark.parametrize(
    "spec",
    [cases.spec_of(name) for name in cases.ALL_MODEL_TYPES]
    + [{"architecture": "torchvision:squeezenet1_1", "input_size": 64}],
    ids=lambda spec: next(iter(spec.values())),
)
def test_fresh_weights_depend_on_the_generators_seed_alone(spec, initialisation):
    one = initialised(generator(1), 10, initialisation=initialisation, **spec).state_dict()
    torch.manual_seed(1234)
    expected = torch.rand(3)
    torch.manual_seed(1234)
    same = initialised(generator(1), 10, initialisation=initialisation, **spec).state_dict()
    assert torch.equal(torch.rand(3), expected)  # the global stream goes on as if nothing had happened
    other = initialised(generator(2), 10, initialisation=initialisation, **spec).state_dict()
    own = initialised(generator(1), 10, **spec).state_dict()
    weights = [name for name, tensor in one.items() if tensor.dim() > 1]
    assert all(torch.equal(tensor, same[name]) for name, tensor in one.items())
    assert not any(torch.equal(one[name], other[name]) for name in weights)
    assert not any(torch.equal(one[name], own[name]) for name in weights)


def test_he_draws_residual_branches_like_all_else():
    network = initialised(generator(1), 10, initialisation="he", model_type="RESNET18_NOBN", width=0.25)
    assert network.layer1[0].conv2.weight.ne(0).all()


@pytest.mark.parametrize("redraw", REDRAWS.values(), ids=list(REDRAWS))
def test_batch_norms_and_what_is_no_layer_stay_as_built(redraw):
    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)
            self.shift = nn.Parameter(torch.full((4,), 3.0))

    network = Shifted()
    redraw(network)
    assert network.norm.weight.eq(1).all()
    assert network.norm.bias.eq(0).all()
    assert network.norm.running_var.eq(1).all()
    assert network.shift.eq(3).all()


def test_attention_has_its_own_default():
    """A linear layer's bias is drawn, that of the one inside attention is zero."""
    attention = nn.MultiheadAttention(16, 2)
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.fill_(7)
    draw_pytorch_defaults(attention)
    assert attention.out_proj.bias.eq(0).all()
    assert attention.in_proj_bias.eq(0).all()
    bound = math.sqrt(6 / (3 * 16 + 16))  # Glorot's, uniform
    assert 0.9 * bound < attention.in_proj_weight.abs().max() <= bound
    assert attention.out_proj.weight.abs().max() <= 0.25


class Halved(nn.Conv2d):
    """A layer of one's own that is a convolution."""


def test_layers_derived_from_pytorchs_are_drawn_too():
    for redraw in REDRAWS.values():
        layer = Halved(3, 4, 3)
        before = layer.weight.detach().clone()
        redraw(layer)
        assert layer.weight.ne(before).all()


@pytest.mark.parametrize("redraw", REDRAWS.values(), ids=list(REDRAWS))
@pytest.mark.parametrize("wrap", [parametrizations.weight_norm, nn.utils.weight_norm])
@pytest.mark.filterwarnings("ignore:.*weight_norm.*")
def test_a_weight_that_is_computed_from_others_is_named(redraw, wrap):
    network = nn.Sequential(nn.Linear(3, 3), wrap(nn.Linear(3, 3)))
    with pytest.raises(
        InputError, match=r"^initialisation: 1\.weight is computed .*'initialisation: network'"
    ):
        redraw(network)


def test_the_study_s_networks_are_drawn_as_before_unless_told_otherwise():
    """`network` is the default, and not one of the two rules for any network."""
    assert "network" not in REDRAWS
    default = initialised(generator(1), 10, model_type="RESNET18_NOBN", width=cases.TINY)
    named = initialised(
        generator(1), 10, initialisation="network", model_type="RESNET18_NOBN", width=cases.TINY
    )
    for name, tensor in default.state_dict().items():
        assert torch.equal(tensor, named.state_dict()[name])
    assert default.layer1[0].conv2.weight.eq(0).all()


def test_he_leaves_a_transposed_convolution_alone():
    layer = nn.ConvTranspose2d(2, 3, 3)
    before = layer.weight.detach().clone()
    draw_he(nn.Sequential(layer, nn.Linear(2, 2)))
    assert torch.equal(layer.weight, before)
