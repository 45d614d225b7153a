"""What may be said of a fusion: defaults, what goes together, and a sentence for every mistake."""

import subprocess
import sys
from pathlib import Path

import pytest

from fusionscope.errors import InputError
from fusionscope.fusion.options import (
    ALIGNMENTS,
    MERGES,
    METHODS,
    check_fusion,
    fusion_model,
    looks_at_images,
    moves_neurons,
)
from fusionscope.registry import resolve

SCRIPTS = Path(__file__).parents[3] / "scripts"
COMMON = {"reference": 2, "merge": "mean", "repair": False, "images": 512}
TRANSPORT = {"method": "optimal_transport", "solver": "exact", "mass": "uniform"}


@pytest.mark.parametrize(
    ("definition", "filled_in"),
    [
        ({"method": "average"}, {}),
        ({"method": "weight_matching"}, {"starts": 3}),
        (
            {"method": "optimal_transport"},
            TRANSPORT
            | {"align_by": "weights", "ground_metric": "euclidean", "sides": "incoming", "rows": "unit"}
            | {"reader_normalisation": "column"},
        ),
        (
            {"method": "optimal_transport", "align_by": "activations", "soft_map": "mass"},
            TRANSPORT
            | {"align_by": "activations", "ground_metric": "correlation", "activations": "post"}
            | {"reader_normalisation": "row"},
        ),
        ({"method": "my_package.fusions:Mine", "power": 3}, {"power": 3}),
    ],
)
def test_what_is_not_said_has_its_default(definition, filled_in):
    found = check_fusion(definition)
    assert found == COMMON | {"method": definition["method"]} | filled_in
    assert check_fusion(found) == found


def test_what_is_said_comes_through_and_whole_floats_are_whole_numbers():
    definition = {
        "method": "optimal_transport",
        "reference": 1.0,
        "weight": 0,
        "repair": True,
        "finetune": {"epochs": 2.0, "learning_rate": 0.1},
        "images": 64.0,
        "align_by": "weights",
        "solver": "sinkhorn",
        "reg": 0.05,
        "mass": "importance",
        "ground_metric": "cosine",
        "sides": "both",
        "rows": "unit",
        "soft_map": "columns",
    }
    found = check_fusion(definition)
    del definition["soft_map"]
    assert found == definition | {"merge": "mean", "reader_normalisation": "column"}
    assert all(type(found[key]) is int for key in ("reference", "images"))


OT = {"method": "optimal_transport"}
BY_ACTIVATIONS = OT | {"align_by": "activations"}


@pytest.mark.parametrize(
    ("definition", "sentence"),
    [
        ({}, "here: the key 'method' is missing; known are average, optimal_transport, weight_matching"),
        ({"method": "ot"}, "here.method: 'ot' is not known; known are average"),
        ({"method": "optimal_transprot"}, "here.method: 'optimal_transprot' is not known; did you mean"),
        ({"method": 3}, "here.method: 3 is not known"),
        ({"method": "average", "solver": "exact"}, "here: unknown key 'solver'"),
        (OT | {"align_by": "activation"}, "here.align_by: 'activation' is not known; did you mean 'activat"),
        (OT | {"sides": "all"}, "here.sides: 'all' is not known; known are incoming, both"),
        (OT | {"mass": "importanse"}, "here.mass: 'importanse' is not known; did you mean 'importance'?"),
        (OT | {"soft_map": "mas"}, "here.soft_map: 'mas' is not known; did you mean 'mass'?"),
        (OT | {"soft_map": "mass", "reader_normalisation": "row"}, "here.soft_map: is the old name of"),
        (OT | {"reference": 0}, "here.reference: 0 is not right; expected a whole number, at least 1"),
        (OT | {"weight": 3.0}, "here.weight: 3.0 is not right; expected a number from 0 to 1"),
        (OT | {"weight": True}, "here.weight: True is not right; expected a number from 0 to 1"),
        (OT | {"repair": 1}, "here.repair: 1 is not right; expected true or false"),
        (OT | {"merge": "maen"}, "here.merge: 'maen' is not known; did you mean 'mean'?"),
        (OT | {"finetune": {"epochs": 1}}, "here.finetune: the key 'learning_rate' is missing"),
        (OT | {"solver": "sinkhorn"}, "here: 'solver: sinkhorn' needs 'reg', a number above 0"),
        (OT | {"reg": 0.1}, "here: 'reg' goes with 'solver: sinkhorn' alone; leave it out"),
        (OT | {"activations": "pre"}, "here: 'activations' goes with 'align_by: activations' alone"),
        (BY_ACTIVATIONS | {"sides": "both"}, "here: 'sides' goes with 'align_by: weights' alone"),
        (BY_ACTIVATIONS | {"rows": "raw"}, "here: 'rows' goes with 'align_by: weights' alone; leave it out"),
        (OT | {"rows": "norm"}, "here.rows: 'norm' is not known; known are unit, raw"),
        (
            OT | {"rows": "raw", "ground_metric": "cosine"},
            "here: 'ground_metric: cosine' has rows of unit norm",
        ),
        (
            BY_ACTIVATIONS | {"ground_metric": "cosine"},
            "here.ground_metric: 'cosine' does not go with 'align_by: activations'; known are correlation",
        ),
        ({"method": "a.b:C", "weight": 2}, "here.weight: 2 is not right"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_what_would_be_right(definition, sentence):
    with pytest.raises(InputError) as caught:
        check_fusion(definition, "here")
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


def test_each_method_has_a_class_with_its_options():
    assert METHODS.keys() == ALIGNMENTS.keys()
    for name, model in METHODS.items():
        step = resolve(ALIGNMENTS[name])
        assert step.model_fields.keys() <= model.model_fields.keys()
        assert callable(step.align)
        assert step.equal_widths == model.equal_widths
    assert all(callable(resolve(entry).merge) for entry in MERGES.values())


def test_every_option_has_a_sentence():
    for name in (*METHODS, "my:Own"):
        for option, field in fusion_model(name).model_fields.items():
            assert field.description or option == "method", option


@pytest.mark.parametrize(
    ("definition", "looks"),
    [
        ({"method": "average"}, False),
        ({"method": "average", "repair": True}, True),
        ({"method": "weight_matching"}, False),
        (OT, False),
        (BY_ACTIVATIONS, True),
        ({"method": "my:Own"}, True),
    ],
)
def test_fusions_that_look_at_images(definition, looks):
    assert looks_at_images(check_fusion(definition)) == looks


@pytest.mark.parametrize(
    ("method", "moves"),
    [
        ("average", False),
        ("optimal_transport", True),
        ("weight_matching", True),
        ("my_package.it:Mine", True),
    ],
)
def test_fusions_that_move_neurons_and_those_of_one_s_own_that_may(method, moves):
    assert moves_neurons(check_fusion({"method": method, "repair": True})) == moves


def test_options_import_nothing_heavy():
    heavy = ("torch", "numpy", "pandas", "matplotlib", "scipy")
    program = f"import sys, fusionscope.fusion.options; assert not set({heavy}) & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, env={"PYTHONPATH": str(SCRIPTS)})
