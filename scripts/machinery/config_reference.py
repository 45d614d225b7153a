"""The JSON schema and the reference of config.yaml, made from the settings' declarations.

    PYTHONPATH=scripts python -m machinery.config_reference      (or: make docs)

writes schemas/config.schema.yaml, by which editors complete and check config.yaml, and
docs/reference/config.md, a table of every key.
"""

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from fusionscope.files import whole_file
from fusionscope.fusion.options import METHODS, FusionOptions, OwnFusion
from fusionscope.measures.recipes import MeasurementRecipe
from fusionscope.options import KnownName, expecting
from fusionscope.training.recipes import TrainingRecipe
from machinery.config_options import Experiment, Settings

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "schemas" / "config.schema.yaml"
REFERENCE = ROOT / "docs" / "reference" / "config.md"
COMMAND = "make docs"

Row = tuple[str, str, str, str]  # key, type and range, default, meaning


def schema() -> str:
    """The JSON schema as YAML."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    text = yaml.dump(dialect | tidy(Settings.model_json_schema()), Dumper=Dumper, sort_keys=False, width=100)
    return (
        f"# The shape of config.yaml, for editors. Made by `{COMMAND}` from what scripts/ declares.\n{text}"
    )


class Dumper(yaml.SafeDumper):
    """Writes everything out: an editor's schema has no use for YAML's anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


RENAMED = {"le": "maximum"}  # where two limits of a number are joined, pydantic keeps its own word


def tidy(node: Any, names: bool = False) -> Any:
    """A schema without pydantic's titles, with JSON schema's word for a largest number, strict about names.

    `names`: the keys of `node` are names that somebody gave, not words of JSON schema.
    """
    if isinstance(node, list):
        return [tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    if names:
        return {name: tidy(value) for name, value in node.items()}
    tidied = {
        RENAMED.get(key, key): tidy(value, names=key in ("properties", "patternProperties", "$defs"))
        for key, value in node.items()
        if key != "title"
    }
    return tidied | ({"additionalProperties": False} if "patternProperties" in node else {})


INTRODUCTION = f"""\
# Every key of config.yaml

Made from the declarations in `scripts/` by `{COMMAND}`: do not edit it here. `NAME` is a name of your choice.
A key without a default has to be given.
"""

SECTIONS: tuple[tuple[str, str, str, type[BaseModel]], ...] = (
    ("The run", "", "", Settings),
    ("Experiments", "experiments.NAME", "", Experiment),
    (
        "Training recipes",
        "training.NAME",
        "Defaults are those of the recipe `paper`: a recipe states only what differs.",
        TrainingRecipe,
    ),
    (
        "Measurement recipes",
        "measurements.NAME",
        "Defaults are those of the recipe `full`: a recipe states only what differs.",
        MeasurementRecipe,
    ),
)


def reference() -> str:
    """The reference in Markdown."""
    parts = [INTRODUCTION]
    for title, path, introduction, model in SECTIONS:
        parts.append(section(title, f"{first_line(model)} {introduction}".strip(), rows(model, path)))
    parts.append(section("Fusions", "What all fusions have, whatever their method.", common_fusion_rows()))
    for method, model in METHODS.items():
        own = [row for row in rows(model, "fusions.NAME") if row not in common_fusion_rows()]
        own = [row for row in own if row[0] != "`fusions.NAME.method`"]
        parts.append(section(f"`method: {method}`", first_line(model), own, level=3))
    parts.append(section("`method: module:name`", first_line(OwnFusion), [], level=3))
    return "\n".join(parts)


def common_fusion_rows() -> list[Row]:
    return list(rows(FusionOptions, "fusions.NAME"))


def section(title: str, introduction: str, entries: Any, level: int = 2) -> str:
    lines = [f"{'#' * level} {title}", "", introduction, ""]
    entries = list(entries)
    if entries:
        lines += ["| Key | Type and range | Default | Meaning |", "| --- | --- | --- | --- |"]
        lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in entries]
        lines.append("")
    return "\n".join(lines)


def first_line(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0]


def rows(model: type[BaseModel], path: str, with_kind: str = "") -> Iterator[Row]:
    """A row for each key of `model` and of the models inside it; `with_kind` is put before each meaning."""
    hints = get_type_hints(model, include_extras=True)
    for name, field in model.model_fields.items():
        key = f"{path}.{name}" if path else name
        inner = models_in(hints[name])
        if with_kind and name == "kind":
            continue
        yield f"`{key}`", describe(hints[name]), default_of(field), with_kind + meaning(field, inner)
        if len(inner) > 1:
            yield f"`{key}.kind`", choices(map(kind_of, inner)), "", "Which of the kinds."
        for alternative in inner:
            prefix = f"With kind {kind_of(alternative)}: " if len(inner) > 1 else ""
            yield from rows(alternative, key, prefix)


def kind_of(alternative: type[BaseModel]) -> str:
    """What `kind` says where a value is of this model."""
    return str(get_args(get_type_hints(alternative)["kind"])[0])


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models that a value may be."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in parts_of(annotation) for model in models_in(part)]


def parts_of(annotation: Any) -> tuple[Any, ...]:
    origin = get_origin(annotation)
    if origin is Annotated:
        return get_args(annotation)[:1]
    return get_args(annotation) if origin in (Union, types.UnionType) else ()


def describe(annotation: Any) -> str:
    """The type and the range of a value, in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        for extra in reversed(arguments[1:]):
            if isinstance(extra, expecting):
                return extra.text
            if isinstance(extra, KnownName):
                return choices(extra.table) + (", or `module:name`" if extra.own else "")
        return describe(arguments[0])
    if origin is Literal:
        return choices(arguments)
    if origin in (Union, types.UnionType):
        if len(models_in(annotation)) > 1:
            return "the keys below, by kind"
        return ", or ".join(dict.fromkeys(describe(part) for part in arguments))
    if origin is list:
        return f"a list of {describe(arguments[0])}"
    if models_in(annotation):
        return "the keys below"
    return {str: "text", type(None): "`null`"}.get(annotation, "entries by name")


def choices(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in names)


def default_of(field: FieldInfo) -> str:
    """A default as it would be written in YAML; empty for keys that have to be given and for sections."""
    default = field.get_default(call_default_factory=True)
    if default is PydanticUndefined:
        return ""
    if get_origin(field.annotation) is dict:
        return choices(default)
    if isinstance(default, BaseModel):
        if len(models_in(field.annotation)) == 1:
            return ""
        default = default.model_dump()
    text = yaml.dump(default, Dumper=Dumper, default_flow_style=True, width=10_000, sort_keys=False)
    return f"`{text.strip().removesuffix('...').strip()}`"


def meaning(field: FieldInfo, inner: list[type[BaseModel]]) -> str:
    """One sentence: of a model inside, its own."""
    text = first_line(inner[0]) if len(inner) == 1 else (field.description or "")
    text = text.strip().removesuffix(".")
    return f"{text[:1].upper()}{text[1:]}."


def main() -> None:
    for path, text in ((SCHEMA, schema()), (REFERENCE, reference())):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial:
            partial.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
