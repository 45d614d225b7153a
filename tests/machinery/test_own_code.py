"""Code that a configuration names is looked for before any job, without importing it."""

import subprocess
import sys
from pathlib import Path

import pytest
from studies import study_of, tiny_settings

from fusionscope.errors import InputError
from machinery import own_code
from machinery.own_code import check_entry

NETS = """
import helpers
from helpers import imported
size = 3
if size:
    def chosen(num_classes): pass
else:
    chosen = None
try:
    from fast import quick
except ImportError:
    quick = helpers.quick
class Net: pass
made = helpers.make()
for looped in (): pass
"""


@pytest.fixture
def own(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    files = {
        "nets.py": NETS,
        "open.py": "from helpers import *",
        "lazy.py": "def __getattr__(name): return print",
        "package/__init__.py": "raise SystemExit('imported')",
        "package/nets.py": "def make(num_classes): pass",
        "spaces/nets.py": "def make(num_classes): pass",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def refusal(entry: str, all_installed: bool = True, architecture: bool = False) -> str | None:
    try:
        check_entry(entry, "here", architecture=architecture, all_installed=all_installed)
    except InputError as error:
        return str(error)
    return None


THERE = ["imported", "chosen", "quick", "Net", "made", "looped", "helpers"]
ELSEWHERE = ["package.nets:make", "spaces.nets:make", "os.path:join", "math:sqrt", "json:loads"]
UNKNOWABLE = ["open:anything", "lazy:anything"]


@pytest.mark.parametrize("entry", [f"nets:{name}" for name in THERE] + ELSEWHERE + UNKNOWABLE)
def test_what_may_be_there_is_let_through(own, entry):
    assert refusal(entry) is None


def test_installed_modules_that_may_have_hidden_names_are_left_to_the_job(own):
    assert refusal("torch.nn:Linear") is None
    assert refusal("torch.no_such_module:Linear") is None


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ("nets:make", "nets has no function or class 'make'; define it, or name another"),
        ("nets:size", "nets has no function or class 'size'; define it, or name another"),
        ("package.nets:mak", "package.nets has no function or class 'mak'; define it, or name another"),
        ("json:nope", "json has no function or class 'nope'; define it, or name another"),
        ("nots:make", "there is no module nots in {folder}; start in the folder that holds it"),
        ("nots.nets:make", "there is no module nots in {folder}; start in the folder that holds it"),
        (
            "package.nots:make",
            "there is no module package.nots in {folder}; start in the folder that holds it",
        ),
    ],
)
def test_what_is_not_there_is_one_sentence(own, entry, sentence):
    assert refusal(entry) == "here: " + sentence.format(folder=own)


def test_a_package_may_be_installed_where_jobs_run(own):
    assert refusal("nots:make", all_installed=False) is None
    assert "package.nots" in str(refusal("package.nots:make", all_installed=False))


def test_torchvision_s_classifiers_are_known_without_importing_it():
    from torchvision import models

    assert own_code.torchvision_classifiers() == set(models.list_models(module=models))
    program = (
        f"import sys; sys.path.insert(0, {str(own_code.SCRIPTS)!r}); from machinery.own_code import *; "
        "torchvision_classifiers(); print(sys.modules.keys() & {'torch', 'torchvision'})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_an_unknown_classifier_is_refused_with_those_that_come_close():
    assert refusal("torchvision:resnet50", architecture=True) is None
    assert refusal("torchvision:resnet5", architecture=True) == (
        "here: torchvision has no such classifier; did you mean resnet50 or resnet152 or resnet34?"
    )


def named(**changed) -> dict:
    settings = tiny_settings()
    del settings["experiments"]["tiny"]["model_type"], settings["experiments"]["tiny"]["width"]
    settings["experiments"]["tiny"] |= {"architecture": "nets:Net"} | changed
    return settings


def with_fusion(step: str) -> dict:
    settings = named(fusions=["mine"])
    settings["fusions"] = {"mine": {"method": "average", step: "nots:Mine"}}
    return settings


def with_measure() -> dict:
    settings = named()
    settings["measurements"]["tiny"]["complexity"] = ["nots:mine"]
    return settings


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        (named(architecture="nots:Net"), "architecture nots:Net: there is no module nots"),
        (named(plots=["nots:mine"]), "plot nots:mine: there is no module nots"),
        (with_fusion("method"), "fusion mine, nots:Mine: there is no module nots"),
        (with_fusion("merge"), "fusion mine, nots:Mine: there is no module nots"),
        (with_measure(), "complexity nots:mine: there is no module nots"),
    ],
)
def test_the_sentence_tells_what_names_it(own, settings, place):
    with pytest.raises(InputError) as caught:
        study_of(settings).check_own_code()
    assert str(caught.value).startswith(f"config: experiments.tiny: {place}")


@pytest.mark.parametrize("content", [b"\x00", b"\xff\xfe", b"def make(:\n"])
def test_a_file_that_is_not_python_is_named(own, content):
    (own / "nets.py").write_bytes(content)
    with pytest.raises(InputError, match=r"nets\.py.*; fix it"):
        study_of(named()).check_own_code()
