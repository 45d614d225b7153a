"""What torchvision reads is brought to one size, and one sentence says where it cannot be had."""

import gzip
import socket

import numpy as np
import pytest
import torch

from fusionscope.errors import InputError
from fusionscope.training.preparation import prepare
from fusionscope.training.torchvision_sets import fashion_mnist, pad, read_idx


@pytest.fixture
def no_network(monkeypatch):
    with socket.socket() as unused:  # a port on which nobody listens stands for the closed network
        unused.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{unused.getsockname()[1]}"
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, nowhere)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion_mnist"])
def test_offline_and_absent_is_one_clear_sentence(name, tmp_path):
    with pytest.raises(InputError, match="could not be downloaded") as caught:
        prepare(name, tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert f"into {tmp_path}" in str(caught.value)
    assert "data_dir" in str(caught.value)


def test_padding_leaves_the_image_in_the_middle_of_a_black_border():
    image = np.random.default_rng(0).integers(1, 256, (2, 28, 28), dtype=np.uint8)
    padded = pad(image)
    assert padded.shape == (2, 32, 32)
    assert padded.dtype == np.uint8
    assert np.array_equal(padded[:, 2:30, 2:30], image)
    assert np.count_nonzero(padded) == image.size


def idx(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return (0x800 + array.ndim).to_bytes(4, "big") + sizes + array.tobytes()


def few_clothes(place, packed: bool) -> np.ndarray:
    """Twenty training images, and the first half of them for testing, as the four files of Fashion-MNIST."""
    place.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
    labels = (np.arange(20) % 10).astype(np.uint8)
    for part, count in (("train", 20), ("t10k", 10)):
        for name, array in (("images-idx3", pixels), ("labels-idx1", labels)):
            content = idx(array[:count])
            path = place / f"{part}-{name}-ubyte{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(content) if packed else content)
    return pixels


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("place", ["FashionMNIST/raw", "raw", "."])
def test_fashion_mnist_is_found_where_people_have_it(tmp_path, place, packed):
    pixels = few_clothes(tmp_path / place, packed)
    (train, labels), (test, _) = fashion_mnist(tmp_path)
    assert np.array_equal(train, pixels)
    assert np.array_equal(test, pixels[:10])
    assert labels.tolist() == [*range(10)] * 2


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (idx(np.zeros((3, 28, 28), np.uint8))[:-5], "has 2363 bytes, expected 2368: it is cut off"),
        (idx(np.zeros(3, np.uint8)), "begins with the number 2049, expected 2051"),
        (b"", "is empty; replace it"),
        (bytes(4), "begins with the number 0, expected 2051"),
    ],
)
def test_idx_files_that_are_cut_off_or_mislabelled_are_named(tmp_path, content, sentence):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(InputError, match=f"train-images-idx3-ubyte: {sentence}"):
        read_idx(tmp_path / "train-images-idx3-ubyte", 3)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("place", ["FashionMNIST/raw", "."])
def test_the_one_file_that_is_missing_is_named(tmp_path, place):
    few_clothes(tmp_path / place, packed=False)
    (tmp_path / place / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(InputError, match=f"{tmp_path / place} lacks t10k-labels-idx1-ubyte: put them there"):
        fashion_mnist(tmp_path)


def test_the_form_in_which_older_versions_of_torchvision_kept_it_is_read(tmp_path):
    pixels = few_clothes(tmp_path / "raw", packed=False)
    folder = tmp_path / "old/FashionMNIST/processed"
    folder.mkdir(parents=True)
    for name, count in (("training.pt", 20), ("test.pt", 10)):
        pair = torch.from_numpy(pixels[:count]), torch.arange(count) % 10
        torch.save(pair, folder / name)
    for found, expected in zip(fashion_mnist(tmp_path / "old"), fashion_mnist(tmp_path), strict=True):
        assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))


def test_half_a_compressed_file_is_named(tmp_path):
    few_clothes(tmp_path, packed=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"train-images-idx3-ubyte\.gz: cannot be unpacked"):
        fashion_mnist(tmp_path)


@pytest.mark.usefixtures("no_network")
def test_damaged_batches_of_cifar_are_named(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "data_batch_2").write_bytes(b"half")
    with pytest.raises(InputError, match=r"data_batch_2: is cut off or damaged .*replace"):
        prepare("cifar10", tmp_path)
