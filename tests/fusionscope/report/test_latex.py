"""Tables that LaTeX takes."""

import math
import re
import shutil
import subprocess

import pandas as pd
import pytest
from table_cases import study

from fusionscope.errors import InputError
from fusionscope.measurement import LEFT, NOT_CENSORED, RIGHT, Measurement, tidy_rows
from fusionscope.measures.names import METRICS, PARENTS
from fusionscope.report.latex import chosen, latex_number, latex_text, summary_caption, summary_latex
from fusionscope.report.summary import summary_table

FLATNESS = "flatness orig"


def body(latex: str) -> list[list[str]]:
    """The cells of a LaTeX table, head row first, without the names of spaces."""
    inside = latex[latex.index(r"\toprule") : latex.index(r"\bottomrule")]
    lines = [line for line in inside.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
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
    assert head == ["", "naive fused", "parent 1"]
    names = [r"test accuracy (\%)", r"generalisation gap (\%~points)", "Hessian trace", FLATNESS]
    assert [row[0] for row in rows] == names
    assert rows[0][2] == r"$95.0$ {\tiny [$91.0$, $99.0$]}"
    assert rows[2][1] == r"$80$ {\tiny [$60$, $95$]}"


def test_latex_says_of_each_number_that_is_a_bound_on_which_side():
    latex = summary_latex(summary_table(study(), 101), ["naive_fused", "parent_1"], "c", "l")
    cells = {row[0]: row[1:] for row in body(latex)[1:]}
    assert cells[FLATNESS][0] == r"$3.0$ {\tiny [$-7.0$, $>1 \cdot 10^{8}$]}"
    assert [cell for row in cells.values() for cell in row if "<" in cell or ">" in cell] == [
        cells[FLATNESS][0]
    ]


def test_the_name_of_a_bound_by_definition_says_so():
    measured = {name: Measurement(1.0) for name in ("sharpness_alpha", "lipschitz_upper_bound")}
    rows = tidy_rows(measured, experiment="e", seed=1, model="m", space="s")
    latex = summary_latex(summary_table(pd.DataFrame(rows), 101), ["m"], "c", "l")
    assert [row[0] for row in body(latex)[1:]] == [
        r"sharpness $\alpha$ (upper bound)",
        "Lipschitz upper bound",
    ]


@pytest.mark.parametrize(
    ("value", "censored", "expected"),
    [
        (0.98051, NOT_CENSORED, "$0.981$"),
        (7464.64, NOT_CENSORED, "$7460$"),
        (10, RIGHT, "$>10.0$"),
        (0.1, LEFT, "$<0.100$"),
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
        power = re.search(r"10\^\{(-?\d+)\}", body(latex)[1][0])
        unit = 10.0 ** int(power[1]) if power else 1.0
        assert float(cell.strip("$<")) * unit == pytest.approx(number, rel=5e-3)


@pytest.mark.parametrize("undefined", [False, True])
def test_latex_shows_a_dash_where_a_model_lacks_a_metric_or_no_seed_has_a_value(undefined):
    measurements = study()
    lacking = (measurements.model == "parent_1") & (measurements.metric == "hessian_trace")
    measurements.loc[lacking, ["value", "reason"]] = [math.nan, "at chance"]
    measurements = measurements if undefined else measurements[~lacking]
    latex = summary_latex(summary_table(measurements, 101), ["parent_1", "naive_fused"], "c", "l")
    assert_is_latex(latex, 3)
    cells = {row[0]: row[1:] for row in body(latex)[1:]}
    assert cells["Hessian trace"][0] == "--"
    assert sum(cell == "--" for row in cells.values() for cell in row) == 1


def test_latex_says_of_how_many_seeds_a_cell_is_where_some_have_no_value():
    measurements = study()
    lost = (measurements.metric == "hessian_trace") & (measurements.seed < 3)
    measurements.loc[lost & (measurements.model == "parent_1"), "value"] = math.nan
    latex = summary_latex(summary_table(measurements, 101), ["parent_1"], "c", "l")
    assert_is_latex(latex, 2)
    cells = {row[0]: row[1] for row in body(latex)[1:]}
    assert cells["Hessian trace"] == r"$2.5$ {\tiny [$2.0$, $4.0$] $n=3$}"


def test_latex_of_one_seed_has_no_range():
    measurements = study()
    latex = summary_latex(summary_table(measurements[measurements.seed == 1], 101), ["parent_1"], "c", "l")
    assert_is_latex(latex, 2)
    assert body(latex)[1][1] == "$91.0$"


@pytest.mark.parametrize(
    ("value", "spread", "expected"),
    [
        (97.487, 1.1, "$97.5$"),  # two digits of the spread
        (97.487, 30, "$97$"),
        (97.487, 0.001, "$97.5$"),  # three of its own at most
        (2.8345, 56.4, "$2.8$"),  # and two at least
        (1234.5, 900, "$1230$"),
        (9.9996, 0.0, "$10.0$"),
        (0.99999, 0.0, "$1.00$"),
        (-0.0312, 0.5, "$-0.031$"),
    ],
)
def test_digits_follow_the_spread(value, spread, expected):
    assert latex_number(value, NOT_CENSORED, spread) == expected


def row_of_numbers(*numbers: float) -> list[str]:
    """The row of a metric that one seed each of some models has."""
    rows = [
        row
        for index, number in enumerate(numbers)
        for row in tidy_rows(
            {"path_norm": Measurement(number)}, experiment="e", seed=1, model=f"m{index}", space="parameter"
        )
    ]
    models = [f"m{index}" for index in range(len(numbers))]
    return body(summary_latex(summary_table(pd.DataFrame(rows), 101), models, "c", "l"))[1]


def test_large_and_small_numbers_share_a_unit_where_they_are_alike():
    assert row_of_numbers(1.5e7, 2e7) == [r"path norm ($\times 10^{7}$)", "$1.50$", "$2.00$"]
    assert row_of_numbers(4e-5, 3e-4) == [r"path norm ($\times 10^{-4}$)", "$0.400$", "$3.00$"]
    assert row_of_numbers(15, 2000) == ["path norm", "$15.0$", "$2000$"]
    assert row_of_numbers(0.5, 1e9) == ["path norm", "$0.500$", r"$1 \cdot 10^{9}$"]


def test_what_latex_takes_for_commands_is_escaped():
    assert latex_text("a_b & 5% of #1 \\ {x}~^$") == (
        r"a\_b \& 5\% of \#1 \textbackslash{} \{x\}\textasciitilde{}\textasciicircum{}\$"
    )


DOCUMENT = r"""\documentclass[a4paper]{article}
\usepackage[margin=1in]{geometry}
\usepackage{booktabs,graphicx}
\begin{document}
%s
\end{document}
"""


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX")
@pytest.mark.parametrize("children", [1, 9])
def test_a_table_of_all_metrics_fits_a_page_of_a4(tmp_path, children):
    models = ["parent_1", "parent_2", *(f"a_fusion_with_a_long_name_{number}" for number in range(children))]
    rows = []
    for seed in (1, 2, 3):
        for model in models:
            measured = {name: Measurement(-1.234567e-7 * seed, None, LEFT) for name in METRICS}
            rows += tidy_rows(measured, experiment="e", seed=seed, model=model, space="parameter_space")
    latex = summary_latex(summary_table(pd.DataFrame(rows), 101), models, summary_caption("my_own"), "tab:x")
    (tmp_path / "page.tex").write_text(DOCUMENT % latex)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout[-2000:]
    assert "Overfull" not in said.stdout
    assert "too large" not in said.stdout
    assert "(1 page," in said.stdout


def test_a_choice_of_metrics_and_one_that_is_not_measured():
    summary = summary_table(study(), 101)
    assert [*chosen(summary, ["hessian_trace", "accuracy"], "e").metric.unique()] == [
        "accuracy",
        "hessian_trace",
    ]
    assert len(chosen(summary, None, "e")) == len(summary)
    where = r"^config: experiments\.e\.table_metrics: "
    with pytest.raises(
        InputError, match=where + "'path_norm' is not measured of any model; measured are acc"
    ):
        chosen(summary, ["accuracy", "path_norm"], "e")


def test_what_is_said_of_all_parents_together_has_no_row():
    measurements = study()
    of_pairs = measurements[measurements.metric == "hessian_trace"].assign(
        metric="parents_cka", model=PARENTS
    )
    summary = summary_table(pd.concat([measurements, of_pairs]), 101)
    assert set(chosen(summary, None, "e").metric) == set(measurements.metric)
    with pytest.raises(InputError, match=r"'parents_cka' is not measured of any model; measured are"):
        chosen(summary, ["parents_cka"], "e")
