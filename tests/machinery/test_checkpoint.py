"""A training that was cut off goes on and ends in the very weights of an unbroken one."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import cases
import pytest
import torch

from fusionscope.networks.build import build
from fusionscope.networks.initialise import initialise
from fusionscope.training.train import train
from fusionscope.weights import load_weights
from machinery.checkpoint import LastEpoch, identity_of

SCHEDULES = [
    {"kind": "constant"},
    {"kind": "one_cycle"},
    {"kind": "steps", "at": [2, 3], "factor": 0.1},
]


class Stop(Exception):
    """What interrupts a training in these tests."""


class WithDropout(torch.nn.Module):
    """Draws from the global random stream at every step, as dropout does."""

    def __init__(self):
        super().__init__()
        self.network = build(10, model_type="VGG11", width=cases.TINY)

    def forward(self, x):
        return self.network(torch.nn.functional.dropout(x, 0.2, self.training))


def fresh(kind=lambda: build(10, model_type="VGG11", width=cases.TINY)):
    network = kind()
    initialise(network, torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    return network


def fit(network, images, **options):
    order = torch.Generator().manual_seed(2)
    usual = cases.training_options(epochs=4, augmentation="flip_and_crop") | options
    few = images["train"].take(torch.arange(100))
    return train(network, few, images["validation"].take(torch.arange(50)), order=order, **usual)


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule["kind"])
@pytest.mark.parametrize("last", [1, 3, 4])
def test_any_epoch_is_a_place_to_go_on_from(digits, tmp_path, schedule, last):
    unbroken = fit(network := fresh(), digits, schedule=schedule)
    place = LastEpoch(tmp_path / "last_epoch.pth", "this one")

    def keep(state):
        place.write(state)
        if len(state["curve"]) == last:
            raise Stop

    with pytest.raises(Stop):
        fit(fresh(), digits, schedule=schedule, keep=keep)
    torch.manual_seed(77)  # whatever the global stream was used for in the new process
    seen = []
    resumed = fit(other := fresh(), digits, schedule=schedule, resume=place.read(), on_epoch=seen.append)
    assert same(resumed.best_weights, unbroken.best_weights)
    assert same(other.state_dict(), network.state_dict())
    assert resumed.curve == unbroken.curve == seen
    assert resumed.best_epoch == unbroken.best_epoch


def test_it_goes_on_in_bfloat16_too(digits):
    unbroken, states = fit(fresh(), digits, precision="bfloat16"), []
    fit(fresh(), digits, precision="bfloat16", keep=lambda state: states.append(cloned(state)))
    resumed = fit(fresh(), digits, precision="bfloat16", resume=states[1])
    assert same(resumed.best_weights, unbroken.best_weights)
    assert resumed.curve == unbroken.curve


def test_the_global_random_stream_goes_on_too(digits):
    unbroken, states = fit(fresh(WithDropout), digits), []
    fit(fresh(WithDropout), digits, epochs=4, keep=lambda state: states.append(cloned(state)))
    resumed = fit(fresh(WithDropout), digits, resume=states[1])
    assert same(resumed.best_weights, unbroken.best_weights)
    otherwise = fit(fresh(WithDropout), digits, resume=states[1] | {"random": states[0]["random"]})
    assert not same(otherwise.best_weights, unbroken.best_weights)


def cloned(value):
    """As a file would have it: apart from what the training goes on to change."""
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: cloned(part) for key, part in value.items()}
    return [cloned(part) for part in value] if isinstance(value, list) else value


def test_a_last_epoch_of_another_training_is_not_taken(tmp_path):
    path = tmp_path / "last_epoch.pth"
    LastEpoch(path, "one").write({"curve": [1]})
    assert LastEpoch(path, "one").read() == {"curve": [1]}
    assert LastEpoch(path, "another").read() is None
    LastEpoch(path, "one").remove()
    assert LastEpoch(path, "one").read() is None
    LastEpoch(path, "one").remove()  # nothing there: nothing to do


def test_a_damaged_last_epoch_is_as_good_as_none(tmp_path):
    place = LastEpoch(tmp_path / "last_epoch.pth", "one")
    place.write({"curve": [1]})
    whole = place.path.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"not a file of PyTorch's"):
        place.path.write_bytes(damaged)
        assert place.read() is None


def test_settings_files_and_their_order_make_the_identity(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_text("a")
    second.write_text("b")
    usual = identity_of({"epochs": 3}, [first, second])
    assert usual == identity_of({"epochs": 3}, [str(first), second])
    assert usual != identity_of({"epochs": 4}, [first, second])
    assert usual != identity_of({"epochs": 3}, [second, first])
    second.write_text("c")
    assert usual != identity_of({"epochs": 3}, [first, second])


KILLED = Path(__file__).parents[1] / "support" / "train_and_be_killed.py"


@pytest.mark.slow
def test_ten_kills_at_random_moments_change_no_bit(tmp_path):
    """SIGKILL, wherever it hits: amid a step, an evaluation, while the last epoch is written."""

    def start(folder):
        """Returns when the training is about to begin."""
        folder.mkdir(exist_ok=True)
        begins = folder / "begins"
        begins.unlink(missing_ok=True)
        process = subprocess.Popen([sys.executable, KILLED, folder])
        while not begins.exists() and process.poll() is None:
            time.sleep(0.01)
        return process

    unbroken = tmp_path / "unbroken"
    process, began = start(unbroken), time.monotonic()
    assert process.wait(timeout=300) == 0
    whole = time.monotonic() - began
    network = build(10, model_type="VGG11", width=0.125)
    expected = load_weights(unbroken / "weights.pth", network)

    chance = torch.Generator().manual_seed(0)
    broken = tmp_path / "broken"
    for _ in range(10):
        process = start(broken)
        time.sleep(whole * torch.rand(1, generator=chance).item())
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
        assert process.returncode in (-signal.SIGKILL, 0)  # 0: it was through
        assert start(broken).wait(timeout=300) == 0
        assert same(load_weights(broken / "weights.pth", network), expected)
        assert not (broken / "last_epoch.pth").exists()
        (broken / "weights.pth").unlink()
    resumed = (broken / "resumed").read_text().split()
    assert len([epoch for epoch in resumed if epoch != "0"]) >= 5  # or this test would show little
