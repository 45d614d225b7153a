"""What code a result depends on: a short hash of each module in the import closure of a script or an entry.

Snakemake sees neither a changed module that a script imports nor, after `git checkout`, that an older
file is the same as before. A parameter that maps modules to hashes of their content sees both. Comments,
docstrings and layout are not part of the hash: they change no result.
"""

import ast
import hashlib
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TypeGuard

from fusionscope.errors import InputError

SCRIPTS = Path(__file__).resolve().parents[1]
LIBRARY = "fusionscope"
HASH_LENGTH = 10  # hex digits
NUMERICS = "machinery.numerics"  # of the machinery the only module that can change a number
TEMPLATE_ENGINE, TEMPLATES = "jinja2", {".jinja", ".css"}
METRIC_NAMES = "fusionscope.measures.names"
# Tables that say what there is. What a rule uses of them is in its hash by itself, as an entry; options are
# in its parameters.
TABLES = {
    "fusionscope.options",
    "fusionscope.registry",
    "fusionscope.fusion.options",
    METRIC_NAMES,
    "fusionscope.measures.recipes",
    "fusionscope.networks.model_types",
    "fusionscope.report.plot_table",
    "fusionscope.training.data_sets",
    "fusionscope.training.recipes",
}
# What jobs do only where their configuration says so: not followed from scripts, but an entry of such jobs.
ON_DEMAND = {
    "fusionscope.fusion.finetune",
    "fusionscope.fusion.repair",
    "fusionscope.networks.biases",
}


@cache
def script_hashes(rule: str, *, keep: tuple[str, ...] = ()) -> dict[str, str]:
    """Module -> hash, sorted, for a rule's script and all that it imports and each result depends on.

    `keep`: modules of TABLES that this rule's results do depend on.
    """
    return closure_hashes([rule, NUMERICS], [SCRIPTS], (TABLES | ON_DEMAND).difference(keep))


@cache
def entry_hashes(entry: str, start_folder: str | Path, *, keep: tuple[str, ...] = ()) -> dict[str, str]:
    """The same for what the string `module:name` names: a thing of the library's, or of the user's own.

    The user's modules are looked for below `start_folder`; installed packages have no hash. Raises
    InputError for a file that is not Python.
    """
    roots = [SCRIPTS] if is_ours(entry) else [Path(start_folder), SCRIPTS]
    return closure_hashes([entry.split(":")[0]], roots, TABLES.difference(keep))


def is_ours(entry: str) -> bool:
    """Whether `module:name` names a thing of the library's."""
    return entry.split(":")[0].split(".")[0] == LIBRARY


def closure_hashes(
    modules: Iterable[str], roots: Sequence[Path], left_out: Collection[str] = frozenset(TABLES)
) -> dict[str, str]:
    """Module -> hash, sorted, for `modules` and all that they import from `roots`, directly or not.

    A module comes from the first root that has it. Packages that are in none have no hash; modules of ours
    that are `left_out` are not followed either.
    """
    found: dict[str, str] = {}
    waiting = [file for module in modules for file in module_files(roots, module)]
    while waiting:
        path, root = waiting.pop()
        name = ".".join(module_parts(path, root))
        if name in found or (root == SCRIPTS and (name in left_out or changes_nothing(path, name))):
            continue
        found[name], imported = read_module(path, root)
        waiting.extend(file for module in imported for file in module_files(roots, module))
    return dict(sorted(found.items()))


def changes_nothing(path: Path, name: str) -> bool:
    """Whether a module of ours is machinery, or the begin of a package: no number depends on these."""
    return path.name == "__init__.py" or (name.startswith("machinery.") and name != NUMERICS)


@cache
def read_module(path: Path, root: Path) -> tuple[str, tuple[str, ...]]:
    """The hash of a module's meaning, and the dotted names it imports, at the top or inside functions.

    One that fills in templates has those beside it in its hash. Raises InputError for a file that is not
    Python.
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except (SyntaxError, OSError, ValueError, RecursionError) as error:
        line = getattr(error, "lineno", None)  # none where it is not UTF-8, holds zeros, or cannot be read
        at = f"{path}, line {line}" if line else f"{path}"
        raise InputError(f"{at}: is not Python ({getattr(error, 'msg', error)}); fix it") from error
    package = path.parent.relative_to(root).parts
    imports: list[str] = []
    for never_run in filter(is_for_type_checkers, ast.walk(tree)):
        never_run.body = [ast.Pass()]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # one dot is the module's own package, each further one the package around it
            base = package[: len(package) + 1 - node.level] if node.level else ()
            parts = [*base, *([node.module] if node.module else [])]
            imports.extend(".".join([*parts, *name]) for name in ((), *([a.name] for a in node.names)))
        drop_docstring(node)
    content = [ast.dump(tree).encode()]
    if TEMPLATE_ENGINE in imports:
        content += [file.read_bytes() for file in sorted(path.parent.iterdir()) if file.suffix in TEMPLATES]
    digest = hashlib.sha256(b"".join(content)).hexdigest()[:HASH_LENGTH]
    return digest, tuple(filter(None, imports))


def is_for_type_checkers(node: ast.AST) -> TypeGuard[ast.If]:
    """Whether it is `if TYPE_CHECKING:`."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def drop_docstring(node: ast.AST) -> None:
    """Take the docstring out of a definition, in place."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
        node.body = node.body[1:] or [ast.Pass()]


def module_parts(path: Path, root: Path) -> tuple[str, ...]:
    """The parts of the dotted name under which the file at `path` is imported from `root`."""
    parts = path.relative_to(root).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def module_files(roots: Iterable[Path], module: str) -> list[tuple[Path, Path]]:
    """The files that importing the dotted name `module` runs, each with its root: the first that has any."""
    for root in roots:
        files = module_files_below(root, module)
        if files:
            return [(file, root) for file in files]
    return []


@cache
def module_files_below(root: Path, module: str) -> list[Path]:
    parts = module.split(".")
    packages = [root.joinpath(*parts[:depth], "__init__.py") for depth in range(1, len(parts) + 1)]
    return [path for path in (*packages, root.joinpath(*parts).with_suffix(".py")) if path.is_file()]
