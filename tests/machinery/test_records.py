"""Snakemake's records, kept twice: they come back as they were, and only where there are none."""

import shutil
from pathlib import Path

import pytest

from machinery import records


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A folder with two records, one below a folder as Snakemake has it for long names, and their copy."""
    monkeypatch.chdir(tmp_path)
    Path("experiments").mkdir()
    for name in ("a", "@long/b"):
        path = records.RECORDS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"record {name}")
    records.keep()
    return tmp_path


def content() -> dict[str, str]:
    return {
        str(p.relative_to(records.RECORDS)): p.read_text() for p in records.RECORDS.rglob("*") if p.is_file()
    }


@pytest.mark.parametrize("gone", [".snakemake", ".snakemake/metadata"])
def test_what_is_gone_comes_back(kept, gone):
    before = content()
    shutil.rmtree(gone)
    assert records.restore()
    assert content() == before
    assert Path(
        ".snakemake/incomplete"
    ).is_dir()  # without it Snakemake takes the records for those of an old version


def test_an_empty_folder_is_gone_too(kept):
    shutil.rmtree(records.RECORDS)
    records.RECORDS.mkdir()
    assert records.restore()


def test_records_that_are_there_stay(kept):
    (records.RECORDS / "a").write_text("newer")
    (records.RECORDS / "@long/b").unlink()  # Snakemake deletes records of what failed
    assert not records.restore()
    assert content() == {"a": "newer"}


@pytest.mark.parametrize(
    "damage", [lambda file: b"", lambda file: file[:40], lambda file: file[:35] + b"?" + file[36:]]
)
def test_a_damaged_copy_is_none(kept, damage):
    records.COPY.write_bytes(damage(records.COPY.read_bytes()))
    shutil.rmtree(records.RECORDS)
    assert not records.restore()
    assert not records.has_records()


def test_nothing_is_kept_of_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    records.keep()
    Path("experiments").mkdir()
    records.keep()
    assert not records.COPY.exists()
    assert not records.restore()
