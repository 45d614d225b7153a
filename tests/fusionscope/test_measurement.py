"""Tidy rows, and the CSV files that hold them."""

import pytest

from fusionscope.errors import InputError
from fusionscope.measurement import COLUMNS, LEFT, Measurement, read_rows, tidy_rows, undefined, write_rows


def test_tidy_rows_have_the_columns_of_the_contract():
    (row,) = tidy_rows({"m": Measurement(1.5)}, experiment="e", seed=3, model="x", space="s")
    assert tuple(row) == COLUMNS
    assert list(row.values()) == ["e", 3, "x", "s", "m", 1.5, "", "no", ""]
    (row,) = tidy_rows({"m": Measurement(1.5, 0.0, LEFT)}, experiment="e", seed=3, model="x", space="s")
    assert (row["std_error"], row["censored"]) == (0.0, "left")  # an error of zero is not an empty cell
    (row,) = tidy_rows({"m": undefined("no margin")}, experiment="e", seed=3, model="x", space="s")
    assert (row["value"], row["censored"], row["reason"]) == ("", "no", "no margin")


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.csv"

    def rows():
        yield {"value": 2.0}
        raise KeyboardInterrupt

    for before in (None, "value\n1.0\n"):
        if before is not None:
            path.write_text(before)
        with pytest.raises(KeyboardInterrupt):
            write_rows(path, ["value"], rows())
        assert (path.read_text() if path.exists() else None) == before
    write_rows(path, ["value"], [{"value": 3.0}])
    assert path.read_text() == "value\n3.0\n"
    assert [file.name for file in tmp_path.iterdir()] == ["a.csv"]  # what was left over is used up


def test_a_key_that_is_no_column_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="typo"):
        write_rows(tmp_path / "a.csv", ["value"], [{"value": 1.0, "typo": 2.0}])
    assert not (tmp_path / "a.csv").exists()


def test_rows_come_back_as_text(tmp_path):
    path = tmp_path / "a.csv"
    rows = [{"layer": "0.1", "reason": 'with, "quotes"\nand \u2028 lines'}, {"layer": "", "reason": ""}]
    write_rows(path, rows[0], rows)
    assert read_rows(path) == rows


def test_a_file_that_is_cut_off_is_damaged_wherever_it_is_cut_but_between_rows(tmp_path):
    path = tmp_path / "a.csv"
    numbers = {"m": Measurement(0.5, 0.1), "k": undefined("why, and why")}
    write_rows(path, COLUMNS, tidy_rows(numbers, experiment="e", seed=1, model="x", space="s"))
    content = path.read_bytes()
    whole = len(read_rows(path))
    for kept in range(len(content)):
        path.write_bytes(content[:kept])
        if content[:kept].endswith(b"\n"):
            assert len(read_rows(path)) == content[:kept].count(b"\n") - 1 < whole
        else:
            with pytest.raises(InputError, match=r"a\.csv: is damaged \(.*\); delete it, and"):
                read_rows(path)


@pytest.mark.parametrize("content", [b"a,b\n1\n", b"a,b\n1,2,3\n", b"a\n\xff\n", b'a\n"1\n', b"\0" * 9])
def test_what_is_no_table_is_damaged(tmp_path, content):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.csv: is damaged \("):
        read_rows(tmp_path / "a.csv")
