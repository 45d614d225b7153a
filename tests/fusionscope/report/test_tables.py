"""Tables: a small hand-made study goes in, numbers that can be checked by hand come out."""

import math
import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fusionscope.measurement import COLUMNS, LEFT, NOT_CENSORED, RIGHT, Measurement, tidy_rows, write_rows
from fusionscope.report.tables import (
    ALL_MODELS,
    CORRELATION_COLUMNS,
    correlation_table,
    read_tables,
    results_table,
    summary_latex,
    summary_table,
    write_table,
)

SEEDS = (1, 2, 3, 4, 5)
ACCURACY = {"parent_1": (0.91, 0.95, 0.93, 0.99, 0.97), "naive_fused": (0.3, 0.1, 0.5, 0.2, 0.6)}
TRACE = {"parent_1": (5.0, 3.0, 4.0, 2.0, 2.5), "naive_fused": (70.0, 90.0, 60.0, 95.0, 80.0)}
FLATNESS = {"parent_1": (100.0, 400.0, 900.0, 1600.0, 2500.0), "naive_fused": (-7.0, 1e8, 2.0, 3.0, 4.0)}
GAP = 0.03  # of seed 1; each seed has a little more


def study(experiment: str = "digits", models: tuple[str, ...] = ("parent_1", "naive_fused")) -> pd.DataFrame:
    """Tidy rows of four metrics; the second flatness of naive_fused is a bound."""
    rows = []
    for model in models:
        for i, seed in enumerate(SEEDS):
            gap = GAP + 0.01 * i * (1 if model == "parent_1" else (-1) ** i)
            bound = RIGHT if (model, seed) == ("naive_fused", 2) else NOT_CENSORED
            spaces = {
                "prediction_space": {
                    "accuracy": Measurement(ACCURACY[model][i], 0.01),
                    "generalisation_gap": Measurement(gap),
                },
                "parameter_space": {
                    "hessian_trace": Measurement(TRACE[model][i], 0.5),
                    "flatness_orig": Measurement(FLATNESS[model][i], None, bound),
                },
            }
            for space, measurements in spaces.items():
                where = {"experiment": experiment, "seed": seed, "model": model, "space": space}
                rows += tidy_rows(measurements, **where)
    return pd.DataFrame(rows, columns=COLUMNS)


def value(table: pd.DataFrame, **where: object) -> float:
    """The value in the only row that matches."""
    for column, wanted in where.items():
        table = table[table[column] == wanted]
    assert len(table) == 1
    return table.iloc[0]["value"]


def single_models(measurements: pd.DataFrame, accuracy_metric: str = "accuracy") -> pd.DataFrame:
    """Correlations of both models, each by itself, without the pooled block."""
    parts = [part for _, part in measurements.groupby("model", sort=False)]
    return pd.concat([correlation_table(part, accuracy_metric) for part in parts], ignore_index=True)


def test_tidy_rows_have_the_columns_of_the_contract():
    (row,) = tidy_rows({"m": Measurement(1.5)}, experiment="e", seed=3, model="x", space="s")
    assert tuple(row) == COLUMNS
    assert list(row.values()) == ["e", 3, "x", "s", "m", 1.5, "", "no"]
    (row,) = tidy_rows({"m": Measurement(1.5, 0.0, LEFT)}, experiment="e", seed=3, model="x", space="s")
    assert (row["std_error"], row["censored"]) == (0.0, "left")  # an error of zero is not an empty cell


def test_floats_come_back_with_all_their_digits(tmp_path):
    stream = np.random.default_rng(0)
    values = (stream.normal(size=5000) * 10.0 ** stream.integers(-300, 300, size=5000)).tolist()
    values += [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, 1e22]
    path = tmp_path / "values.csv"
    write_rows(path, ["value"], [{"value": number} for number in values])
    assert path.read_text() == "value\n" + "".join(f"{number!r}\n" for number in values)
    assert read_tables([path]).value.tolist() == values


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


def test_writing_what_was_read_gives_the_same_numbers(tmp_path):
    write_table(study(), tmp_path / "once.csv")
    write_table(read_tables([tmp_path / "once.csv"]), tmp_path / "twice.csv")
    assert (tmp_path / "once.csv").read_bytes() == (tmp_path / "twice.csv").read_bytes()
    assert b"\r" not in (tmp_path / "once.csv").read_bytes()


