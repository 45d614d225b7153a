"""What every test needs: one thread (machines are small, and tests may run side by side), and data."""

import cases
import pytest
import torch

torch.set_num_threads(1)


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes long; leave out with -m 'not slow'")


@pytest.fixture(scope="session")
def digits():
    """The digits' train, validation and test images by name of the split."""
    return cases.digits()
