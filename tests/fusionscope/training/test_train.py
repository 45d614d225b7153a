"""Training: it learns, keeps the best epoch, repeats itself bit for bit, and says when it diverges."""

import copy
import math
from dataclasses import replace
from itertools import pairwise

import cases
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fusionscope.errors import InputError
from fusionscope.evaluation import mean_loss, predict
from fusionscope.networks.build import build
from fusionscope.networks.initialise import initialise
from fusionscope.training.train import Trained, against_divergence, sizes_of_batches, train


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Logits(nn.Module):
    """Answers the same logits whatever it sees: training it can be followed by hand."""

    def __init__(self, *logits: float):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits, dtype=torch.float64))

    def forward(self, x):
        return self.logits.expand(len(x), -1)


def fit(network, train_images, validation_images, *, seed=0, on_epoch=lambda epoch: None, **changed):
    """`train` with the usual options, some of them changed."""
    return train(
        network,
        train_images,
        validation_images,
        **cases.training_options(**changed),
        order=generator(seed),
        on_epoch=on_epoch,
    )


def fresh(model_type: str, seed: int = 0, width: float = cases.TINY) -> nn.Module:
    network = build(10, model_type=model_type, width=width)
    initialise(network, generator(seed))
    return network


@pytest.mark.parametrize("model_type", ["VGG11", "VGG11_NOBIAS_NOBN"])
def test_it_learns_digits_far_above_chance(digits, model_type):
    network = fresh(model_type, width=0.125)
    images = digits["train"].take(torch.arange(600))
    trained = fit(network, images, digits["validation"], epochs=4, batch_size=16)
    network.load_state_dict(trained.best_weights)
    with torch.no_grad():
        hits = network(digits["test"].normalised()).argmax(1).eq(digits["test"].labels)
    # chance is 0.1 with a standard error of 0.016 on these 359 images
    assert hits.double().mean().item() > 0.7


def test_the_curve_agrees_with_the_network_it_describes(digits):
    network, snapshots = fresh("VGG11"), []
    images, validation = digits["train"].take(torch.arange(200)), digits["validation"]

    def remember(epoch):
        with torch.no_grad():
            logits = network.eval()(validation.normalised()).double()
        snapshots.append(
            (
                F.cross_entropy(logits, validation.labels).item(),
                (logits.argmax(1) == validation.labels).double().mean().item(),
            )
        )

    trained = fit(network, images, validation, epochs=3, on_epoch=remember)
    assert [epoch.epoch for epoch in trained.curve] == [1, 2, 3]
    assert [e.validation_loss for e in trained.curve] == pytest.approx([s[0] for s in snapshots], rel=1e-6)
    assert [e.validation_accuracy for e in trained.curve] == [s[1] for s in snapshots]


def test_the_checkpoint_is_the_epoch_with_the_smallest_validation_loss():
    """All training labels are 0, a fifth of the validation labels 1: the loss falls, then rises."""
    network, seen = Logits(0.0, 0.0), []
    trained = fit(
        network,
        cases.labelled([0] * 8),
        cases.labelled([0] * 8 + [1] * 2),
        epochs=12,
        batch_size=8,
        learning_rate=0.5,
        momentum=0.0,
        clip_norm=None,
        on_epoch=lambda epoch: seen.append(network.logits.detach().clone()),
    )

    def validation_loss(logits):
        return (0.8 * F.softplus(logits[1] - logits[0]) + 0.2 * F.softplus(logits[0] - logits[1])).item()

    losses = [validation_loss(logits) for logits in seen]
    best = int(np.argmin(losses))
    assert 0 < best < 11  # neither the first nor the last, or this test would show nothing
    assert trained.best_epoch == best + 1
    assert torch.equal(trained.best_weights["logits"], seen[best])
    assert not torch.equal(trained.best_weights["logits"], network.logits)
    assert [epoch.validation_loss for epoch in trained.curve] == pytest.approx(losses, rel=1e-12)