def test_results_have_the_study_s_columns_and_no_empty_cell():
    measurements = study()
    table = results_table(measurements, single_models(measurements))
    assert list(table.columns) == ["Model", "Space", "Metric", "Value"]
    assert not table.isna().any(axis=None)
    assert not (table.astype(str) == "").any(axis=None)
    first = table.iloc[0]
    assert first.tolist() == ["parent_1_seed1", "prediction_space", "accuracy", 0.91]
    assert set(table.Model) == {f"{m}_seed{s}" for m in ACCURACY for s in SEEDS} | set(ACCURACY)
    assert len(table) == 2 * 5 * 4 + 2 * 3 * 3


def test_correlations_in_the_results_carry_the_model_without_a_seed():
    measurements = study()
    table = results_table(measurements, single_models(measurements))
    rows = table[table.Space == "correlation_space"]
    names = {"hessian_trace", "flatness_orig", "generalisation_gap"}
    expected = {f"{kind}_{name}" for kind in ("kendall", "pearson", "spearman") for name in names}
    assert set(rows.Metric) == expected
    assert set(rows.Model) == set(ACCURACY)
    row = rows[(rows.Model == "parent_1") & (rows.Metric == "kendall_hessian_trace")]
    tau = stats.kendalltau(TRACE["parent_1"], ACCURACY["parent_1"]).statistic
    assert row.Value.tolist() == [pytest.approx(tau)]


def test_correlations_that_do_not_exist_have_no_row_in_the_results():
    measurements = study(models=("parent_1",))
    measurements.loc[measurements.metric == "hessian_trace", "value"] = 7.0
    correlation = correlation_table(measurements, "accuracy")
    missing = correlation[correlation.metric == "hessian_trace"]
    assert missing.value.isna().all()
    assert (missing.reason == "metric is constant").all()
    table = results_table(measurements, correlation)
    assert not table.Metric.str.fullmatch(".*(kendall|pearson|spearman)_hessian_trace").any()
    assert not table.isna().any(axis=None)


def test_results_without_correlations_are_the_measurements_alone():
    measurements = study()
    table = results_table(measurements, None)
    assert len(table) == len(measurements)
    assert "correlation_space" not in set(table.Space)


def test_correlations_match_seeds_not_rows():
    # the same rows in any order are the same study
    measurements = study(models=("parent_1",))
    expected = correlation_table(measurements, "accuracy")
    shuffled = correlation_table(measurements.sample(frac=1, random_state=0), "accuracy")
    for name in ("hessian_trace", "flatness_orig"):
        columns = {"kendall": stats.kendalltau, "pearson": stats.pearsonr, "spearman": stats.spearmanr}
        for kind, function in columns.items():
            values = (TRACE if name == "hessian_trace" else FLATNESS)["parent_1"]
            truth = function(values, ACCURACY["parent_1"]).statistic
            assert value(expected, metric=name, coefficient=kind) == pytest.approx(truth)
            assert value(shuffled, metric=name, coefficient=kind) == pytest.approx(truth)


def test_a_seed_without_accuracy_does_not_count():
    measurements = study(models=("parent_1",))
    measurements = measurements[(measurements.metric != "accuracy") | (measurements.seed != 4)]
    table = correlation_table(measurements, "accuracy")
    assert (table.n == 4).all()
    kept = [0, 1, 2, 4]
    truth = stats.pearsonr(*(np.array(c["parent_1"])[kept] for c in (TRACE, ACCURACY))).statistic
    assert value(table, metric="hessian_trace", coefficient="pearson") == pytest.approx(truth)


def test_bounds_reach_the_correlations():
    table = single_models(study())
    rows = table[(table.model == "naive_fused") & (table.metric == "flatness_orig")]
    assert dict(zip(rows.coefficient, rows.n, strict=True)) == {"kendall": 5, "pearson": 4, "spearman": 5}


def test_the_sign_of_the_gap_is_turned_so_that_more_is_better():
    measurements = study(models=("parent_1",))
    gaps = measurements[measurements.metric == "generalisation_gap"].value
    table = correlation_table(measurements, "generalisation_gap")
    assert set(table.metric) == {"accuracy", "hessian_trace", "flatness_orig"}
    for kind, function in (("kendall", stats.kendalltau), ("pearson", stats.pearsonr)):
        found = value(table, metric="hessian_trace", coefficient=kind)
        assert found == pytest.approx(-function(TRACE["parent_1"], gaps).statistic)
        assert abs(found) > 0.1


