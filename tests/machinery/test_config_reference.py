"""The schema and the reference of config.yaml say what the declarations say, and leave nothing out."""

from pathlib import Path

import pytest
import yaml

from machinery.config_reference import COMMAND, REFERENCE, SCHEMA, reference, schema

ROOT = Path(__file__).parents[2]
SHIPPED = yaml.safe_load((ROOT / "config.yaml").read_text())
NAMED = ("experiments", "training", "measurements", "fusions")  # sections whose keys are names


@pytest.mark.parametrize(("path", "text"), [(SCHEMA, schema()), (REFERENCE, reference())])
def test_what_is_generated_is_up_to_date(path, text):
    assert path.read_text(encoding="utf-8") == text, f"run `{COMMAND}`"


def keys(node: object, path: str = "") -> set[str]:
    """The full paths of all keys, with NAME for names of one's own; a sweep's are those of others."""
    if not isinstance(node, dict) or path.endswith(".sweep"):
        return set()
    found = set()
    for key, value in node.items():
        inner = f"{path}.{'NAME' if path in NAMED else key}".removeprefix(".")
        found |= {inner} | keys(value, inner)
    return found


def test_every_key_that_ships_is_in_the_reference():
    documented = {line.split("`")[1] for line in reference().splitlines() if line.startswith("| `")}
    assert keys(SHIPPED) - {f"{section}.NAME" for section in NAMED} <= documented


def test_every_row_has_a_type_and_a_sentence():
    for line in reference().splitlines():
        if line.startswith("| `"):
            _, _, kind, _, meaning, _ = (cell.strip() for cell in line.replace("\\|", "/").split("|"))
            assert kind, line
            assert meaning.endswith("."), line
            assert len(meaning) > 2, line


def validator():
    from jsonschema import Draft202012Validator

    content = yaml.safe_load(schema())
    Draft202012Validator.check_schema(content)
    return Draft202012Validator(content)


def test_an_editor_finds_nothing_wrong_with_the_configuration_that_ships():
    assert list(validator().iter_errors(SHIPPED)) == []
    assert (ROOT / "config.yaml").read_text().startswith("# yaml-language-server: $schema=schemas/config.")
    assert SCHEMA == ROOT / "schemas/config.schema.yaml"


@pytest.mark.parametrize(
    ("section", "name", "options"),
    [
        ("experiments", "mine", {"dataset": "digits", "seedz": 3}),
        ("experiments", "mine", {"dataset": "digits", "parents": 101}),
        ("experiments", "my-net", {"dataset": "digits"}),
        ("training", "mine", {"schedule": {"kind": "step"}}),
        ("training", "mine", {"momentum": 1}),
        ("measurements", "mine", {"hessian": {"image": 3}}),
        ("fusions", "mine", {"method": "average", "solver": "exact"}),
        ("fusions", "mine", {"method": "optimal_transport", "align_by": "activation"}),
        ("fusions", "parent_1", {"method": "average"}),
    ],
)
def test_an_editor_marks_mistakes(section, name, options):
    config = SHIPPED | {section: SHIPPED[section] | {name: options}}
    assert list(validator().iter_errors(config))