@pytest.mark.parametrize("model_type", ["VGG11", "RESNET18"])
def test_the_checkpoint_does_not_alias_the_live_weights(digits, model_type):
    network = fresh(model_type)
    images = digits["train"].take(torch.arange(64))
    trained = fit(network, images, digits["validation"])
    kept = {name: tensor.clone() for name, tensor in trained.best_weights.items()}
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.add_(1)
    assert set(kept) == set(network.state_dict())
    for name, tensor in trained.best_weights.items():
        assert torch.equal(tensor, kept[name])
        assert not tensor.requires_grad


def weights_after(digits, order: int, augmentation: str = "flip_and_crop") -> dict[str, torch.Tensor]:
    images = digits["train"].take(torch.arange(96))
    trained = fit(
        fresh("RESNET18"), images, digits["validation"], seed=order, epochs=2, augmentation=augmentation
    )
    return trained.best_weights


def test_training_twice_gives_the_same_bits(digits):
    one = weights_after(digits, order=1)
    torch.manual_seed(4321)  # the global state plays no part
    again = weights_after(digits, order=1)
    assert all(torch.equal(one[name], again[name]) for name in one)


def test_another_order_gives_other_weights(digits):
    one, other = weights_after(digits, 1), weights_after(digits, 2)
    assert not torch.equal(one["linear.weight"], other["linear.weight"])


def test_augmentation_changes_what_is_learnt(digits):
    plain, augmented = weights_after(digits, 1, "none"), weights_after(digits, 1)
    assert not torch.equal(plain["linear.weight"], augmented["linear.weight"])


def trained_at(digits, precision: str) -> tuple[nn.Module, Trained]:
    network = fresh("VGG11")
    images = digits["train"].take(torch.arange(200))
    return network, fit(network, images, digits["validation"], epochs=2, batch_size=16, precision=precision)


def test_tf32_changes_nothing_on_a_cpu(digits):
    (_, single), (_, tf32) = (trained_at(digits, precision) for precision in ("single", "tf32"))
    assert tf32.curve == single.curve
    assert all(torch.equal(tf32.best_weights[k], tensor) for k, tensor in single.best_weights.items())


def test_bfloat16_rounds_the_steps_and_nothing_else(digits):
    """Weights stay in single precision, and so does the validation: it is that of the network as it is."""
    (_, single), (network, rounded) = (trained_at(digits, precision) for precision in ("single", "bfloat16"))
    assert all(
        tensor.dtype == single.best_weights[name].dtype for name, tensor in rounded.best_weights.items()
    )
    assert all(tensor.isfinite().all() for tensor in rounded.best_weights.values())
    assert rounded.curve != single.curve
    assert [epoch.train_loss for epoch in rounded.curve] == pytest.approx(
        [epoch.train_loss for epoch in single.curve], rel=0.1
    )
    logits = predict(network, digits["validation"], 512)
    assert logits.dtype == torch.float32
    assert rounded.curve[-1].validation_loss == mean_loss(logits, digits["validation"].labels)


@pytest.mark.slow
@pytest.mark.parametrize("model_type", ["VGG11_NOBIAS_NOBN", "RESNET18"])
def test_bfloat16_learns_digits_as_well_as_single_precision(digits, model_type):
    recipe = {"epochs": 6, "learning_rate": 0.1, "schedule": {"kind": "one_cycle"}}
    best = {}
    for precision in ("single", "bfloat16"):
        network = fresh(model_type, width=0.125)
        trained = fit(network, digits["train"], digits["validation"], precision=precision, **recipe)
        best[precision] = trained.curve[trained.best_epoch - 1].validation_accuracy
    assert best["single"] > 0.9
    assert best["bfloat16"] > best["single"] - 0.03  # of 143 images, so 4 of them


