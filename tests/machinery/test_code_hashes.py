"""Hashes of code: they follow imports, see every change of meaning, and no change of layout."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from fusionscope.errors import InputError
from machinery import code_hashes
from machinery.code_hashes import closure_hashes, entry_hashes, script_hashes

HELPER = '''"""Says."""


def f():
    """Does."""
    from package import deep
    return deep.x
'''
LIBRARY = code_hashes.SCRIPTS / "fusionscope"


def source_hashes(script: Path) -> dict[str, str]:
    return closure_hashes([script.stem], [script.parent])


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


def test_templates_belong_to_the_module_that_fills_them_in(tmp_path):
    hashes = []
    for text in ("<p>{{ x }}", "<b>{{ x }}"):
        folder = tmp_path / str(len(hashes))
        folder.mkdir()
        (folder / "script.py").write_text("import jinja2\nimport helper\n")
        (folder / "helper.py").write_text("x = 1\n")
        (folder / "page.html.jinja").write_text(text)
        hashes.append(source_hashes(folder / "script.py"))
    assert hashes[0]["script"] != hashes[1]["script"]
    assert hashes[0]["helper"] == hashes[1]["helper"]


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


def test_what_is_for_type_checkers_alone_is_not_followed(tree):
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from package import deep\n"
    assert list(hashes_after(tree, "helper.py", text)) == ["helper", "script"]


def imported_in_a_fresh_process(modules: Iterable[str]) -> set[str]:
    """The library's modules that Python has loaded after these imports."""
    program = f"import sys; sys.path.insert(0, {str(code_hashes.SCRIPTS)!r})\n"
    program += "".join(f"import {name}\n" for name in modules)
    program += "print(*[name for name in sys.modules if name.startswith('fusionscope.')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    packages = {".".join(p.parent.relative_to(LIBRARY.parent).parts) for p in LIBRARY.rglob("__init__.py")}
    return set(done.stdout.split()) - packages


@pytest.mark.parametrize(
    "script", ["fuse", "train", "measure_hessian", "measure_complexity", "correlate", "plot"]
)
def test_a_script_s_hashes_name_all_that_python_loads_for_it_but_tables(script):
    named = {name for name in script_hashes(script) if name.startswith("fusionscope.")}
    loaded = imported_in_a_fresh_process(sorted(named))
    assert loaded - code_hashes.TABLES - code_hashes.ON_DEMAND == named


def importers(module: str) -> set[str]:
    """The modules of the library that import another, but for type checkers."""
    found = set()
    for path in LIBRARY.rglob("*.py"):
        name = ".".join(code_hashes.module_parts(path, code_hashes.SCRIPTS))
        if module in code_hashes.read_module(path, code_hashes.SCRIPTS)[1]:
            found.add(name.removeprefix("fusionscope."))
    return found


def test_what_is_done_on_demand_is_imported_where_the_demand_is_asked_for():
    """A further module that does it always would be stale: its rule must name it as an entry."""
    assert importers("fusionscope.fusion.finetune") <= {"fusion.fuse"}
    assert importers("fusionscope.fusion.repair") <= {
        "fusion.fuse",
        "measures.connectivity.paths",
        "measures.connectivity.variance",  # always: an entry of each such job
    }
    assert importers("fusionscope.networks.biases") <= {
        "fusion.fuse",  # what repair gained
        "fusion.repair",
        "networks.build",  # with biases=True
        "measures.parameter.origin",  # for a child that has them
        "measures.connectivity.variance",  # an entry of each such job, with repair
    }


def test_nothing_is_imported_by_a_name_made_up_at_run_time_but_entries():
    """A hidden import would be stale for ever."""
    hidden = ("importlib", "import_module", "__import__", "run_module", "exec(")
    found = {path.name for path in LIBRARY.rglob("*.py") if any(word in path.read_text() for word in hidden)}
    assert found <= {"registry.py", "__init__.py"}
    assert "import" not in Path(LIBRARY, "fusion/__init__.py").read_text()


def test_of_the_machinery_only_what_can_change_a_number_is_in_a_hash():
    for rule in (path.stem for path in code_hashes.SCRIPTS.glob("*.py")):
        machinery = {name for name in script_hashes(rule) if name.startswith("machinery")}
        assert machinery == {"machinery.numerics"}


def test_tables_and_what_is_done_on_demand_are_modules():
    for name in code_hashes.TABLES | code_hashes.ON_DEMAND:
        assert code_hashes.module_files([code_hashes.SCRIPTS], name), name


def test_fusion_code_is_no_part_of_training():
    assert "fusionscope.fusion.fuse" in script_hashes("fuse")
    assert not [name for name in script_hashes("train") if name.startswith("fusionscope.fusion")]
    assert not [name for name in script_hashes("measure_input") if name.startswith("fusionscope.report")]


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
    assert list(entry_hashes("mine.nets:make", package)) == expected


def test_what_one_s_own_module_uses_of_the_library_is_followed(package):
    (package / "mine/names.py").write_text("from fusionscope.networks.vgg import VGG11 as Y\n")
    hashes = entry_hashes("mine.nets:make", package)
    assert {"fusionscope.networks.vgg", "fusionscope.networks.width", "mine.names"} <= set(hashes)


def test_a_module_that_is_installed_has_no_hash_here(package):
    assert entry_hashes("torchvision:resnet50", package) == {}


def test_a_module_that_is_not_python_is_named_with_its_line(package):
    (package / "mine/blocks.py").write_text("x = 1\nx = = 2\n")
    with pytest.raises(InputError, match=r"mine/blocks\.py, line 2: is not Python"):
        entry_hashes("mine.nets:make", package)
