"""What PyTorch refuses to do with a network is undefined, with the reason; other errors stay errors."""

from dataclasses import replace

import odd_networks
import pytest
import torch
from odd_networks import CLASSES, REFUSED, SIZE, STATES, Usual, images
from torch import nn

from fusionscope.errors import InputError
from fusionscope.measures.connectivity import family as connectivity
from fusionscope.measures.connectivity.paths import highest
from fusionscope.measures.connectivity.similarity import mean_similarity
from fusionscope.measures.connectivity.variance import mean_ratio
from fusionscope.measures.input.lipschitz import LOWER_BOUNDS, measure_input_space
from fusionscope.measures.pair.aligned import AlignedParents, measure_alignment
from fusionscope.measures.pair.parents import measure_parents
from fusionscope.measures.parameter.hessian import hessian_trace, measure_hessian
from fusionscope.measures.parameter.landscape import Landscape, flatten_parameters
from fusionscope.measures.parameter.perturbation import scale_measurements
from fusionscope.measures.parameter.scales import find_scales
from fusionscope.measures.parameter.subject import Subject, load_measures, measure_complexity
from fusionscope.measures.parameter.twelve import flatness_measures
from fusionscope.measures.prediction.prediction import measure_prediction_space
from fusionscope.measures.recipes import COMPLEXITY
from fusionscope.measures.undefined import NotDefined, refusals_as_undefined
from fusionscope.weights import weights_of

HESSIAN = {
    "seed": 0,
    "lanczos_steps": 4,
    "density_starts": 2,
    "eigenvalue_tolerance": 0.001,
    "trace_draws": 2,
}
SEARCH = {"draws": 4, "images_per_draw": 8, "starts": 2, "ascent_steps": 3, "tolerance": 0.1}


def all_right(network):
    """Images with the labels that the network gives them, so that there is an accuracy to lose."""
    with torch.no_grad():
        return replace(images(), labels=network(images().normalised()).argmax(1))


def input_space(network):
    return measure_input_space(network, images(), seed=0, starts=4, power_iterations=4)


def parameter_space(network, origin):
    sample = all_right(network)
    hessian, _ = measure_hessian(network, sample, 8, **HESSIAN)
    landscape = Landscape(network, sample, 8)
    scales = find_scales(landscape, seed=0, scale_range=[1e-3, 10.0], **SEARCH)
    w, w0 = flatten_parameters(network), flatten_parameters(origin)
    flatness = flatness_measures(scales, w, w0, train_size=len(sample))
    complexity = measure_complexity(load_measures(COMPLEXITY), Subject(landscape, sample, origin))
    return hessian | scale_measurements(scales) | flatness | complexity


def connectivity_space(network, weights):
    family = connectivity.Family(
        network,
        weights[0],
        {"parent_1": network, "parent_2": network},
        {"parent_1": weights[0], "parent_2": weights[1]},
        {"parent_1": weights[0], "parent_2": weights[1]},
        "parent_2",
    )
    paths = connectivity.measure_paths(family, images(), points=3, batch_size=8)
    similarities = connectivity.measure_similarities(family, images(), 8)
    variances = connectivity.measure_variances(family, images(), 8)
    return highest(paths.values()) | mean_similarity(similarities) | mean_ratio(variances)


def pair_space(parents):
    sample = {"train_images": images(), "similarity_images": images(), "test_images": images()}
    found = AlignedParents(parents[0], {}, {"parent_1": parents[1]})
    return measure_parents(parents, **sample, batch_size=8) | measure_alignment(found, images(), 8)


@pytest.mark.parametrize("make", [*STATES, *REFUSED])
def test_every_measure_of_an_odd_network_is_a_number_or_a_reason(make):
    network, origin = (odd_networks.seeded(make, seed) for seed in (1, 2))
    found = measure_prediction_space(network, images(), images(), seed=0, batch_size=8, calibration_bins=5)
    found |= input_space(network) | parameter_space(network, origin)
    found |= connectivity_space(network, [weights_of(network), weights_of(origin)])
    found |= pair_space([network, origin])
    for name, number in found.items():
        assert (number.value is None) == bool(number.reason), name
        assert "\n" not in number.reason
        assert "Proxy" not in number.reason


def undefined_of(found):
    return {name for name, number in found.items() if number.value is None}


def test_without_parameters_nothing_of_the_parameter_space_is_defined_but_norms_of_the_input_space():
    network = odd_networks.NoParameters()
    assert not undefined_of(input_space(network))
    found = parameter_space(network, network)
    assert found["hessian_trace"].reason == "it has no parameters"
    assert found["pac_bayes_sigma"].reason == found["sharpness_alpha"].reason == "it has no parameters"
    assert found["flatness_init"].reason == found["gradient_variance"].reason == "it has no parameters"
    assert found["spectral_sum"].reason == "it has no convolution and no linear layer"


