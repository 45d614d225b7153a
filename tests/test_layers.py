"""The rooms: imports run one way, and the science does not know the machinery."""

import ast
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
LIBRARY = SCRIPTS / "fusionscope"
# Packages of the library, from the bottom to the top: each imports those before it alone.
ORDER = ("graph", "networks", "alignment", "training", "fusion", "measures", "statistics", "report")
ON_TOP = ("__init__", "notebook")  # of all packages; other modules at the top level lie below them


def imports(path: Path) -> set[str]:
    """All modules that a file imports, at its top or inside functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    plain = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    return found | {alias.name for node in plain for alias in node.names}


def packages_in(modules: set[str]) -> set[str]:
    """The library's packages, of those of its modules."""
    parts = [module.split(".") for module in modules if module.startswith("fusionscope.")]
    return {part[1] for part in parts if (LIBRARY / part[1]).is_dir()}


@pytest.mark.parametrize(
    "path", sorted(LIBRARY.rglob("*.py")), ids=lambda path: str(path.relative_to(LIBRARY))
)
def test_the_science_knows_neither_machinery_nor_snakemake(path):
    roots = {module.split(".")[0] for module in imports(path)}
    assert not roots & {"machinery", "snakemake", "yaml"}


def test_every_package_has_its_place_in_the_order():
    assert {path.name for path in LIBRARY.iterdir() if (path / "__init__.py").exists()} == set(ORDER)


@pytest.mark.parametrize("package", ORDER)
def test_a_package_imports_those_below_it_alone(package):
    below = ORDER[: ORDER.index(package) + 1]
    for path in (LIBRARY / package).rglob("*.py"):
        assert packages_in(imports(path)) <= set(below), path


def test_modules_at_the_top_level_import_no_package():
    for path in LIBRARY.glob("*.py"):
        if path.stem not in ON_TOP:
            assert not packages_in(imports(path)), path


def test_package_files_are_empty():
    """They are part of the code that every result of a package depends on."""
    for path in SCRIPTS.rglob("*/__init__.py"):
        assert path.parent == LIBRARY or path.read_text() == "", path
