"""The Hessian's summaries against the same matrix held in full."""

import copy
import math
from dataclasses import replace

import cases
import numpy as np
import pytest
import torch
from curvlinops.examples import TensorLinearOperator
from measure_cases import dense_hessian, random_images, randomise, smooth_network
from torch import Tensor, nn

from fusionscope.errors import InputError
from fusionscope.images import Images
from fusionscope.measurement import NOT_CENSORED, RIGHT, Measurement
from fusionscope.measures.parameter.density import SMOOTHING, spectral_density
from fusionscope.measures.parameter.hessian import (
    FEWEST_DRAWS,
    converged,
    deflated_quadrature,
    hessian_operator,
    hessian_top_eigenvalue,
    hessian_trace,
    lanczos,
    measure_hessian,
    top_eigenvalue,
    trace,
)

RECIPE = {
    "seed": 1,
    "lanczos_steps": 40,
    "density_starts": 2,
    "eigenvalue_tolerance": 1e-3,
    "trace_draws": 5,
}


def case(name: str) -> tuple[nn.Module, Images]:
    """A network and images whose Hessian fits into memory."""
    networks = {
        "smooth": smooth_network(),
        "batch norm": smooth_network(batch_norm=True),
        "relu": randomise(nn.Sequential(nn.Flatten(), nn.Linear(48, 5), nn.ReLU(), nn.Linear(5, 3)), seed=1),
        "saddle": smooth_network(seed=1),
    }
    network, images = networks[name], random_images(10, size=4, classes=3, seed=2)
    if name == "saddle":  # confident and wrong on every image: more curvature downwards than upwards
        with torch.no_grad():
            network[-1].weight.mul_(3)
            images = replace(images, labels=network(images.normalised()).argmin(1))
    return network, images


def symmetric(size: int, eigenvalues: Tensor | None = None, seed: int = 0) -> Tensor:
    """A symmetric float64 matrix, random or with these eigenvalues."""
    stream = torch.Generator().manual_seed(seed)
    a = torch.randn(size, size, generator=stream, dtype=torch.float64)
    if eigenvalues is None:
        return (a + a.T) / 2
    q, _ = torch.linalg.qr(a)
    result = q @ torch.diag(eigenvalues.double()) @ q.T
    return (result + result.T) / 2


CASES = ["smooth", "batch norm", "relu", "saddle"]


