"""Tables come back from files as they went in."""

import numpy as np
import pandas as pd
import pytest
from table_cases import study

from fusionscope.measurement import COLUMNS, RIGHT, Measurement, tidy_rows, write_rows
from fusionscope.report.tables import joined, read_tables, read_tables_with, write_table, write_text


def test_floats_come_back_with_all_their_digits(tmp_path):
    stream = np.random.default_rng(0)
    values = (stream.normal(size=5000) * 10.0 ** stream.integers(-300, 300, size=5000)).tolist()
    values += [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, 1e22]
    path = tmp_path / "values.csv"
    write_rows(path, ["value"], [{"value": number} for number in values])
    assert path.read_text() == "value\n" + "".join(f"{number!r}\n" for number in values)
    assert read_tables([path]).value.tolist() == values


def test_measurements_come_back_in_the_order_of_the_files(tmp_path):
    paths = [tmp_path / name for name in ("z.csv", "a.csv")]
    for seed, path in enumerate(paths):
        numbers = {"m": Measurement(0.1 + seed), "k": Measurement(0.2, 0.5 if seed else None, RIGHT)}
        write_rows(path, COLUMNS, tidy_rows(numbers, experiment="e", seed=seed, model="x", space="s"))
    found = read_tables(paths)
    assert tuple(found.columns) == COLUMNS
    assert found.seed.tolist() == [0, 0, 1, 1]
    assert found.index.tolist() == [0, 1, 2, 3]
    assert found.value.tolist() == [0.1, 0.2, 1.1, 0.2]
    assert found.std_error.isna().tolist() == [True, True, True, False]
    assert found.censored.tolist() == ["no", "right"] * 2


@pytest.mark.parametrize(
    "older", ["", "\n", "experiment,seed,model\ne,1,m\n", "a,b\n1,2,3,4\n", ",".join(COLUMNS[:-1]) + "\n"]
)
def test_files_of_another_layout_are_not_read_and_break_nothing(tmp_path, older):
    write_table(study(), tmp_path / "now.csv")
    (tmp_path / "older.csv").write_text(older)
    assert len(read_tables_with(COLUMNS, [tmp_path / "now.csv"])) == len(study())
    assert read_tables_with(COLUMNS, [tmp_path / "now.csv", tmp_path / "older.csv"]) is None
    (tmp_path / "older.csv").write_bytes(b"\xff\x00")
    assert read_tables_with(COLUMNS, [tmp_path / "older.csv"]) is None


def test_experiments_are_joined_in_the_order_that_is_given_and_their_rows_stay_in_theirs():
    one, other = study("one"), study("other")
    rows = joined([other, one], ["one", "other"])
    assert rows.experiment.tolist() == ["one"] * len(one) + ["other"] * len(other)
    pd.testing.assert_frame_equal(rows.reset_index(drop=True), pd.concat([one, other], ignore_index=True))
    assert joined([one, other], ["one", "other"]).equals(rows.reset_index(drop=True))


def test_a_table_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    write_table(study(), path)
    before = path.read_bytes()

    def cut_off(self, partial, **_):
        partial.write_text("experi")
        raise KeyboardInterrupt

    monkeypatch.setattr(pd.DataFrame, "to_csv", cut_off)
    with pytest.raises(KeyboardInterrupt):
        write_table(study(), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.csv"]


def test_text_is_written_in_utf_8(tmp_path):
    write_text("é", tmp_path / "a.tex")
    assert (tmp_path / "a.tex").read_bytes() == "é".encode()


def test_writing_what_was_read_gives_the_same_numbers(tmp_path):
    write_table(study(), tmp_path / "once.csv")
    write_table(read_tables([tmp_path / "once.csv"]), tmp_path / "twice.csv")
    assert (tmp_path / "once.csv").read_bytes() == (tmp_path / "twice.csv").read_bytes()
    assert b"\r" not in (tmp_path / "once.csv").read_bytes()


def test_names_of_layers_that_look_like_numbers_stay_names(tmp_path):
    path = tmp_path / "variance.csv"
    write_rows(path, ["layer", "ratio"], [{"layer": name, "ratio": 0.5} for name in ("0.0", "0.10", "1")])
    assert read_tables([path]).layer.tolist() == ["0.0", "0.10", "1"]
