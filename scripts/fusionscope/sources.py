"""What code a script's results depend on: a short hash of each module in its import closure.

Snakemake sees neither a changed module that a script imports nor, after `git checkout`, that an older
file is the same as before. A parameter that maps modules to hashes of their content sees both. Comments,
docstrings and layout are not part of the hash: they change no result.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

HASH_LENGTH = 10  # hex digits


def source_hashes(script: str | Path) -> dict[str, str]:
    """Module name -> hash, sorted, for `script` and all it imports from its own folder, directly or not."""
    script = Path(script)
    root = script.parent
    found: dict[str, str] = {}
    waiting = [script]
    while waiting:
        path = waiting.pop()
        name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        if name not in found:
            found[name], imports = read_module(path)
            waiting.extend(file for module in imports for file in module_files(root, module))
    return dict(sorted(found.items()))


@cache
def read_module(path: Path) -> tuple[str, tuple[str, ...]]:
    """The hash of a module's meaning and the dotted names it imports, at the top or inside functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # absolute imports only: the library has no other
            imports.extend([node.module, *(f"{node.module}.{alias.name}" for alias in node.names)])
        drop_docstring(node)
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:HASH_LENGTH], tuple(imports)


def drop_docstring(node: ast.AST) -> None:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
        node.body = node.body[1:] or [ast.Pass()]


def module_files(root: Path, module: str) -> list[Path]:
    """The files under `root` that importing the dotted name `module` runs; none for other packages."""
    parts = module.split(".")
    packages = [root.joinpath(*parts[:depth], "__init__.py") for depth in range(1, len(parts) + 1)]
    files = [*packages, root.joinpath(*parts).with_suffix(".py")]
    return [file for file in files if file.is_file()]