@pytest.mark.parametrize("name", CASES)
def test_the_operator_is_the_hessian_of_the_mean_loss(name):
    network, images = case(name)
    expected = dense_hessian(network, images)
    hessian = hessian_operator(network, images, batch_size=10)
    found = hessian @ torch.eye(len(expected), dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


def test_the_batch_size_does_not_matter():
    network, images = case("smooth")
    v = torch.randn(275, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    products = [hessian_operator(network, images, size) @ v for size in (10, 7, 3, 1)]  # 7 + 3: uneven
    for product in products[1:]:
        torch.testing.assert_close(product, products[0], rtol=1e-10, atol=1e-13)


def run_of(hessian, steps: int, seed: int = 0):
    return lanczos(hessian, steps, seed, "run")


def top(hessian, steps: int, tolerance: float = 1e-6) -> Measurement:
    return top_eigenvalue(run_of(hessian, steps), tolerance)


def test_a_network_in_training_mode_is_measured_in_eval_mode():
    network, images = case("batch norm")
    expected = dense_hessian(network, images)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    found = top(hessian_operator(network.train(), images, batch_size=10), 100).value
    assert found == pytest.approx(torch.linalg.eigvalsh(expected)[-1].item(), rel=1e-9)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("name", CASES)
def test_top_eigenvalue_is_the_largest_of_the_dense_matrix(name):
    network, images = case(name)
    eigenvalues = torch.linalg.eigvalsh(dense_hessian(network, images))
    found = top(hessian_operator(network, images, batch_size=10), 100)
    assert found.value == pytest.approx(eigenvalues[-1].item(), rel=1e-9)
    assert (found.std_error, found.censored) == (None, NOT_CENSORED)


def test_top_eigenvalue_is_signed():
    # the largest in modulus is another one here, so an unsigned search would be caught
    network, images = case("saddle")
    eigenvalues = torch.linalg.eigvalsh(dense_hessian(network, images))
    assert eigenvalues[0] < -1.5 * eigenvalues[-1] < 0
    negative = symmetric(40, -torch.arange(1, 41))
    assert top(TensorLinearOperator(negative), 40).value == pytest.approx(-1, rel=1e-9)


def test_top_eigenvalue_works_with_fewer_parameters_than_steps():
    matrix = symmetric(5)
    found = top(TensorLinearOperator(matrix), 20).value
    assert found == pytest.approx(torch.linalg.eigvalsh(matrix)[-1].item(), rel=1e-9)


def test_top_eigenvalue_that_does_not_converge_is_a_lower_bound_and_says_so():
    size = 400
    hessian = TensorLinearOperator(symmetric(size, torch.arange(1, size + 1)))
    found = top(hessian, 20)
    assert found.censored == RIGHT
    # a Ritz value after twenty steps is neither above the true value nor far from the end of the spectrum
    assert 0.9 * size < found.value < size
    assert found == top(hessian, 20)


@pytest.mark.parametrize("steps", [5, 10, 20, 60])
def test_an_eigenvalue_lies_within_the_residual_of_each_ritz_value(steps):
    eigenvalues = torch.linspace(0, 1, 300) ** 3
    run = run_of(TensorLinearOperator(symmetric(300, eigenvalues)), steps)
    distances = (torch.from_numpy(run.values)[:, None] - eigenvalues.double()).abs().amin(1).numpy()
    assert (distances <= run.residuals + 1e-12).all()


def test_a_looser_tolerance_keeps_its_promise():
    hessian = TensorLinearOperator(symmetric(300, torch.linspace(0, 1, 300) ** 3))
    for steps in range(2, 100):
        found = top(hessian, steps, 1e-2)
        assert found.value <= 1 + 1e-12
        if found.censored == NOT_CENSORED:
            assert found.value == pytest.approx(1, rel=1e-2)
            break
    assert 10 < steps < 60


@pytest.mark.parametrize("steps", [1, 10])
@pytest.mark.parametrize("name", CASES)
def test_trace_is_within_its_error_of_the_dense_trace(name, steps):
    network, images = case(name)
    matrix = dense_hessian(network, images)
    hessian = hessian_operator(network, images, batch_size=10)
    run = run_of(hessian, steps)
    found = trace(hessian, run, seed=0, draws=200)
    assert abs(found.value - matrix.trace().item()) < 4 * found.std_error
    # Hutchinson's variance in closed form: twice the squares off the diagonal of what is orthogonal to Q
    p = torch.eye(len(matrix)).double() - run.basis.T @ run.basis
    rest = p @ matrix @ p
    off_diagonal = rest - torch.diag(rest.diagonal())
    expected_error = math.sqrt(2 * off_diagonal.square().sum().item() / 200)
    assert found.std_error == pytest.approx(expected_error, rel=0.35)


def test_the_basis_takes_the_outliers_out_of_the_error_of_the_trace():
    bulk = torch.linspace(-0.1, 1, 197)
    hessian = TensorLinearOperator(symmetric(200, torch.cat([torch.tensor([100.0, 50.0, -40.0]), bulk])))
    errors = [trace(hessian, run_of(hessian, steps), seed=0, draws=50).std_error for steps in (1, 10)]
    assert errors[0] > 20 * errors[1]


def test_trace_of_a_matrix_whose_range_the_basis_spans_is_exact_with_every_draw():
    matrix = symmetric(60, torch.cat([torch.tensor([9.0, 4.0, 1.0, -2.0]), torch.zeros(56)]))
    hessian = TensorLinearOperator(matrix)
    run = run_of(hessian, 6)
    found = trace(hessian, run, seed=0, draws=5)
    assert found.value == pytest.approx(12, rel=1e-9)
    assert found.std_error < 1e-9
    assert trace(hessian, run, seed=0, draws=1).std_error is None


def test_the_error_of_the_trace_falls_with_the_root_of_the_draws():
    matrix = symmetric(40)
    hessian = TensorLinearOperator(matrix)
    run = run_of(hessian, 3)
    few, many = (trace(hessian, run, seed=0, draws=draws) for draws in (100, 6400))
    assert few.std_error / many.std_error == pytest.approx(8, rel=0.2)
    assert abs(many.value - matrix.trace().item()) < 4 * many.std_error
    # the error that was reported is the error that is made: over seeds, its size is right
    truth = matrix.trace().item()
    found = [trace(hessian, run_of(hessian, 3, seed), seed=seed, draws=50) for seed in range(100)]
    scores = [(t.value - truth) / t.std_error for t in found]
    assert 0.8 < np.std(scores) < 1.25
    assert abs(np.mean(scores)) < 0.4  # unbiased: four standard errors of a mean of 100


def test_a_target_error_is_reached_with_as_many_draws_as_it_takes():
    hessian = TensorLinearOperator(symmetric(100, torch.linspace(0, 1, 100)))
    run = run_of(hessian, 3)
    for target in (0.3, 0.01):
        found = trace(hessian, run, seed=0, target_error=target)
        assert found.std_error <= target * found.value
    fewest = trace(hessian, run, seed=0, draws=FEWEST_DRAWS)
    assert trace(hessian, run, seed=0, target_error=0.3) == fewest
    assert found.std_error < fewest.std_error


def test_full_lanczos_gives_all_eigenvalues_and_their_weights():
    matrix = symmetric(30)
    run = run_of(TensorLinearOperator(matrix), 30)
    values, weights = run.values, run.weights
    np.testing.assert_allclose(values, torch.linalg.eigvalsh(matrix), rtol=1e-10, atol=1e-12)
    assert weights.sum() == pytest.approx(1, rel=1e-12)
    # The weights are the shares of the start vector v along the eigenvectors, so that v^T f(H) v is
    # exact for every f: here f(H) = H^2, whose own mean v^T H^2 v a run on H^2 gives in one step.
    mean_square = run_of(TensorLinearOperator(matrix @ matrix), 1).values
    assert weights @ values**2 == pytest.approx(mean_square[0], rel=1e-10)


def test_few_lanczos_steps_are_a_gauss_quadrature():
    # k steps integrate polynomials up to degree 2 k - 1 exactly against the start's spectral measure
    hessian = TensorLinearOperator(symmetric(30))
    full, run = run_of(hessian, 30), run_of(hessian, 4)
    full_values, full_weights, values, weights = full.values, full.weights, run.values, run.weights
    assert len(values) == 4
    for degree in range(8):
        expected = full_weights @ full_values**degree
        assert weights @ values**degree == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert weights @ values**8 != pytest.approx(full_weights @ full_values**8, rel=1e-3)


def test_lanczos_ends_when_it_has_seen_every_different_eigenvalue():
    matrix = symmetric(40, torch.tensor([-2.0] * 10 + [0.0] * 20 + [1.0] * 5 + [7.0] * 5))
    run = run_of(TensorLinearOperator(matrix), 40)
    np.testing.assert_allclose(run.values, [-2, 0, 1, 7], atol=1e-9)
    np.testing.assert_allclose(run.residuals, 0, atol=1e-9)
    assert run.weights.sum() == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("name", ["smooth", "relu"])
def test_lanczos_finds_the_ends_of_a_network_s_spectrum(name):
    network, images = case(name)
    eigenvalues = torch.linalg.eigvalsh(dense_hessian(network, images)).numpy()
    hessian = hessian_operator(network, images, batch_size=10)
    run = run_of(hessian, 60)
    values, weights = run.values, run.weights
    assert values[0] == pytest.approx(eigenvalues[0], rel=1e-6)
    assert values[-1] == pytest.approx(eigenvalues[-1], rel=1e-6)
    assert weights.sum() == pytest.approx(1, rel=1e-12)


def quadrature(hessian, *, starts: int, lanczos_steps: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights from a first run for the outliers, and so many others for the rest."""
    run = run_of(hessian, lanczos_steps, seed)
    return deflated_quadrature(hessian, *converged(run), lanczos_steps, starts, seed)


def moment(found, degree: int) -> float:
    return np.trapezoid(found.eigenvalue**degree * found.density, found.eigenvalue)


SPECTRA = {
    "random": torch.linalg.eigvalsh(symmetric(60)),
    "outliers on both sides": torch.cat([torch.linspace(-0.1, 0.1, 197), torch.tensor([-3.4, 50.0, 300.0])]),
    "one outlier": torch.cat([torch.zeros(99), torch.tensor([1.0])]),
    "far from zero": torch.linspace(99, 101, 50),
}


@pytest.mark.parametrize("name", SPECTRA)
def test_smoothing_keeps_the_moments_of_the_quadrature(name):
    nodes, weights = quadrature(
        TensorLinearOperator(symmetric(len(SPECTRA[name]), SPECTRA[name])), starts=1, lanczos_steps=20
    )
    found = spectral_density(nodes, weights)
    size = math.sqrt(weights @ nodes**2)
    assert moment(found, 0) == pytest.approx(1, rel=1e-9)
    assert (found.density >= 0).all()
    assert moment(found, 1) == pytest.approx(weights @ nodes, abs=0.005 * size)
    assert moment(found, 2) == pytest.approx((1 + 2 * SMOOTHING**2) * size**2, rel=0.005)
    # and no further beyond the spectrum than five of the bumps that the docstring tells
    for end, outermost in ((0, nodes.min()), (-1, nodes.max())):
        width = SMOOTHING * math.hypot(outermost, size)
        assert abs(found.eigenvalue[end] - outermost) <= 5.01 * width


def test_the_quadrature_is_in_the_density():
    nodes, weights = quadrature(TensorLinearOperator(symmetric(60)), starts=2, lanczos_steps=10)
    found = spectral_density(nodes, weights)
    there = found.ritz_weight > 0
    order = np.argsort(nodes)
    np.testing.assert_array_equal(found.eigenvalue[there], nodes[order])
    np.testing.assert_array_equal(found.ritz_weight[there], weights[order])


def test_the_grid_resolves_every_bump():
    found = spectral_density(np.array([-3.4, 1e-6, 300.0]), np.array([0.01, 0.98, 0.01]))
    width = SMOOTHING * np.hypot(found.eigenvalue, math.sqrt(0.01 * (3.4**2 + 300**2)))
    assert (np.diff(found.eigenvalue) <= 0.6 * width[1:]).all()


@pytest.mark.parametrize("name", ["outliers on both sides", "one outlier"])
def test_outliers_have_the_weight_of_one_eigenvalue_each(name):
    """A single run gives them a random share, so that even many runs are off in the second moment."""
    eigenvalues = SPECTRA[name].double().numpy()
    hessian = TensorLinearOperator(symmetric(len(eigenvalues), SPECTRA[name]))
    truth = np.mean(eigenvalues**2)
    for seed in range(5):
        nodes, weights = quadrature(hessian, starts=1, lanczos_steps=20, seed=seed)
        assert weights.sum() == pytest.approx(1, rel=1e-9)
        assert weights @ nodes**2 == pytest.approx(truth, rel=0.001)
    plain = [lanczos(hessian, 20, seed, "plain") for seed in range(5)]
    assert max(abs(run.weights @ run.values**2 / truth - 1) for run in plain) > 0.3


def test_an_outlier_that_comes_several_times_is_counted_as_often():
    eigenvalues = torch.cat([torch.full((9,), 7.0), torch.linspace(-0.1, 0.1, 91)])
    hessian = TensorLinearOperator(symmetric(100, eigenvalues))
    nodes, weights = quadrature(hessian, starts=400, lanczos_steps=8)
    error = math.sqrt(2 * 8 / 400) / 100  # of the eight that the first run does not find
    assert weights[nodes > 6].sum() == pytest.approx(0.09, abs=4 * error)


@pytest.mark.parametrize("name", CASES)
def test_density_of_a_network_has_the_moments_of_its_hessian(name):
    network, images = case(name)
    eigenvalues = torch.linalg.eigvalsh(dense_hessian(network, images)).numpy()
    hessian = hessian_operator(network, images, batch_size=10)
    found = spectral_density(*quadrature(hessian, starts=16, lanczos_steps=30))
    size = math.sqrt(np.mean(eigenvalues**2))
    assert moment(found, 1) == pytest.approx(eigenvalues.mean(), abs=0.1 * size)
    assert moment(found, 2) == pytest.approx(size**2, rel=0.1)
    assert found.eigenvalue[0] < eigenvalues[0]
    assert eigenvalues[-1] < found.eigenvalue[-1]


def test_density_of_many_runs_has_the_mean_and_the_spread_of_the_eigenvalues():
    eigenvalues, starts = SPECTRA["random"].numpy(), 200
    found = spectral_density(*quadrature(TensorLinearOperator(symmetric(60)), starts=starts, lanczos_steps=8))
    # v^T H v of a random unit vector v has variance 2 var(eigenvalues) / (size + 2)
    error = math.sqrt(2 * eigenvalues.var() / (len(eigenvalues) + 2) / starts)
    assert moment(found, 1) == pytest.approx(eigenvalues.mean(), abs=4 * error)
    assert moment(found, 2) == pytest.approx(np.mean(eigenvalues**2), rel=0.05)


def test_density_puts_each_cluster_of_eigenvalues_where_it_is():
    clusters = {-5.0: 0.125, 0.0: 0.625, 10.0: 0.25}
    size, starts = 80, 100
    eigenvalues = torch.cat([torch.full((round(size * share),), value) for value, share in clusters.items()])
    hessian = TensorLinearOperator(symmetric(size, eigenvalues))
    found = spectral_density(*quadrature(hessian, starts=starts, lanczos_steps=20))
    for value, share in clusters.items():
        near = np.abs(found.eigenvalue - value) < 2.5
        mass = np.trapezoid(found.density[near], found.eigenvalue[near])
        error = math.sqrt(2 * share * (1 - share) / (size + 2) / starts)  # of a beta distribution
        assert mass == pytest.approx(share, abs=4 * error + 0.005)


def test_a_single_run_has_its_own_weights():
    network, images = case("smooth")
    _, density = measure_hessian(network, images, 10, **(RECIPE | {"density_starts": 1}))
    run = lanczos(hessian_operator(network, images, 10), RECIPE["lanczos_steps"], RECIPE["seed"], 0)
    np.testing.assert_allclose(density.eigenvalue[density.ritz_weight > 0], run.values)
    np.testing.assert_allclose(density.ritz_weight[density.ritz_weight > 0], run.weights)


def test_a_dead_network_is_flat_in_every_summary():
    # no hidden unit ever fires and the last layer has no bias: the loss does not depend on any weight
    network = randomise(
        nn.Sequential(nn.Flatten(), nn.Linear(48, 5), nn.ReLU(), nn.Linear(5, 3, bias=False)), seed=1
    )
    nn.init.constant_(network[1].bias, -1e3)
    images = random_images(10, size=4, classes=3)
    assert not dense_hessian(network, images).any()
    hessian = hessian_operator(network, images, batch_size=10)
    assert top(hessian, 5) == Measurement(0.0)
    assert trace(hessian, run_of(hessian, 5), seed=0, draws=3) == Measurement(0.0, 0.0)
    found = spectral_density(*quadrature(hessian, starts=2, lanczos_steps=5))
    assert np.isfinite(found.density).all()
    assert found.eigenvalue[0] < 0 < found.eigenvalue[-1]
    assert np.trapezoid(found.density, found.eigenvalue) == pytest.approx(1, rel=1e-9)
    assert found.eigenvalue[found.density.argmax()] == 0


def test_the_seed_decides_the_numbers():
    network, images = case("smooth")

    def numbers(seed: int) -> list[float]:
        measured, density = measure_hessian(network, images, 10, **(RECIPE | {"seed": seed}))
        return [*(number.value for number in measured.values()), *density.density]

    torch.manual_seed(0)
    first = numbers(1)
    torch.manual_seed(1)  # the global state has no say
    assert numbers(1) == first
    other = numbers(2)
    assert other[1:] != first[1:]
    assert other[0] == pytest.approx(first[0], rel=1e-6)  # the top eigenvalue is no estimate


def test_more_draws_keep_the_first_ones():
    # three draws are the first three of six: what a longer run adds changes nothing before it
    hessian = TensorLinearOperator(symmetric(20))
    run = run_of(hessian, 2)
    shorter = [trace(hessian, run, seed=0, draws=k).value for k in (1, 2, 3)]
    single = np.diff(
        [0.0, *(k * (value - run.diagonal.sum()) for k, value in zip((1, 2, 3), shorter, strict=True))]
    )
    assert len(set(np.round(single, 9))) == 3  # different draws


@pytest.mark.parametrize("draws", [2, 8])
def test_the_error_of_few_draws_is_the_spread_over_seeds(draws):
    """From few numbers it is known well, since each draw has an entry per parameter."""
    matrix = dense_hessian(*case("smooth"))
    truth, hessian = matrix.trace().item(), TensorLinearOperator(matrix)
    found = [trace(hessian, run_of(hessian, 8, seed), seed=seed, draws=draws) for seed in range(200)]
    scores = np.array([(number.value - truth) / number.std_error for number in found])
    assert 0.85 < scores.std() < 1.15
    assert abs(scores.mean()) < 4 / math.sqrt(200)
    assert np.mean(np.abs(scores) > 2) <= 0.07


def test_double_precision_is_that_of_a_network_in_float64():
    network, images = case("smooth")
    in_double, _ = measure_hessian(network, images, 10, **RECIPE)
    single = copy.deepcopy(network).float()
    narrow = replace(images, mean=images.mean.float(), std=images.std.float())
    found, _ = measure_hessian(single, narrow, 10, precision="double", **RECIPE)
    rounded, _ = measure_hessian(single, narrow, 10, **RECIPE)
    assert single[-1].weight.dtype == torch.float32
    for name, number in in_double.items():
        # the weights themselves were rounded to float32
        assert found[name].value == pytest.approx(number.value, rel=2e-5)
        assert found[name].value != rounded[name].value
        assert rounded[name].value == pytest.approx(number.value, rel=1e-3)


def test_the_vectors_that_are_held_are_those_of_the_recipe():
    run = run_of(TensorLinearOperator(symmetric(50)), 7)
    assert run.basis.shape == (7, 50)
    torch.testing.assert_close(run.basis @ run.basis.T, torch.eye(7).double())


def test_a_network_without_second_derivatives_has_no_hessian_and_the_log_says_so(caplog):
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 5), nn.Hardsigmoid(), nn.Linear(5, 2))
    measurements, density = measure_hessian(network, cases.labelled([0, 1, 0, 1]), 4, **RECIPE)
    assert measurements.keys() == {"hessian_top_eigenvalue", "hessian_trace"}
    for number in measurements.values():
        assert number.value is None
        assert number.reason == "derivative for aten::hardsigmoid_backward is not implemented"
    assert len(density.eigenvalue) == len(density.density) == 0
    assert "the Hessian is left out" in caplog.text
    with pytest.raises(InputError, match="hardsigmoid_backward"):
        hessian_top_eigenvalue(network, cases.labelled([0, 1, 0, 1]))


@pytest.mark.parametrize("piecewise_linear", [False, True])
def test_each_number_by_itself_is_that_of_all_together(piecewise_linear):
    network, images = smooth_network(), random_images(6, size=4, classes=3)
    if piecewise_linear:
        network = nn.Sequential(*(nn.ReLU() if isinstance(m, nn.Tanh) else m for m in network))
    options = {"lanczos_steps": 8, "trace_draws": 4, "eigenvalue_tolerance": 0.1}
    measured, _ = measure_hessian(network, images, 4, seed=3, density_starts=1, **options)
    found = hessian_top_eigenvalue(network, images, seed=3, batch_size=4, **options)
    assert found == measured["hessian_top_eigenvalue"]
    assert hessian_trace(network, images, seed=3, batch_size=4, **options) == measured["hessian_trace"]


def test_a_network_whose_outputs_are_not_finite_has_no_hessian_but_a_sentence():
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 3)).double()
    with torch.no_grad():
        network[1].weight.fill_(1e308)
    images = random_images(6, size=4, classes=3)
    with pytest.raises(InputError, match=r"^Sequential: its outputs are not finite on \d of 6 images"):
        hessian_top_eigenvalue(network, images)
    with pytest.raises(InputError, match="not finite"):
        hessian_trace(network, images)
