"""What code a result depends on: a short hash of each module in the import closure of a script.

Snakemake sees neither a changed module that a script imports nor, after `git checkout`, that an older
file is the same as before. A parameter that maps modules to hashes of their content sees both. Comments,
docstrings and layout are not part of the hash: they change no result.
"""

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from fusionscope.errors import InputError

HASH_LENGTH = 10  # hex digits


def source_hashes(script: str | Path) -> dict[str, str]:
    """Module name -> hash, sorted, for `script` and all it imports from its own folder, directly or not."""
    script = Path(script)
    return closure_hashes([script], script.parent)


def module_hashes(module: str, root: str | Path) -> dict[str, str]:
    """The same for the dotted name `module` and all it imports from `root`; nothing for installed packages.

    Raises InputError for a file that is not Python.
    """
    root = Path(root)
    try:
        return closure_hashes(module_files(root, module), root)
    except SyntaxError as error:
        raise InputError(f"{error.filename}, line {error.lineno}: is not Python ({error.msg})") from error


def closure_hashes(files: Iterable[Path], root: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    waiting = list(files)
    while waiting:
        path = waiting.pop()
        name = ".".join(module_parts(path, root))
        if name not in found:
            found[name], imported = read_module(path, root)
            waiting.extend(imported)
    return dict(sorted(found.items()))


@cache
def read_module(path: Path, root: Path) -> tuple[str, list[Path]]:
    """The hash of a module's meaning, and the files of `root` it imports, at the top or inside functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    package = path.parent.relative_to(root).parts
    imports: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # one dot is the module's own package, each further one the package around it
            base = package[: len(package) + 1 - node.level] if node.level else ()
            parts = [*base, *([node.module] if node.module else [])]
            imports.extend(".".join([*parts, *name]) for name in ((), *([a.name] for a in node.names)))
        drop_docstring(node)
    files = [file for module in filter(None, imports) for file in module_files(root, module)]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:HASH_LENGTH], files


def drop_docstring(node: ast.AST) -> None:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
        node.body = node.body[1:] or [ast.Pass()]


def module_parts(path: Path, root: Path) -> tuple[str, ...]:
    """The parts of the dotted name under which the file at `path` is imported from `root`."""
    parts = path.relative_to(root).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def module_files(root: Path, module: str) -> list[Path]:
    """The files under `root` that importing the dotted name `module` runs; none for other packages."""
    parts = module.split(".")
    packages = [root.joinpath(*parts[:depth], "__init__.py") for depth in range(1, len(parts) + 1)]
    files = [*packages, root.joinpath(*parts).with_suffix(".py")]
    return [file for file in files if file.is_file()]