def test_every_epoch_shows_every_image_once_in_a_new_order():
    class Witness(Logits):
        def __init__(self):
            super().__init__(0.0, 0.0)
            self.shown = []

        def forward(self, x):
            if self.training:
                self.shown.append(x[:, 0, 0, 0])
            return super().forward(x)

    images = cases.labelled([0, 1] * 5, size=8)
    network = Witness()
    fit(network, images, images, epochs=2, batch_size=4)
    assert [len(batch) for batch in network.shown] == [4, 4, 2] * 2
    first, second = torch.cat(network.shown[:3]), torch.cat(network.shown[3:])
    everything = images.normalised()[:, 0, 0, 0].sort().values
    assert torch.equal(first.sort().values, everything)
    assert torch.equal(second.sort().values, everything)
    assert not torch.equal(first, second)


class ByChannel(nn.Module):
    """A batch norm that sees one value per channel; it remembers how many images it was given."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(3 * 32 * 32, 4), nn.BatchNorm1d(4), nn.Linear(4, 10)
        )
        self.seen: list[int] = []

    def forward(self, x):
        if self.training:
            self.seen.append(len(x))
        return self.layers(x)


def some(images, number: int):
    return replace(images, pixels=images.pixels[:number], labels=images.labels[:number])


def test_a_single_image_that_is_left_joins_the_step_before_where_batch_norm_needs_it(digits):
    network = ByChannel()
    few = some(digits["train"], 9)
    trained = fit(network, few, digits["validation"], batch_size=4, epochs=2)
    assert network.seen == [4, 5] * 2
    assert len(trained.curve) == 2


def test_a_single_image_that_is_left_has_a_step_of_its_own_where_that_works(digits):
    network = ByChannel()
    network.layers[2] = nn.Identity()
    fit(network, some(digits["train"], 9), digits["validation"], batch_size=4, epochs=1)
    assert network.seen == [4, 4, 1]


def test_whether_one_image_is_enough_is_tried_without_a_trace(digits):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    network = nn.Sequential(nn.Dropout(0.5), ByChannel())
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert sizes_of_batches(network, some(digits["train"], 9), 4) == [4, 5]
    assert network[1].seen == []
    assert all(torch.equal(tensor, weights[name]) for name, tensor in network.state_dict().items())
    torch.manual_seed(3)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(("number", "batch_size"), [(9, 1), (1, 4)])
def test_batches_of_one_image_are_refused_where_batch_norm_needs_two(digits, number, batch_size):
    with pytest.raises(InputError, match="set 'batch_size' to 2 or more"):
        fit(ByChannel(), some(digits["train"], number), digits["validation"], batch_size=batch_size)


class OutOfMemory(nn.Linear):
    def forward(self, x):
        raise torch.OutOfMemoryError("20 MiB")


def test_where_memory_runs_out_in_a_step_the_error_names_its_images(digits):
    network = nn.Sequential(nn.Flatten(), OutOfMemory(3 * 32 * 32, 10))
    with pytest.raises(torch.OutOfMemoryError) as raised:
        fit(network, some(digits["train"], 20), digits["validation"], batch_size=8)
    assert raised.value.__notes__ == ["a training step takes 8 images, the recipe's batch_size"]


def test_the_network_learns_in_train_mode_and_is_validated_in_eval_mode():
    class Modes(Logits):
        def __init__(self):
            super().__init__(0.0, 0.0)
            self.modes = []

        def forward(self, x):
            self.modes.append((len(x), self.training))
            return super().forward(x)

    network = Modes()
    fit(network, cases.labelled([0] * 6), cases.labelled([0] * 5), epochs=2, batch_size=6)
    assert network.modes == [(6, True), (5, False)] * 2


def test_the_training_loss_is_a_mean_over_images_not_batches():
    """One image in ten is labelled 1: a mean over batches of 4, 4 and 2 would weigh it by 1/6 or 1/12."""
    network = Logits(2.0, 0.0)
    images = cases.labelled([0] * 9 + [1])
    trained = fit(network, images, images, batch_size=4, learning_rate=0.0)
    expected = (9 * math.log(1 + math.exp(-2)) + math.log(1 + math.exp(2))) / 10
    assert trained.curve[0].train_loss == pytest.approx(expected, rel=1e-12)
    assert trained.curve[0].validation_loss == pytest.approx(expected, rel=1e-12)
    assert trained.curve[0].train_accuracy == trained.curve[0].validation_accuracy == 0.9


def logits_by_hand(start, rates, momentum, weight_decay):
    """SGD on the mean cross-entropy of label 0, in NumPy: the logits after each step."""
    w, velocity, history = np.array(start), np.zeros(len(start)), []
    for rate in rates:
        p = np.exp(w) / np.exp(w).sum()
        gradient = p - np.eye(len(start))[0] + weight_decay * w
        velocity = momentum * velocity + gradient
        w = w - rate * velocity
        history.append(w)
    return np.array(history)


def test_the_stepped_schedule_halves_the_rate_after_epochs_12_20_25_and_28():
    """The paper's schedule, followed by hand: the rates in the curve, and what they did to the weights."""
    network, seen = Logits(0.3, -0.2, 0.5), []
    images = cases.labelled([0] * 5, num_classes=3)
    trained = fit(
        network,
        images,
        images,
        epochs=30,
        batch_size=5,
        learning_rate=0.05,
        weight_decay=5e-4,
        clip_norm=None,
        schedule={"kind": "steps", "at": [12, 20, 25, 28], "factor": 0.5},
        on_epoch=lambda epoch: seen.append(network.logits.detach().numpy().copy()),
    )
    used = [0.05] * 12 + [0.025] * 8 + [0.0125] * 5 + [0.00625] * 3 + [0.003125] * 2
    assert [epoch.learning_rate for epoch in trained.curve] == pytest.approx(used, rel=1e-12)
    by_hand = logits_by_hand([0.3, -0.2, 0.5], used, momentum=0.9, weight_decay=5e-4)
    assert np.abs(np.array(seen) - by_hand).max() < 1e-12


