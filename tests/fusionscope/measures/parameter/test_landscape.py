"""The landscape computes what the module itself computes, at any weights, and puts the weights back."""

import json
from dataclasses import replace

import pytest
import torch
from measure_cases import WIDTH, flat_loss, random_images, randomise, smooth_network
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector
from torch.profiler import ProfilerActivity, profile

from fusionscope.errors import InputError
from fusionscope.images import Images
from fusionscope.measures.parameter.landscape import Landscape, fastest_layout, flatten_parameters
from fusionscope.measures.parameter.scales import find_scales
from fusionscope.networks.build import build


@pytest.fixture
def images():
    return random_images(11, size=4, classes=3, seed=1)


@pytest.fixture
def network():
    return smooth_network(batch_norm=True)


def bits(network: nn.Module) -> list[Tensor]:
    """Copies of parameters and buffers as whole numbers, which tell 0 from -0 and one NaN from another."""
    whole = {4: torch.int32, 8: torch.int64}
    return [t.detach().clone().view(whole[t.element_size()]) for t in network.state_dict().values()]


@pytest.mark.parametrize(
    ("model_type", "width", "layout"),
    [
        ("VGG11", 0.0625, torch.channels_last),
        ("RESNET18", 0.125, torch.channels_last),
        ("RESNET18", 0.0625, torch.contiguous_format),  # a shortcut reads 4 channels, at stride 2
    ],
)
def test_channels_lie_last_but_where_the_backward_pass_of_a_cpu_would_crash(model_type, width, layout):
    network = build(3, model_type=model_type, width=width)
    assert fastest_layout(network) == layout
    network.to(memory_format=fastest_layout(network))
    network(torch.randn(4, 3, 32, 32)).square().sum().backward()


def own_labels(network: nn.Module, images: Images) -> Images:
    """The images with the labels that the network gives them."""
    with torch.no_grad():
        return replace(images, labels=network(images.normalised()).argmax(1))


def directions(network: nn.Module, seed: int = 0, scale: float = 1.0) -> list[Tensor]:
    stream = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(p.shape, generator=stream).to(p.dtype) for p in network.parameters()]


ALL = torch.arange(11)
SOME = torch.tensor([7, 0, 7, 10, 3])  # neither in order nor without repetition


def test_flat_weights_are_the_trainable_parameters_in_order(network):
    w = flatten_parameters(network)
    assert torch.equal(w, parameters_to_vector(network.parameters()))
    assert not w.requires_grad
    assert w.numel() == 112 + 8 + 136 + 27  # batch norm's buffers are not part


def test_flat_weights_of_a_state_dict_follow_the_network_s_order(network):
    other = smooth_network(batch_norm=True, seed=9)
    backwards = dict(reversed(other.state_dict().items()))
    assert torch.equal(flatten_parameters(network, backwards), flatten_parameters(other))


def test_flat_weights_are_a_copy(network):
    before = flatten_parameters(network).clone()
    flatten_parameters(network).zero_()
    assert torch.equal(flatten_parameters(network), before)