def test_of_a_frozen_network_what_needs_no_gradient_is_what_it_is_of_a_free_one():
    free, frozen = (odd_networks.seeded(make, 1) for make in (Usual, odd_networks.Frozen))
    expected, found = parameter_space(free, free), parameter_space(frozen, frozen)
    needing = undefined_of(found) - undefined_of(expected)
    assert {"hessian_top_eigenvalue", "hessian_trace", "sharpness_alpha", "gradient_norm"} <= needing
    assert all("frozen" in found[name].reason for name in needing)
    assert "pac_bayes_sigma" not in needing
    assert {name: found[name] for name in found.keys() - needing} == {
        name: expected[name] for name in expected.keys() - needing
    }
    assert input_space(frozen) == input_space(free)


@pytest.mark.parametrize(
    "make", [odd_networks.Counts, odd_networks.CountsAnew, odd_networks.UnusedHead, odd_networks.ExtraState]
)
def test_state_that_the_outputs_do_not_depend_on_changes_no_number(make):
    plain, odd = odd_networks.seeded(Usual, 1), odd_networks.seeded(make, 1)
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            odd.get_parameter(name).copy_(parameter)
    assert input_space(odd)["lipschitz_constant"] == input_space(plain)["lipschitz_constant"]


def test_a_function_of_ones_own_has_the_slopes_of_the_one_that_it_is():
    own, plain = (odd_networks.seeded(make, 1) for make in (odd_networks.OwnFunction, Usual))
    assert not undefined_of(input_space(own)) & set(LOWER_BOUNDS)
    for name in LOWER_BOUNDS:  # the clamp by hand comes after a ReLU and changes nothing
        assert input_space(own)[name] == input_space(plain)[name]


def test_a_network_in_double_precision_gives_the_numbers_of_the_same_in_single_precision():
    single, double = (odd_networks.seeded(make, 1) for make in (Usual, odd_networks.InDouble))
    expected, found = input_space(single), input_space(double)
    for name in LOWER_BOUNDS:
        assert found[name].value == pytest.approx(expected[name].value, rel=1e-4)
    hessians = [measure_hessian(network, all_right(network), 8, **HESSIAN)[0] for network in (single, double)]
    single_top, double_top = (hessian["hessian_top_eigenvalue"].value for hessian in hessians)
    assert double_top == pytest.approx(single_top, rel=1e-4)


def test_a_mask_of_bool_is_as_steep_as_one_of_numbers():
    network = odd_networks.seeded(odd_networks.MaskOfBool, 1)
    found = input_space(network)["lipschitz_upper_bound"]
    network.mask = network.mask.float()
    assert found == input_space(network)["lipschitz_upper_bound"]


def test_norms_of_a_weight_that_a_hook_computes_are_left_out(caplog):
    network = odd_networks.seeded(odd_networks.Pruned, 1)
    subject = Subject(Landscape(network, images(), 8), images(), network)
    assert "parameter_norm" not in measure_complexity(load_measures(COMPLEXITY), subject)
    assert "no parameter_norm: 'two' computes its weight in a hook" in caplog.text


def test_a_reason_names_the_line_of_the_network():
    network = odd_networks.seeded(odd_networks.SingleOnly, 1)
    found, density = measure_hessian(network, images(), 8, precision="double", **HESSIAN)
    assert "odd_networks.py:" in found["hessian_trace"].reason
    assert len(density.eigenvalue) == 0
    with pytest.raises(InputError, match=r"no Hessian: .*odd_networks\.py:"):
        hessian_trace(network, images(), precision="double")


# What is no matter of the network


def test_a_mistake_of_the_library_stays_an_error():
    with pytest.raises(RuntimeError, match="size"), refusals_as_undefined():
        Landscape(Usual(), images(), 8).gradient(torch.arange(4), lambda logits, _: logits @ torch.ones(7))


class OutOfMemory(nn.Module):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def forward(self, x):
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("could not create a primitive"),
        MemoryError(),
    ],
)
def test_memory_that_runs_out_stays_an_error(error):
    with pytest.raises(type(error)), refusals_as_undefined():
        OutOfMemory(error)(torch.zeros(1))


def test_what_the_network_itself_raises_is_a_reason():
    with pytest.raises(NotDefined, match=r"test_undefined\.py:\d+: no such thing"), refusals_as_undefined():
        OutOfMemory(ValueError("no such thing"))(torch.zeros(1, CLASSES, SIZE))