def test_epochs_of_a_schedule_are_epochs_not_steps():
    """Three batches an epoch: the rate falls after the sixth step, not after the second."""
    images = cases.labelled([0] * 5)
    trained = fit(
        Logits(0.0, 0.0),
        images,
        images,
        epochs=4,
        batch_size=2,
        learning_rate=1.0,
        schedule={"kind": "steps", "at": [2], "factor": 0.1},
    )
    assert [epoch.learning_rate for epoch in trained.curve] == pytest.approx([1, 1, 0.1, 0.1])


def test_one_cycle_rises_to_the_learning_rate_and_falls_to_nearly_zero():
    images = cases.labelled([0] * 2)
    trained = fit(
        Logits(0.0, 0.0),
        images,
        images,
        epochs=40,
        batch_size=2,
        learning_rate=0.4,
        schedule={"kind": "one_cycle"},
    )

    rates = [epoch.learning_rate for epoch in trained.curve]
    peak = int(np.argmax(rates))
    assert max(rates) == pytest.approx(0.4, rel=1e-3)
    assert 0 < peak < 20
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert 0 < rates[-1] < 0.4 / 1000


@pytest.mark.parametrize(("warmup_epochs", "first"), [(0, 1.0), (2, 1 / 6)])
def test_a_linear_schedule_rises_and_falls_in_straight_lines_to_zero(warmup_epochs, first):
    """Three steps an epoch, five epochs: the rate of each step, seen in how far it moves the weights."""
    network, seen = Logits(0.0, 0.0), []
    images = cases.labelled([0] * 6)
    steps, weights = 15, []
    network.register_forward_pre_hook(
        lambda module, inputs: weights.append(module.logits.detach().clone()) if module.training else None
    )
    trained = fit(
        network,
        images,
        images,
        epochs=5,
        batch_size=2,
        learning_rate=0.4,
        momentum=0.0,
        clip_norm=1e-3,
        schedule={"kind": "linear", "warmup_epochs": warmup_epochs},
        on_epoch=lambda epoch: seen.append(network.logits.detach().clone()),
    )
    visited = [*weights, seen[-1]]  # before each step, and after the last
    rates = [(after - before).norm().item() / 1e-3 for before, after in pairwise(visited)]
    rising, falling = 3 * warmup_epochs, steps - 3 * warmup_epochs
    factors = [(step + 1) / rising for step in range(rising)] + [
        1 - step / falling for step in range(falling)
    ]
    assert len(rates) == steps
    assert factors[0] == pytest.approx(first)
    assert rates == pytest.approx([0.4 * factor for factor in factors], rel=1e-4)
    assert trained.curve[-1].learning_rate == pytest.approx(0.4 / falling)


