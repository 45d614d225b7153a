"""Things by name: the library's, and those of the user's own in the current folder."""

import json
import sys

import pytest

from fusionscope.errors import InputError
from fusionscope.registry import load_own, reason, resolve


@pytest.fixture
def module(tmp_path, monkeypatch) -> str:
    """A module in the current folder, another one for each test."""
    name = f"mine_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text("def double(x):\n    return 2 * x\n\nconstant = 3\n")
    monkeypatch.chdir(tmp_path)
    return name


def test_an_entry_is_what_it_names():
    assert resolve("json:loads") is json.loads


def test_one_s_own_is_found_in_the_current_folder_and_the_search_path_is_as_before(module):
    before = list(sys.path)
    assert load_own(f"{module}:double", "metric")(4) == 8
    assert sys.path == before


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ("no_such:thing", "metric no_such:thing: there is no module no_such in "),
        ("{}.part:thing", "metric {}.part:thing: there is no module {}.part in "),
        ("{}:dubble", "metric {}:dubble: {} has no function or class 'dubble'; define it, or name another"),
        ("{}:constant", "metric {}:constant: {} has no function or class 'constant'"),
        ("double", "metric double: is not the name of anything; write module:name"),
    ],
)
def test_what_is_not_there_is_refused_in_one_sentence(module, entry, sentence):
    with pytest.raises(InputError) as caught:
        load_own(entry.replace("{}", module), "metric")
    assert str(caught.value).startswith(sentence.replace("{}", module))
    assert "\n" not in str(caught.value)


def test_a_module_that_fails_is_told_with_its_reason(module, tmp_path):
    (tmp_path / f"broken_{module}.py").write_text("1 / 0\n")
    with pytest.raises(InputError, match="failed: ZeroDivisionError: division by zero; fix it"):
        load_own(f"broken_{module}:thing", "plot")


def test_a_reason_is_one_line():
    assert reason(ValueError("first.\nsecond")) == "ValueError: first"
    assert reason(KeyError()) == "KeyError"