def test_each_experiment_may_have_its_own_target():
    both = pd.concat([study("one", ("parent_1",)), study("two", ("parent_1",))], ignore_index=True)
    mixed = correlation_table(both, {"one": "accuracy", "two": "generalisation_gap"})
    apart = {"one": "accuracy", "two": "generalisation_gap"}
    for experiment, metric in apart.items():
        alone = correlation_table(study(experiment, ("parent_1",)), metric)
        found = mixed[(mixed.experiment == experiment) & (mixed.model == "parent_1")]
        assert set(found.metric) == set(alone.metric)
        for row in alone.itertuples():
            where = {"metric": row.metric, "coefficient": row.coefficient}
            assert value(found, **where) == pytest.approx(row.value, nan_ok=True)


def test_all_models_together_are_stratified_by_model():
    # between models trace and accuracy go opposite ways by a large margin: none of that may count
    table = correlation_table(study(), "accuracy")
    assert list(table.columns) == CORRELATION_COLUMNS
    assert list(dict.fromkeys(table.model)) == ["parent_1", "naive_fused", ALL_MODELS]
    centred = [
        np.concatenate([np.array(c[model]) - np.mean(c[model]) for model in c]) for c in (TRACE, ACCURACY)
    ]
    truth = stats.pearsonr(*centred).statistic
    where = {"model": ALL_MODELS, "metric": "hessian_trace"}
    assert value(table, **where, coefficient="pearson") == pytest.approx(truth)
    pooled = table[(table.model == ALL_MODELS) & (table.metric == "hessian_trace")]
    assert (pooled.n == 10).all()


def test_one_model_has_no_pooled_block():
    assert set(correlation_table(study(models=("parent_1",)), "accuracy").model) == {"parent_1"}


def test_pooled_experiments_are_one_block_under_one_name():
    both = pd.concat([study("one"), study("two")], ignore_index=True)
    table = correlation_table(both, "accuracy", pooled_as="all_experiments")
    assert set(table.experiment) == {"all_experiments"}
    assert set(table.model) == {ALL_MODELS}
    assert len(table) == 9
    assert table[table.metric == "hessian_trace"].n.tolist() == [20] * 3
    # two copies of a study say what one says
    where = {"model": ALL_MODELS, "metric": "hessian_trace", "coefficient": "kendall"}
    single = value(correlation_table(study("one"), "accuracy"), **where)
    assert value(table, **where) == pytest.approx(single)


def test_summary_by_hand():
    table = summary_table(study(), train_size=101).set_index(["model", "metric"])
    row = table.loc[("parent_1", "hessian_trace")]
    assert row["mean"] == pytest.approx((5 + 3 + 4 + 2 + 2.5) / 5)
    squares = sum((x - 3.3) ** 2 for x in (5, 3, 4, 2, 2.5))
    assert row["std"] == pytest.approx(math.sqrt(squares / 4))  # of a sample of seeds
    assert (row["space"], row["n"], row["censored"]) == ("parameter_space", 5, 0)
    assert math.isnan(row["bound"])  # the trace bounds nothing
    # sqrt(v / 100) of 100, 400, 900, 1600, 2500: 1 to 5
    assert table.loc[("parent_1", "flatness_orig"), "bound"] == pytest.approx(3)
    fused = table.loc[("naive_fused", "flatness_orig")]
    assert fused["censored"] == 1
    # a measure below zero bounds the gap by zero
    expected = (0 + 1000 + math.sqrt(0.02) + math.sqrt(0.03) + math.sqrt(0.04)) / 5
    assert fused["bound"] == pytest.approx(expected)


def test_only_the_eight_measures_with_initial_or_original_weights_are_bounds():
    kinds = ("flatness", "flatness_mag", "sharpness", "sharpness_mag")
    bounds = {f"{kind}_{origin}" for kind in kinds for origin in ("init", "orig")}
    others = {"pac_bayes_flatness", "sharpness_mag_flat", "pac_bayes_sigma", "accuracy"}
    rows = tidy_rows(
        {name: Measurement(4.0) for name in sorted(bounds | others)},
        experiment="e", seed=1, model="m", space="s",
    )  # fmt: skip
    table = summary_table(pd.DataFrame(rows), train_size=5)
    assert set(table[table.bound.notna()].metric) == bounds
    assert table.bound.dropna().unique().tolist() == [1.0]