def adamw_by_hand(start, rates, weight_decay, betas=(0.9, 0.999), eps=1e-8):
    """Algorithm 2 of Loshchilov & Hutter 2019 with PyTorch's learning rate, as `logits_by_hand` is of SGD."""
    w, m, v, history = np.array(start), 0.0, 0.0, []
    for t, rate in enumerate(rates, start=1):
        gradient = np.exp(w) / np.exp(w).sum() - np.eye(len(start))[0]
        m = betas[0] * m + (1 - betas[0]) * gradient
        v = betas[1] * v + (1 - betas[1]) * gradient**2
        step = (m / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
        w = w - rate * step - rate * weight_decay * w
        history.append(w)
    return np.array(history)


def test_adamw_decays_weights_apart_from_the_gradient():
    network, seen = Logits(0.3, -0.2, 0.5), []
    images = cases.labelled([0] * 5, num_classes=3)
    fit(
        network,
        images,
        images,
        epochs=20,
        batch_size=5,
        learning_rate=0.05,
        weight_decay=0.3,
        clip_norm=None,
        optimiser="adamw",
        on_epoch=lambda epoch: seen.append(network.logits.detach().numpy().copy()),
    )
    by_hand = adamw_by_hand([0.3, -0.2, 0.5], [0.05] * 20, weight_decay=0.3)
    assert np.abs(np.array(seen) - by_hand).max() < 1e-12


@pytest.mark.parametrize("schedule", [{"kind": "constant"}, {"kind": "linear", "warmup_epochs": 1}])
def test_adamw_goes_on_where_it_was_broken_off(digits, schedule):
    def weights(resume=None, keep=None, epochs=4):
        network = fresh("VGG11")
        options = cases.training_options(epochs=epochs, optimiser="adamw", schedule=schedule)
        images = some(digits["train"], 96), some(digits["validation"], 32)
        train(network, *images, order=generator(3), resume=resume, keep=keep, **options)
        return network.state_dict()

    kept: list[dict] = []
    unbroken = weights(keep=lambda state: kept.append(copy.deepcopy(state)))
    gone_on = weights(resume=kept[1])
    assert all(torch.equal(gone_on[name], tensor) for name, tensor in unbroken.items())


@pytest.mark.parametrize(("weight_decay", "grows"), [(41.0, True), (38.0, False)])
def test_adamw_diverges_by_weight_decay_from_two_over_the_learning_rate(weight_decay, grows):
    """A step multiplies a weight by 1 - rate * decay, whatever its gradient adds."""
    visited = adamw_by_hand([0.0, 1.0, 1.0], [0.05] * 100, weight_decay)
    assert (np.abs(visited[-1]).max() > 100) == grows
    advice = against_divergence("adamw", 0.05, 0.9, weight_decay)
    assert ("a weight_decay well below 40" in advice) == grows


def test_a_constant_schedule_is_constant():
    images = cases.labelled([0] * 2)
    trained = fit(Logits(0.0, 0.0), images, images, epochs=8, learning_rate=0.3)
    assert [epoch.learning_rate for epoch in trained.curve] == [0.3] * 8


def step_length(clip_norm: float | None) -> float:
    """How far one step of rate 0.1 goes; the gradient (p - 1, 1 - p) has norm sqrt(2) (1 - p)."""
    network = Logits(0.0, 4.0)
    images = cases.labelled([0] * 4)
    fit(network, images, images, batch_size=4, learning_rate=0.1, momentum=0.0, clip_norm=clip_norm)
    return (network.logits.detach() - torch.tensor([0.0, 4.0])).norm().item()


def test_clip_norm_bounds_the_gradient_of_a_step():
    whole = 0.1 * math.sqrt(2) * (1 - 1 / (1 + math.exp(4)))
    assert step_length(None) == pytest.approx(whole, rel=1e-12)
    assert step_length(100.0) == pytest.approx(whole, rel=1e-12)
    # torch divides by norm + 1e-6, so a clipped step falls short by about a millionth
    assert 0.1 * 0.25 * (1 - 1e-5) < step_length(0.25) <= 0.1 * 0.25


@pytest.mark.parametrize("model_type", ["VGG11_NOBN", "VGG11_NOBIAS_NOBN"])
def test_divergence_names_the_step_and_what_to_change(digits, model_type):
    images = digits["train"].take(torch.arange(256))
    with pytest.raises(InputError, match=r"diverged at step \d+: .*learning_rate below 1e\+06"):
        fit(fresh(model_type), images, digits["validation"], learning_rate=1e6, clip_norm=None)


@pytest.mark.parametrize(("weight_decay", "stable"), [(30.0, True), (60.0, False), (1e12, False)])
def test_weight_decay_that_makes_weights_grow_by_itself_is_named(weight_decay, stable):
    """With momentum 0.9 and learning rate 0.1, above 2 (1 + 0.9) / 0.1 = 38."""
    images = cases.labelled([0, 1] * 3)
    options = {"learning_rate": 0.1, "momentum": 0.9, "clip_norm": 1.0, "weight_decay": weight_decay}
    options |= {"batch_size": 1, "epochs": 120, "schedule": {"kind": "constant"}}
    if stable:
        fit(Logits(1.0, -1.0), images, images, **options)
        return
    with pytest.raises(
        InputError, match="not finite; try a weight_decay well below 38: with a learning_rate"
    ):
        fit(Logits(1.0, -1.0), images, images, **options)


class BreaksAt(Logits):
    """Answers with NaN at one forward pass of the given mode."""

    def __init__(self, step: int, training: bool):
        super().__init__(0.0, 0.0)
        self.step, self.when, self.count = step, training, 0

    def forward(self, x):
        self.count += self.training == self.when
        broken = self.training == self.when and self.count == self.step
        return super().forward(x) * (float("nan") if broken else 1.0)


@pytest.mark.parametrize("step", [1, 3, 4, 5])
def test_the_named_step_is_the_first_broken_one_counted_over_epochs(step):
    images = cases.labelled([0, 1] * 3)
    with pytest.raises(InputError, match=f"diverged at step {step}:"):
        fit(BreaksAt(step, training=True), images, images, epochs=3, batch_size=2)


def test_a_broken_validation_loss_is_divergence_too():
    images, epochs = cases.labelled([0, 1] * 3), []
    with pytest.raises(InputError, match="diverged at step 6:"):
        fit(BreaksAt(2, training=False), images, images, epochs=3, batch_size=2, on_epoch=epochs.append)
    assert [epoch.epoch for epoch in epochs] == [1]


def test_a_row_of_the_curve_is_a_plain_mapping():
    images = cases.labelled([0, 1])
    row = fit(Logits(0.0, 0.0), images, images).curve[0].as_row()
    assert row["epoch"] == 1
    assert row["validation_loss"] == pytest.approx(math.log(2), abs=0.1)
    assert all(isinstance(value, int | float) for value in row.values())