@pytest.mark.parametrize("index", [ALL, SOME], ids=["all", "some"])
@pytest.mark.parametrize("batch_size", [1, 4, 11, 100])
def test_correct_images_and_gradient_are_those_of_the_module(network, images, batch_size, index):
    x, y = images.normalised()[index], images.labels[index]
    logits = network(x)
    expected = torch.autograd.grad(F.cross_entropy(logits, y), list(network.parameters()))
    correct = [bool(row.argmax() == label) for row, label in zip(logits, y, strict=True)]
    landscape = Landscape(network, images, batch_size)
    gradient, answers = landscape.gradient(index)
    assert landscape.correct(index).tolist() == answers.argmax(1).eq(y).tolist() == correct
    torch.testing.assert_close(answers, logits.detach(), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(landscape.logits(index), answers, rtol=1e-12, atol=1e-14)
    for found, part in zip(gradient, expected, strict=True):
        torch.testing.assert_close(found, part, rtol=1e-10, atol=1e-14)
        assert not found.requires_grad


def test_images_by_index_agree_with_the_whole(network, images):
    landscape = Landscape(network, images, 4)
    whole = landscape.correct()
    assert len(landscape) == len(whole) == 11
    assert 0 < whole.sum() < 11
    assert torch.equal(landscape.correct(SOME), whole[SOME])
    assert torch.equal(landscape.gradient(SOME)[1].argmax(1).eq(images.labels[SOME]), whole[SOME])


def test_gradient_is_the_slope_of_the_loss(network, images):
    # finite differences along a random direction, at weights that are not the network's own
    loss, w = flat_loss(network, images.normalised(), images.labels)
    away, direction = directions(network, seed=0, scale=0.1), directions(network, seed=1)
    landscape = Landscape(network, images, 4)
    with landscape.restoring_weights():
        landscape.move(lambda w, p, step: w + step, away)
        gradient, _ = landscape.gradient(ALL)
    w, direction = w + parameters_to_vector(away), parameters_to_vector(direction)
    slope = (loss(w + 1e-6 * direction) - loss(w - 1e-6 * direction)) / 2e-6
    assert (parameters_to_vector(gradient) @ direction).item() == pytest.approx(slope.item(), rel=1e-7)


@pytest.mark.parametrize("batch_size", [4, 100])
def test_the_gradient_is_of_any_loss(network, images, batch_size):
    def losses(logits: Tensor, labels: Tensor) -> Tensor:
        return logits.gather(1, labels[:, None]).squeeze(1).square()

    x, y = images.normalised()[SOME], images.labels[SOME]
    expected = torch.autograd.grad(losses(network(x), y).mean(), list(network.parameters()))
    gradient, _ = Landscape(network, images, batch_size).gradient(SOME, losses)
    for found, part in zip(gradient, expected, strict=True):
        torch.testing.assert_close(found, part, rtol=1e-10, atol=1e-14)


def test_a_weight_that_plays_no_part_has_no_slope(images):
    network = smooth_network()
    network.register_parameter("idle", nn.Parameter(torch.ones(2, 3, dtype=torch.float64)))
    gradient, _ = Landscape(network, images, 4).gradient(ALL)
    (idle,) = (g for g, p in zip(gradient, network.parameters(), strict=True) if p is network.idle)
    assert torch.equal(idle, torch.zeros(2, 3, dtype=torch.float64))


def test_a_move_sees_where_weights_were_and_where_they_are(network, images):
    landscape, step = Landscape(network, images, 4), directions(network)
    start = [p.detach().clone() for p in network.parameters()]

    def is_at(expected: list[Tensor]) -> bool:
        return all(torch.equal(p, e) for p, e in zip(network.parameters(), expected, strict=True))

    for _ in range(2):  # from where they are
        landscape.move(lambda w, p, d: p + d, step)
    assert is_at([(w + d) + d for w, d in zip(start, step, strict=True)])
    for _ in range(2):  # from where they were
        landscape.move(lambda w, p, d, e: w + d * e, step, step)
    assert is_at([w + d * d for w, d in zip(start, step, strict=True)])
    landscape.move(lambda w, p: w)
    assert is_at(start)
    assert all(p.requires_grad and p.grad_fn is None for p in network.parameters())


@pytest.mark.parametrize("model_type", ["VGG11", "RESNET18"])
def test_at_other_weights_it_is_the_network_that_has_them(model_type):
    ours, theirs = (randomise(build(10, model_type=model_type, width=WIDTH), seed) for seed in (1, 2))
    with torch.no_grad():  # weights move, batch norm's buffers stay
        for buffer, other in zip(theirs.buffers(), ours.buffers(), strict=True):
            buffer.copy_(other)
    images = own_labels(theirs, random_images(20))
    x = images.normalised()
    landscape = Landscape(ours, images, 7)
    before = landscape.correct()
    assert not before.all()
    with landscape.restoring_weights():
        landscape.move(lambda w, p, other: other, list(theirs.parameters()))
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-12, atol=1e-12)
        assert landscape.correct().all()
    assert torch.equal(landscape.correct(), before)


def test_a_network_in_training_mode_is_evaluated_in_eval_mode(network, images):
    answers = network(images.normalised()).argmax(1)
    expected = Landscape(network, images, 4).gradient(ALL)[0]
    before = bits(network)
    landscape = Landscape(network.train(), images, 4)
    assert torch.equal(landscape.correct(), answers.eq(images.labels))
    gradient, logits = landscape.gradient(ALL)
    assert torch.equal(logits.argmax(1), answers)
    assert all(torch.equal(g, e) for g, e in zip(gradient, expected, strict=True))
    # batch norm's statistics are among them
    assert all(torch.equal(after, b) for after, b in zip(bits(network), before, strict=True))


def test_looking_leaves_no_gradient_behind(network, images):
    landscape = Landscape(network, images, 4)
    before = bits(network)
    first, _ = landscape.gradient(ALL)
    kept = [part.clone() for part in first]
    assert all(p.grad is None and p.requires_grad for p in network.parameters())
    second, _ = landscape.gradient(ALL)  # adds up with nothing, and is not the first one's memory
    landscape.correct()
    assert all(torch.equal(b, k) for b, k in zip(second, kept, strict=True))
    assert all(torch.equal(a, k) for a, k in zip(first, kept, strict=True))
    assert all(torch.equal(after, b) for after, b in zip(bits(network), before, strict=True))


@pytest.mark.parametrize("raises", [False, True])
def test_afterwards_every_bit_of_the_weights_is_back(network, images, raises):
    odd = torch.tensor([-0.0, 5e-324, float("inf"), float("nan")], dtype=torch.float64)
    with torch.no_grad():  # w + u - u would lose each of these
        network[0].bias.copy_(odd)
    before = bits(network)
    landscape = Landscape(network, images, 4)

    def travel() -> None:
        with landscape.restoring_weights():
            landscape.move(lambda w, p, d: w + d, directions(network))
            gradient, _ = landscape.gradient(SOME)
            landscape.move(lambda w, p, g: p + 1e3 * g.sign(), gradient)
            assert not any(torch.equal(now, b) for now, b in zip(bits(network)[:2], before, strict=False))
            if raises:
                raise KeyboardInterrupt

    if raises:
        with pytest.raises(KeyboardInterrupt):
            travel()
    else:
        travel()
    assert all(torch.equal(after, b) for after, b in zip(bits(network), before, strict=True))


