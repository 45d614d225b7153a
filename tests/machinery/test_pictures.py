"""Pictures of a folder: another content is found, other times alone are no change."""

import os
from pathlib import Path

import pytest

from machinery import pictures

DATA_FILE = "data/image_folder_tiny.npz"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    for name in ("train/cat/1.png", "train/dog/2.png"):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"content")
    return tmp_path / "pictures"


def version(folder) -> str:
    pictures.version.cache_clear()
    return pictures.version(str(folder), DATA_FILE)


def prepare(folder) -> str:
    prepared = version(folder)
    pictures.record(str(folder), DATA_FILE, prepared)
    return prepared


def put(path, content: bytes) -> None:
    """With a time of its own, as anything that is written later has."""
    later = path.stat().st_mtime_ns + 10**9 if path.exists() else None
    path.write_bytes(content)
    if later:
        os.utime(path, ns=(later, later))


def test_preparing_changes_no_version(folder):
    assert prepare(folder) == version(folder)


def test_a_touch_is_no_change_and_its_content_is_read_once(folder, monkeypatch):
    prepared = prepare(folder)
    put(folder / "train/cat/1.png", b"content")
    assert version(folder) == prepared
    monkeypatch.setattr(pictures, "hash_of", None)  # would fail
    assert version(folder) == prepared


def test_another_content_of_the_same_size_is_a_change_until_it_is_prepared(folder):
    prepared = prepare(folder)
    put(folder / "train/cat/1.png", b"changed")
    assert version(folder) == version(folder) != prepared
    assert prepare(folder) == version(folder) != prepared


def test_two_changes_are_two_versions_and_the_way_back_is_one_too(folder):
    prepare(folder)
    seen = []
    for content in (b"changed", b"another"):
        put(folder / "train/cat/1.png", content)
        seen.append(version(folder))
    assert seen[0] != seen[1]
    prepared = prepare(folder)
    put(folder / "train/cat/1.png", b"content")
    assert version(folder) not in (*seen, prepared)


@pytest.mark.parametrize("change", ["another size", "a further one", "a deleted one", "another name"])
def test_other_names_and_sizes_are_a_change(folder, change):
    prepared = prepare(folder)
    one = folder / "train/cat/1.png"
    if change == "another size":
        put(one, b"longer content")
    elif change == "a further one":
        put(folder / "train/cat/3.png", b"content")
    elif change == "a deleted one":
        one.unlink()
    else:
        one.rename(folder / "train/cat/0.png")
    assert version(folder) != prepared


@pytest.mark.parametrize("content", ["", "[]", '{"pictures": 3, "version": "x"}'])
def test_without_a_record_names_and_sizes_count(folder, content):
    unprepared = version(folder)
    prepare(folder)
    put(folder / "train/cat/1.png", b"changed")
    pictures.record_of(DATA_FILE).write_text(content)
    assert version(folder) == unprepared


def test_a_record_that_cannot_be_written_is_no_failure(folder, monkeypatch):
    prepared = prepare(folder)
    put(folder / "train/cat/1.png", b"content")

    def read_only(*arguments):
        raise PermissionError

    monkeypatch.setattr(pictures, "write", read_only)
    assert version(folder) == prepared
