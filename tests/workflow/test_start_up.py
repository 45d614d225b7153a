"""What the jobs of a run import: every job pays for it, so none imports what it does not use."""

import pytest

# Slow to import, whole packages or parts of them.
HEAVY = {
    "curvlinops",
    "jinja2",
    "matplotlib",
    "matplotlib.pyplot",
    "ot",
    "pandas",
    "scipy",
    "scipy.optimize",
    "scipy.stats",
    "sklearn",
    "sympy",
    "torch",
    "torch._dynamo",
    "torchmetrics",
    "torchvision",
}
TABLES = {"pandas"}
PLOTS = {"pandas", "matplotlib"}
STATISTICS = {"pandas", "scipy", "scipy.optimize", "scipy.stats"}
COMPILER = {"torch._dynamo", "sympy"}  # PyTorch's, which its optimizers and torch.func import by themselves

# By rule; correlate_pooled, which takes two experiments, imports what correlate does.
USED = {
    "collect_measurements": TABLES,
    "collect_results": TABLES,
    "correlate": STATISTICS,
    "fuse": {"torch", "scipy", "scipy.optimize"},
    "measure_alignment": {"torch"},
    "measure_complexity": {"torch", "scipy"},
    "measure_connectivity": {"torch"},
    "measure_hessian": {"torch", "scipy", "curvlinops"} | COMPILER,
    "measure_input": {"torch", "scipy"} | COMPILER,
    "measure_pair": {"torch"},
    "measure_prediction": {"torch"},
    "measure_scales": {"torch", "scipy", "scipy.optimize"},
    "plot": PLOTS,
    "plot_predictors": PLOTS,
    "predict": STATISTICS,
    "prepare_data": {"torch", "sklearn"} | STATISTICS,  # which scikit-learn imports
    "report": PLOTS | {"jinja2"},  # spectra of its cards
    "summarise": TABLES,
    "train": {"torch"} | COMPILER,
}


@pytest.fixture(scope="session")
def imported(finished_run) -> dict[str, set[str]]:
    """The heavy modules that any of a rule's jobs imported."""
    found: dict[str, set[str]] = {}
    for record in (finished_run.folder.parent / "finished_run_modules").iterdir():
        rule = record.name.split(".")[0]
        found[rule] = found.get(rule, set()) | (HEAVY & set(record.read_text().splitlines()))
    return found


def test_the_table_has_every_rule_of_the_run(imported):
    assert set(imported) == set(USED)


@pytest.mark.parametrize("rule", USED)
def test_no_job_imports_what_it_does_not_use(imported, rule):
    assert imported[rule] == USED[rule]
