"""Tables that LaTeX takes."""

import re

import pandas as pd
import pytest
from table_cases import study

from fusionscope.measurement import LEFT, Measurement, tidy_rows
from fusionscope.report.latex import summary_latex
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
