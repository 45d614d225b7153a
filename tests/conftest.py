"""What every test needs: one thread (machines are small, and tests may run side by side), and data."""

import time

import cases
import pytest
import torch

torch.set_num_threads(1)


STARTED = time.monotonic()


def pytest_addoption(parser):
    parser.addoption("--budget", type=float, help="seconds after which no further test is started")


def pytest_runtest_setup(item):
    budget = item.config.getoption("--budget")
    if budget is not None and time.monotonic() - STARTED > budget:
        pytest.skip(f"the budget of {budget:.0f} s is spent")


@pytest.fixture(scope="session")
def digits():
    """The digits' train, validation and test images by name of the split."""
    return cases.digits()