def body(latex: str) -> list[list[str]]:
    """The cells of a LaTeX table, head row first."""
    inside = latex[latex.index(r"\toprule") : latex.index(r"\bottomrule")]
    lines = [line for line in inside.splitlines() if line.rstrip().endswith(r"\\")]
    return [[cell.strip() for cell in line.rstrip()[:-2].split("&")] for line in lines]


def assert_is_latex(latex: str, columns: int) -> None:
    """What LaTeX would stumble over in a table."""
    assert latex.count(r"\begin{table}") == latex.count(r"\end{table}") == 1
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 1
    assert re.search(r"\\begin\{tabular\}\{([lcr]+)\}", latex)[1] == "l" + "r" * (columns - 1)
    assert latex.count("{") == latex.count("}")
    for row in body(latex):
        assert len(row) == columns
        for cell in row:
            assert cell.count("$") % 2 == 0
            assert not re.search(r"(?<!\\)_", re.sub(r"\$[^$]*\$", "", cell)), "a bare underscore"
            assert not re.search(r"\^\{[^{}]*\}\s*\^", cell), f"double superscript: {cell}"


def test_latex_has_a_row_per_metric_and_a_column_per_model():
    models = ["naive_fused", "parent_1"]
    latex = summary_latex(summary_table(study(), 101), models, "A caption", "tab:digits")
    assert_is_latex(latex, 3)
    assert r"\caption{A caption}" in latex
    assert r"\label{tab:digits}" in latex
    head, *rows = body(latex)
    assert head == ["", r"naive\_fused", r"parent\_1"]
    names = ["accuracy", r"generalisation\_gap", r"hessian\_trace", r"flatness\_orig"]
    assert [row[0] for row in rows] == names
    assert rows[0][2] == r"$0.95 \pm 0.03162$"
    assert rows[2][1] == r"$79 \pm 14.32$"


def test_latex_stars_what_holds_bounds_and_nothing_else():
    latex = summary_latex(summary_table(study(), 101), ["naive_fused", "parent_1"], "c", "l")
    cells = {row[0]: row[1:] for row in body(latex)[1:]}
    starred = {(name, i) for name, row in cells.items() for i in range(2) if "*" in row[i]}
    assert starred == {(r"flatness\_orig", 0)}


@pytest.mark.parametrize("seeds", [(1,), (1, 2)])
@pytest.mark.parametrize("number", [1e8, 1e-7, -3.5e12, 123.4])
def test_latex_of_a_bound_with_an_exponent_is_valid(seeds, number):
    rows = []
    for seed in seeds:
        measured = {"pac_bayes_flatness": Measurement(number * seed, None, LEFT)}
        rows += tidy_rows(measured, experiment="e", seed=seed, model="m", space="s")
    latex = summary_latex(summary_table(pd.DataFrame(rows), 101), ["m"], "c", "l")
    assert_is_latex(latex, 2)
    (cell,) = body(latex)[1][1:]
    assert "*" in cell
    if len(seeds) == 1:  # the number can be read back
        digits = re.sub(r"\^?\{?\{?\*\}?\}?|\$|\{\}", "", cell).replace(r" \cdot 10^{", "e").replace("}", "")
        assert float(digits.replace("{", "")) == pytest.approx(number, rel=1e-3)


def test_latex_shows_a_dash_where_a_model_lacks_a_metric():
    measurements = study()
    lacking = (measurements.model == "parent_1") & (measurements.metric == "hessian_trace")
    latex = summary_latex(summary_table(measurements[~lacking], 101), ["parent_1", "naive_fused"], "c", "l")
    assert_is_latex(latex, 3)
    cells = {row[0]: row[1:] for row in body(latex)[1:]}
    assert cells[r"hessian\_trace"][0] == "--"
    assert sum(cell == "--" for row in cells.values() for cell in row) == 1


def test_latex_of_one_seed_has_no_spread():
    measurements = study()
    latex = summary_latex(summary_table(measurements[measurements.seed == 1], 101), ["parent_1"], "c", "l")
    assert_is_latex(latex, 2)
    assert body(latex)[1][1] == "$0.91$"
