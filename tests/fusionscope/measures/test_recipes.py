"""What measurement recipes may say, and what is said where they are wrong."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fusionscope.errors import InputError
from fusionscope.measures.recipes import COMPLEXITY, MeasurementRecipe, ScalesRecipe
from fusionscope.options import check
from fusionscope.registry import resolve

ROOT = Path(__file__).parents[3]
HEAVY = {"torch", "numpy", "pandas", "matplotlib", "scipy"}
SHIPPED = yaml.safe_load((ROOT / "config.yaml").read_text())["measurements"]


def resolved(**recipe: object) -> dict:
    return check(MeasurementRecipe, recipe, "measurements.mine").model_dump()


def test_the_defaults_are_the_shipped_recipe_full():
    assert resolved() == resolved(**SHIPPED["full"])


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_option_is_kept(name):
    found = resolved(**SHIPPED[name])
    for part, options in SHIPPED[name].items():
        expected = {part: options} if not isinstance(options, dict) else options
        inside = found if not isinstance(options, dict) else found[part]
        assert {key: inside[key] for key in expected} == expected


def test_a_recipe_says_only_what_differs():
    found, full = resolved(hessian={"images": 64}, complexity=[]), resolved()
    assert found["hessian"] == full["hessian"] | {"images": 64}
    assert found == full | {"hessian": found["hessian"], "complexity": []}


@pytest.mark.parametrize(
    ("part", "draws", "error"),
    [("hessian", "trace_draws", "trace_target_error"), ("flatness", "draws", "target_error")],
)
def test_one_of_two_ways_to_say_how_many_draws(part, draws, error):
    default = resolved()[part]
    assert (default[draws], default[error]) == (None, 0.01)
    found = resolved(**{part: {draws: 7}})[part]  # replaces the default of the other
    assert (found[draws], found[error]) == (7, None)
    found = resolved(**{part: {error: 0.5}})[part]
    assert (found[draws], found[error]) == (None, 0.5)
    sentence = f"measurements.mine.{part}: give either '{draws}' or '{error}', not both or neither"
    for both in ({draws: 7, error: 0.5}, {error: None}, {draws: None, error: None}):
        with pytest.raises(InputError) as caught:
            resolved(**{part: both})
        assert str(caught.value) == sentence


WRONG = {
    "flatness.scale_range: 1 is not below 0.1; write the smaller first": {
        "flatness": {"scale_range": [1.0, 0.1]}
    },
    "flatness.scale_range: 2 is not below 2; write the smaller first": {
        "flatness": {"scale_range": [2, 2.0]}
    },
    "flatness.scale_range: [1.0] is not right; expected a list of two numbers above 0, the smaller first": {
        "flatness": {"scale_range": [1.0]}
    },
    "flatness.scale_range.0: 0 is not right; expected a number above 0": {
        "flatness": {"scale_range": [0, 0.1]}
    },
    "flatness.draws: 1 is not right; expected a whole number, at least 2, or null": {
        "flatness": {"draws": 1}
    },
    "flatness.ascent_images: is no option any more: a step looks at those that fall first; leave it out": {
        "flatness": {"ascent_images": 64}
    },
    "hessian.images: True is not right; expected a whole number, at least 2": {"hessian": {"images": True}},
    "hessian.precision: 'half' is not known; known are single, double": {"hessian": {"precision": "half"}},
    "hessian: unknown key 'lanczos_step'; did you mean 'lanczos_steps'?": {"hessian": {"lanczos_step": 3}},
    "complexity.1: 'gradient_nrom' is not known; did you mean 'gradient_norm'?": {
        "complexity": ["path_norm", "gradient_nrom"]
    },
    "complexity.1: 'path_norm' is there twice; leave one out": {"complexity": ["path_norm", "path_norm"]},
    "complexity.1: 'path_norm' is there twice; leave one out ": {
        "complexity": ["path_norm", "my_package.measures:path_norm"]
    },
    "complexity: 'path_norm' is not right; expected a list of measures, none twice; [] for none": {
        "complexity": "path_norm"
    },
}


@pytest.mark.parametrize("sentence", WRONG)
def test_a_mistake_is_named_in_one_sentence(sentence):
    with pytest.raises(InputError) as caught:
        resolved(**WRONG[sentence])
    assert str(caught.value) == f"measurements.mine.{sentence}".strip()


def test_a_pair_is_a_range():
    assert check(ScalesRecipe, {"scale_range": (1e-3, 1)}).scale_range == [1e-3, 1]


def test_measures_of_one_s_own_are_named_by_module_and_function():
    names = ["my_package.measures:sharp", "path_norm"]
    assert resolved(complexity=names)["complexity"] == names


def test_every_measure_of_the_table_is_a_function():
    assert len(COMPLEXITY) == 11
    for name, entry in COMPLEXITY.items():
        assert resolve(entry).__name__ == name


def test_recipes_import_nothing_heavy():
    code = "import sys, fusionscope.measures.recipes; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "scripts", capture_output=True, text=True, check=True
    )
    assert not HEAVY & set(run.stdout.split())
