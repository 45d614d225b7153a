"""Whether the code that a configuration names is there: read in its source, without importing it.

Importing would cost what planning has no time for, and run what only jobs should run. What cannot be
known from the source is left to the job, which says the same.
"""

import ast
import difflib
import importlib.machinery
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from fusionscope.errors import InputError
from fusionscope.registry import missing_module, missing_name, start_folder_first
from machinery.code_hashes import SCRIPTS

TORCHVISION = "torchvision"
REGISTERED = re.compile(r"^@register_model\(\)\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)
SHOWN_NAMES = 3  # of torchvision's that come close to an unknown one
# Words of modules that make names in other ways than by a definition, an assignment or an import.
HIDDEN_NAMES = re.compile(r"\b(__getattr__|globals|setattr|vars|exec|locals)\b|\bimport \*|sys\.modules")


def check_entry(entry: str, where: str, *, architecture: bool = False, all_installed: bool) -> None:
    """Raise InputError, beginning with `where`, if what `module:name` names is certainly not there.

    `architecture`: whether it makes networks, as torchvision's classifiers do, which are no modules' names.
    `all_installed`: whether jobs have the packages that this process has, and no others.
    """
    module, name = entry.split(":")
    if architecture and module == TORCHVISION:
        check_torchvision(name, where)
        return
    with start_folder_first():
        found = find_module(module)
    if isinstance(found, str):
        if all_installed or is_own(found):
            raise InputError(f"{where}: {missing_module(found)}")
        return
    source = python_source(found)
    if source is not None and not may_define(source, name):
        raise InputError(f"{where}: {missing_name(module, name)}")


def is_own(module: str) -> bool:
    """Whether a module would lie in a package of the folder that one works in."""
    top = module.split(".")[0]
    return any(Path(folder, top).is_dir() for folder in (Path.cwd(), SCRIPTS))


def find_module(module: str) -> importlib.machinery.ModuleSpec | str | None:
    """Where a module lies, or the first name on the way to it that is nowhere; None if one cannot know.

    Unlike importlib.util.find_spec, it does not import the packages around it.
    """
    path, spec = None, None
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        name = ".".join(parts[:depth])
        specs = (finder.find_spec(name, path) for finder in sys.meta_path)
        spec = next(filter(None, specs), None)
        if spec is None:
            own = path is None or any(Path(folder).is_relative_to(Path.cwd()) for folder in path)
            return name if own else None  # installed packages may have modules that are no files
        if spec.submodule_search_locations is None and depth < len(parts):
            return None  # such as os.path
        path = spec.submodule_search_locations and list(spec.submodule_search_locations)
    return spec


def python_source(spec: importlib.machinery.ModuleSpec | None) -> str | None:
    """The text of a module that is written in Python, as far as it can be read."""
    if spec is None or not str(spec.origin).endswith(".py"):
        return None
    try:
        return Path(str(spec.origin)).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def may_define(source: str, name: str) -> bool:
    """Whether a module could have a function or class `name`: unless it plainly has not."""
    if HIDDEN_NAMES.search(source):
        return True
    try:
        return name in set(names_of(ast.parse(source).body))
    except SyntaxError:
        return True  # told elsewhere, with its line


def names_of(body: list[ast.stmt]) -> Iterator[str]:
    """The names that the statements of a module give to something, but for plain numbers and texts."""
    for statement in body:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield statement.name
            case ast.Import() | ast.ImportFrom():
                yield from (alias.asname or alias.name.split(".")[0] for alias in statement.names)
            case ast.Assign(value=ast.Constant()) | ast.AnnAssign(value=ast.Constant()):
                pass
            case _:
                yield from (
                    node.id
                    for node in ast.walk(statement)
                    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
                )
                for field in ("body", "orelse", "finalbody", "handlers", "cases"):
                    yield from names_in(getattr(statement, field, []))


def names_in(parts: list) -> Iterator[str]:
    """The same for the statements inside another one, those of its branches too."""
    yield from names_of([part for part in parts if isinstance(part, ast.stmt)])
    for branch in parts:
        if not isinstance(branch, ast.stmt):
            yield from names_of(branch.body)


@cache
def torchvision_classifiers() -> frozenset[str]:
    """What `torchvision.models.list_models(module=torchvision.models)` gives; none if not installed."""
    spec = importlib.machinery.PathFinder.find_spec(TORCHVISION)
    if spec is None or spec.origin is None:
        return frozenset()
    files = Path(spec.origin).with_name("models").glob("*.py")
    return frozenset(name for file in files for name in REGISTERED.findall(file.read_text(encoding="utf-8")))


def check_torchvision(name: str, where: str) -> None:
    known = torchvision_classifiers()
    if known and name not in known:
        close = difflib.get_close_matches(name, sorted(known), n=SHOWN_NAMES)
        hint = f"did you mean {' or '.join(close)}?" if close else "torchvision.models.list_models() has all"
        raise InputError(f"{where}: torchvision has no such classifier; {hint}")
