"""Tables that LaTeX takes."""

import math
import re

import pandas as pd
import pytest
from table_cases import study

from fusionscope.measurement import LEFT, NOT_CENSORED, RIGHT, Measurement, tidy_rows
from fusionscope.report.latex import latex_number, summary_caption, summary_latex
from fusionscope.report.summary import summary_table


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
    assert rows[0][2] == "$0.95$ [$0.91$, $0.99$]"
    assert rows[2][1] == "$80$ [$60$, $95$]"


def test_latex_says_of_each_number_that_is_a_bound_on_which_side():
    latex = summary_latex(summary_table(study(), 101), ["naive_fused", "parent_1"], "c", "l")
    cells = {row[0]: row[1:] for row in body(latex)[1:]}
    assert cells[r"flatness\_orig"][0] == r"$3$ [$-7$, $>1 \cdot 10^{8}$]"
    assert [cell for row in cells.values() for cell in row if "<" in cell or ">" in cell] == [
        cells[r"flatness\_orig"][0]
    ]


def test_the_name_of_a_bound_by_definition_says_so():
    measured = {name: Measurement(1.0) for name in ("sharpness_alpha", "lipschitz_upper_bound")}
    rows = tidy_rows(measured, experiment="e", seed=1, model="m", space="s")
    latex = summary_latex(summary_table(pd.DataFrame(rows), 101), ["m"], "c", "l")
    assert [row[0] for row in body(latex)[1:]] == [
        r"sharpness\_alpha (upper bound)",
        r"lipschitz\_upper\_bound",
    ]


@pytest.mark.parametrize(
    ("value", "censored", "expected"),
    [
        (0.98051, NOT_CENSORED, "$0.981$"),
        (7464.64, NOT_CENSORED, "$7460$"),
        (10, RIGHT, "$>10$"),
        (0.1, LEFT, "$<0.1$"),
        (-3.5e12, RIGHT, r"$>-3.5 \cdot 10^{12}$"),
        (0, NOT_CENSORED, "$0$"),
        (math.inf, NOT_CENSORED, r"$\infty$"),
        (math.nan, RIGHT, "--"),
    ],
)
def test_numbers_have_three_digits_and_a_sign_where_they_are_bounds(value, censored, expected):
    assert latex_number(value, censored) == expected


def test_the_caption_says_what_the_signs_mean():
    caption = summary_caption("my_own")
    assert caption.startswith(r"my\_own: median and range")
    assert "$<$ or $>$" in caption
    assert_is_latex(summary_latex(summary_table(study(), 101), ["parent_1"], caption, "l"), 2)


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
    assert cell.count("$<") == (1 if len(seeds) == 1 else 3)
    if len(seeds) == 1:  # the number can be read back
        digits = cell.strip("$<").replace(r" \cdot 10^{", "e").strip("}$")
        assert float(digits) == pytest.approx(number, rel=5e-3)


@pytest.mark.parametrize("undefined", [False, True])
def test_latex_shows_a_dash_where_a_model_lacks_a_metric_or_no_seed_has_a_value(undefined):
    measurements = study()
    lacking = (measurements.model == "parent_1") & (measurements.metric == "hessian_trace")
    measurements.loc[lacking, ["value", "reason"]] = [math.nan, "at chance"]
    measurements = measurements if undefined else measurements[~lacking]
    latex = summary_latex(summary_table(measurements, 101), ["parent_1", "naive_fused"], "c", "l")
    assert_is_latex(latex, 3)
    cells = {row[0]: row[1:] for row in body(latex)[1:]}
    assert cells[r"hessian\_trace"][0] == "--"
    assert sum(cell == "--" for row in cells.values() for cell in row) == 1


def test_latex_says_of_how_many_seeds_a_cell_is_where_some_have_no_value():
    measurements = study()
    lost = (measurements.metric == "hessian_trace") & (measurements.seed < 3)
    measurements.loc[lost & (measurements.model == "parent_1"), "value"] = math.nan
    latex = summary_latex(summary_table(measurements, 101), ["parent_1"], "c", "l")
    assert_is_latex(latex, 2)
    cells = {row[0]: row[1] for row in body(latex)[1:]}
    assert cells[r"hessian\_trace"] == "$2.5$ [$2$, $4$] ($n = 3$)"


def test_latex_of_one_seed_has_no_range():
    measurements = study()
    latex = summary_latex(summary_table(measurements[measurements.seed == 1], 101), ["parent_1"], "c", "l")
    assert_is_latex(latex, 2)
    assert body(latex)[1][1] == "$0.91$"
