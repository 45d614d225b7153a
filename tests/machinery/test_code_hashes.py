"""Hashes of code: they follow imports, see every change of meaning, and no change of layout."""

from pathlib import Path

import pytest

from fusionscope.errors import InputError
from machinery.code_hashes import module_hashes, source_hashes

HELPER = '''"""Says."""


def f():
    """Does."""
    from package import deep
    return deep.x
'''
SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def tree(tmp_path):
    """A script that imports helper, which imports package.deep inside a function."""
    (tmp_path / "package").mkdir()
    files = {
        "script.py": "import numpy\nimport helper\n\nprint(helper.f())\n",
        "helper.py": HELPER,
        "package/__init__.py": "",
        "package/deep.py": "x = 1\n",
        "stranger.py": "x = 2\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def hashes_after(tree, name: str, text: str) -> dict[str, str]:
    """In a copy of the tree, since a file is read once in a run."""
    copy = tree.with_name(f"{tree.name}_copy")
    for path in tree.rglob("*.py"):
        target = copy / path.relative_to(tree)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text if str(path.relative_to(tree)) == name else path.read_text())
    return source_hashes(copy / "script.py")


def test_the_closure_follows_imports_also_inside_functions(tree):
    assert list(source_hashes(tree / "script.py")) == ["helper", "package", "package.deep", "script"]


@pytest.mark.parametrize("name", ["script.py", "helper.py", "package/deep.py"])
def test_a_change_of_meaning_changes_just_that_module(tree, name):
    before = source_hashes(tree / "script.py")
    after = hashes_after(tree, name, (tree / name).read_text() + "\nanother = 3\n")
    changed = {module for module in before if before[module] != after[module]}
    assert changed == {name.removesuffix(".py").replace("/", ".")}


def test_a_module_that_is_not_imported_does_not_matter(tree):
    assert hashes_after(tree, "stranger.py", "x = 3") == source_hashes(tree / "script.py")


@pytest.mark.parametrize(
    "text",
    [
        HELPER.replace("Says", "Says more").replace("Does", "Does otherwise"),
        "# a comment\ndef f():\n\n    from package import deep  # here\n    return (deep.x)\n",
    ],
)
def test_comments_docstrings_and_layout_do_not_matter(tree, text):
    assert hashes_after(tree, "helper.py", text) == source_hashes(tree / "script.py")


def test_every_script_names_the_modules_it_really_imports():
    """Against Python itself: what a fresh interpreter has loaded after the same imports."""
    import subprocess
    import sys

    for script in ("fuse", "train", "measure_parameter", "correlate"):
        # but for the modules beside the scripts
        named = {name for name in source_hashes(SCRIPTS / f"{script}.py") if name.startswith("fusionscope")}
        program = f"import sys; sys.path.insert(0, {str(SCRIPTS)!r})\n"
        program += "".join(f"import {name}\n" for name in sorted(named))
        program += "print(*[name for name in sys.modules if name.startswith('fusionscope')])"
        loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert set(loaded.stdout.split()) == named


def test_fusion_code_is_no_part_of_training():
    assert "fusionscope.fusion.fuse" in source_hashes(SCRIPTS / "fuse.py")
    assert "fusionscope.fusion.fuse" not in source_hashes(SCRIPTS / "train.py")
    assert "fusionscope.report.plots" not in source_hashes(SCRIPTS / "measure_input.py")


@pytest.fixture
def package(tmp_path):
    """A user's package with imports relative to itself, and a module beside it."""
    files = {
        "mine/__init__.py": "",
        "mine/nets.py": "import torch\nfrom . import blocks\nfrom .deep.stem import Stem\nimport beside\n",
        "mine/blocks.py": "x = 1\n",
        "mine/unused.py": "x = 1\n",
        "mine/deep/__init__.py": "",
        "mine/deep/stem.py": "from ..names import Y as Stem\n",
        "mine/names.py": "Y = 1\n",
        "beside.py": "x = 1\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_closure_of_a_module_follows_relative_imports(package):
    expected = ["beside", "mine", "mine.blocks", "mine.deep", "mine.deep.stem", "mine.names", "mine.nets"]
    assert list(module_hashes("mine.nets", package)) == expected


def test_a_module_that_is_installed_has_no_hash_here(package):
    assert module_hashes("torchvision", package) == {}


def test_a_module_that_is_not_python_is_named_with_its_line(package):
    (package / "mine/blocks.py").write_text("x = 1\nx = = 2\n")
    with pytest.raises(InputError, match=r"mine/blocks\.py, line 2: is not Python"):
        module_hashes("mine.nets", package)
