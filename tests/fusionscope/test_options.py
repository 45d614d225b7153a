"""What numbers may be, and one sentence for whatever they may not; the library's and the workflow's alike."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from pydantic import AliasChoices, Field, model_validator

from fusionscope.errors import InputError
from fusionscope.options import (
    BelowOne,
    Count,
    Flag,
    KnownName,
    NotNegative,
    OptionError,
    Options,
    Positive,
    PositiveOrNone,
    Several,
    SeveralOrNone,
    Share,
    WholeNumber,
    check,
    short,
    suggest,
    yaml_number,
)

SCRIPTS = Path(__file__).parents[2] / "scripts"


class Inner(Options):
    depth: Count
    height: Count
    kind: Literal["left", "right"] = "left"


class Outer(Options):
    count: Count = 1
    several: Several = 2
    several_or_none: SeveralOrNone = None
    positive: Positive = 1.0
    positive_or_none: PositiveOrNone = None
    not_negative: NotNegative = 0.0
    share: Share = 0.5
    below_one: BelowOne = 0.5
    flag: Flag = False
    sizes: list[Count] = []  # noqa: RUF012  (pydantic copies it)
    inner: Inner | None = None
    renamed: Count = Field(default=1, validation_alias=AliasChoices("renamed", "old_name"))

    @model_validator(mode="after")
    def check_together(self) -> "Outer":
        if self.count > 100:
            raise OptionError("is too much", key="count")
        if self.several > 100:
            raise OptionError("these do not go together")
        return self


DEEP = {"depth": 1, "height": 1}
NUMBERS = ("count", "several", "positive", "not_negative", "share", "below_one")


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        ({"count": 3.0}, "count", 3),
        ({"count": np.int64(3)}, "count", 3),
        ({"positive": np.float64(0.5)}, "positive", 0.5),
        ({"positive": np.int32(2)}, "positive", 2),
        ({"positive": 2}, "positive", 2),
        ({"share": 1}, "share", 1),
        ({"not_negative": 0}, "not_negative", 0),
        ({"several_or_none": None}, "several_or_none", None),
        ({"sizes": [1.0, 2]}, "sizes", [1, 2]),
        ({"old_name": 7}, "renamed", 7),
    ],
)
def test_numbers_come_as_they_are_meant(options, name, value):
    given = getattr(check(Outer, options), name)
    assert given == value
    assert type(given) in (int, float, list, type(None))


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize(
    "value", [True, False, math.nan, math.inf, -math.inf, -1, "1", None, [], 1e400, b"1"]
)
def test_what_is_no_number_is_refused(name, value):
    with pytest.raises(InputError, match=rf"^here\.{name}: "):
        check(Outer, {name: value}, "here")


@pytest.mark.parametrize(
    ("options", "place", "sentence"),
    [
        ({"several": 1}, "several", "1 is not right; expected a whole number, at least 2"),
        (
            {"several_or_none": 1},
            "several_or_none",
            "1 is not right; expected a whole number, at least 2, or null",
        ),
        ({"share": 1.5}, "share", "1.5 is not right; expected a number from 0 to 1"),
        ({"below_one": 1}, "below_one", "1 is not right; expected a number from 0 to below 1"),
        ({"flag": 1}, "flag", "1 is not right; expected true or false"),
        ({"positive": "1e-3"}, "positive", "'1e-3' is text, not a number; write 0.001"),
        ({"sizes": [1, 0]}, "sizes.1", "0 is not right; expected a whole number, at least 1"),
        ({"sizes": 1}, "sizes", "1 is not right; expected a list"),
        ({"cuont": 1}, "", "unknown key 'cuont'; did you mean 'count'?"),
        ({"inner": {}}, "inner", "the keys 'depth', 'height' are missing"),
        ({"inner": {"depth": 1}}, "inner", "the key 'height' is missing"),
        ({"inner": DEEP | {"hieght": 1}}, "inner", "unknown key 'hieght'; did you mean 'height'?"),
        ({"inner": DEEP | {"kind": "lef"}}, "inner.kind", "'lef' is not known; did you mean 'left'?"),
        ({"inner": 3}, "inner", "3 is not right; expected keys with values"),
        ({"count": 101}, "count", "is too much"),
        ({"several": 101}, "", "these do not go together"),
        ({3: 1}, "", "unknown key 3; known are count"),
    ],
)
@pytest.mark.parametrize(
    ("where", "start"),
    [("", ""), ("transport", "transport"), ("config: fusions.mine", "config: fusions.mine")],
)
def test_a_mistake_is_one_sentence_with_its_place(options, place, sentence, where, start):
    """From a notebook with or without a name for the whole, and from the workflow."""
    whole = ".".join(filter(None, (start, place)))
    with pytest.raises(InputError) as caught:
        check(Outer, options, where)
    assert str(caught.value).startswith(f"{whole}: {sentence}" if whole else sentence)


class Sizes(Options):
    count: Count = 1
    seed: WholeNumber = 0
    rate: Positive = 1.0


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ({"count": 10**9 + 1}, "1,000,000,000"),
        ({"count": 1e14}, "1,000,000,000"),
        ({"seed": 2**63}, "9,223,372,036,854,775,807"),
        ({"rate": 1.0e30}, "1,000,000,000,000"),
        ({"rate": 10**400}, "1,000,000,000,000"),
    ],
)
def test_absurd_numbers_are_refused_with_the_largest_that_makes_sense(options, limit):
    with pytest.raises(
        InputError, match=rf"^recipe\.{next(iter(options))}: .* is too large; at most {limit} "
    ):
        check(Sizes, options, "recipe")


def test_the_largest_numbers_are_taken():
    check(Sizes, {"count": 10**9, "seed": 2**63 - 1, "rate": 10**12})


def test_unknown_keys_are_told_before_anything_else():
    """They explain the rest: a typing error in a key makes another one missing."""
    with pytest.raises(InputError, match="unknown key"):
        check(Outer, {"count": -1, "inner": {"depht": 1}})


@pytest.mark.parametrize("own", [True, False])
def test_a_name_is_of_the_table_or_of_one_s_own_where_that_is_allowed(own):
    name = KnownName({"one": 1, "two": 2}, own=own)
    assert name.validate("one") == "one"
    if own:
        assert name.validate("my_package.module:name") == "my_package.module:name"
    for value in ("three", "my_package:", ":x", "a:b:c", 1, None, *(() if own else ("a.b:c",))):
        with pytest.raises(ValueError, match="unknown name"):
            name.validate(value)


def test_values_and_lists_are_cut_to_a_line():
    assert short("x" * 10_000) == "'" + "x" * 56 + "..."
    assert short([1, 2]) == "[1, 2]"
    assert len(suggest("nothing like it", [f"name_{i}" for i in range(1000)])) < 200
    assert suggest("nothing like it", [f"name_{i}" for i in range(1000)]).endswith(" more")
    assert suggest("x", []) == "there are none"


@pytest.mark.parametrize(
    ("value", "text"),
    [(2.0, "2"), (0.001, "0.001"), (1e-5, "1.0e-05"), (1.5e-7, "1.5e-07"), (1e30, "1.0e+30")],
)
def test_numbers_are_written_as_yaml_reads_them(value, text):
    import yaml

    assert yaml_number(value) == text
    assert yaml.safe_load(text) == value


@pytest.mark.parametrize(
    "module",
    [
        "fusionscope.options",
        "fusionscope.training.recipes",
        "fusionscope.training.data_sets",
        "fusionscope.measures.recipes",
        "fusionscope.fusion.options",
        "fusionscope.report.plot_table",
    ],
)
def test_what_declares_options_is_light(module):
    heavy = "{'torch', 'numpy', 'pandas', 'matplotlib', 'scipy'}"
    code = f"import sys, {module}; print(*{heavy} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
