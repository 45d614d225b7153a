"""A file is there whole or not at all."""

import pytest

from fusionscope.files import whole_file


def test_a_file_appears_when_the_block_ends_and_not_before(tmp_path):
    path = tmp_path / "numbers.csv"
    with whole_file(path) as partial:
        partial.write_text("1\n")
        assert not path.exists()
    assert path.read_text() == "1\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "numbers.csv"
    path.write_text("old\n")
    with pytest.raises(OSError, match="full"):
        write_until_the_disk_is_full(path)
    assert path.read_text() == "old\n"
    assert list(tmp_path.iterdir()) == [path]


def write_until_the_disk_is_full(path):
    with whole_file(path) as partial:
        partial.write_text("ne")
        raise OSError("disk full")


def test_the_temporary_file_keeps_the_suffix_that_writers_go_by(tmp_path):
    with whole_file(tmp_path / "digits.npz") as partial:
        assert partial.suffix == ".npz"
        partial.write_bytes(b"")
