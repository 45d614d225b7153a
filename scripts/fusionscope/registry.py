"""Things by name: tables map names to `module:name`, which is imported when it is used and not before.

So a table joins nobody's imports: a job pays for the entries that it uses, and depends on their code alone.
"""

from importlib import import_module


def resolve(entry: str) -> object:
    """What `module:name` names. For entries of the library's own tables."""
    module, name = entry.split(":")
    return getattr(import_module(module), name)
