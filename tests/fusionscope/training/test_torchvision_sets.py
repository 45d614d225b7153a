"""What torchvision reads is brought to one size, and one sentence says where it cannot be had."""

import socket

import numpy as np
import pytest

from fusionscope.errors import InputError
from fusionscope.training.preparation import prepare
from fusionscope.training.torchvision_sets import pad


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion_mnist"])
def test_offline_and_absent_is_one_clear_sentence(name, tmp_path, monkeypatch):
    with socket.socket() as unused:  # a port on which nobody listens stands for the closed network
        unused.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{unused.getsockname()[1]}"
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, nowhere)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(InputError, match="could not be downloaded") as caught:
        prepare(name, tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "data_dir" in str(caught.value)


def test_padding_leaves_the_image_in_the_middle_of_a_black_border():
    image = np.random.default_rng(0).integers(1, 256, (2, 28, 28), dtype=np.uint8)
    padded = pad(image)
    assert padded.shape == (2, 32, 32)
    assert padded.dtype == np.uint8
    assert np.array_equal(padded[:, 2:30, 2:30], image)
    assert np.count_nonzero(padded) == image.size