def test_the_counters_count_images(network, images):
    landscape = Landscape(network, images, 4)
    assert (landscape.evaluated, landscape.differentiated) == (0, 0)
    landscape.correct()
    landscape.correct(SOME)
    assert (landscape.evaluated, landscape.differentiated) == (11 + 5, 0)
    landscape.gradient(SOME)
    landscape.gradient(ALL)
    assert (landscape.evaluated, landscape.differentiated) == (11 + 5, 5 + 11)


def test_bfloat16_gives_the_answers_of_an_autocast_run():
    network = smooth_network(batch_norm=True).float()
    images = own_labels(network, random_images(2000, size=4, classes=3, dtype=torch.float32))
    with torch.no_grad():  # the closest decisions: some of them turn with the rounding
        first, second = network(images.normalised()).topk(2).values.unbind(1)
    images = images.take((first - second).argsort()[:64])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rounded = network(images.normalised()).argmax(1).eq(images.labels)
    assert 0.5 < rounded.double().mean() < 1
    single = Landscape(network, images, 64)
    half = Landscape(network, images, 64, precision="bfloat16")
    assert single.correct().all()
    assert torch.equal(half.correct(), rounded)
    gradient, logits = half.gradient(torch.arange(64))
    assert torch.equal(logits.argmax(1).eq(images.labels), rounded)
    assert {part.dtype for part in gradient} == {torch.float32}
    exact = parameters_to_vector(single.gradient(torch.arange(64))[0])
    # a rounding is a relative error of up to 2^-9, and there are about ten on the way there and back
    assert (parameters_to_vector(gradient) - exact).norm() < 10 * 2**-9 * exact.norm()


def test_bfloat16_sees_the_weights_where_they_were_moved(images):
    # autocast keeps rounded copies of weights: not beyond a move
    network = smooth_network().float()
    images = replace(images, mean=images.mean.float(), std=images.std.float())
    landscape = Landscape(network, images, 4, precision="bfloat16")
    before = landscape.correct()
    with landscape.restoring_weights():
        landscape.move(lambda w, p, d: d, directions(network, seed=3))
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            expected = network(images.normalised()).argmax(1).eq(images.labels)
        assert not torch.equal(expected, before)
        assert torch.equal(landscape.correct(), expected)
        assert torch.equal(landscape.gradient(ALL)[1].argmax(1).eq(images.labels), expected)
    assert torch.equal(landscape.correct(), before)


def peak_bytes(work, folder) -> int:
    """The most that tensors made during `work` hold at once, as PyTorch's own allocator reports it."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    profiler.export_chrome_trace(str(folder / "trace.json"))
    events = json.loads((folder / "trace.json").read_text())["traceEvents"]
    held = peak = 0
    for event in sorted((e for e in events if e["name"] == "[memory]"), key=lambda e: e["ts"]):
        held += event["args"]["Bytes"]
        peak = max(peak, held)
    return peak


def test_searches_hold_three_copies_of_the_weights(tmp_path):
    # Thirty layers of two million weights in all, so that what is made for the move of one does not count.
    hidden = [layer for _ in range(30) for layer in (nn.Linear(256, 256), nn.ReLU())]
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 256), *hidden, nn.Linear(256, 3))
    copy = 4 * flatten_parameters(network).numel()
    images = random_images(8, size=4, classes=3, dtype=torch.float32)

    def search() -> None:
        find_scales(
            Landscape(network, images, 4), seed=0, draws=4, images_per_draw=4, starts=2, ascent_steps=3,
            tolerance=0.5, scale_range=(1e-3, 1.0),
        )  # fmt: skip

    copies = 1 + peak_bytes(search, tmp_path) / copy  # the network's own was there before
    assert 2.9 < copies < 3.2


def test_outputs_of_the_network_s_own_weights_have_to_be_finite_those_of_perturbed_ones_need_not(images):
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 3)).double()
    landscape = Landscape(network, own_labels(network, images), 4)
    index = torch.arange(len(images))
    for _ in range(2):
        assert landscape.correct().all()  # at its own weights, before and after
        with landscape.restoring_weights():
            landscape.move(lambda w, p: torch.full_like(w, float("inf")))
            assert not landscape.correct().any()
            assert not landscape.gradient(index)[1].isfinite().any()
    with torch.no_grad():
        network[1].weight.fill_(1e308)
    broken = Landscape(network, images, 4)
    sentence = rf"Sequential: its outputs are not finite on \d+ of {len(images)} images"
    with pytest.raises(InputError, match=sentence):
        broken.correct()
    with pytest.raises(InputError, match="not finite"):
        broken.gradient(index)
