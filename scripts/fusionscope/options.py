"""What options may be: types of numbers and texts, and one sentence for whatever is none of them.

Each thing with options (a recipe, a way to fuse) declares them beside itself as a subclass of `Options`, with
the types below. The workflow checks config.yaml with these classes, the library its arguments: the
sentences are the same. Needs pydantic alone, so that planning a run imports neither PyTorch nor NumPy.
"""

import difflib
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Annotated, Any, TypeVar

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Strict,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError, core_schema

from fusionscope.errors import InputError

LONGEST_VALUE = 60  # characters of a value that a sentence repeats
LONGEST_KEY = 40  # characters of a key in a path
LONGEST_LIST = 20  # names that a sentence lists
LONGEST_LINE = 150  # characters of such a list
MANY = 1e15  # from here on whole numbers are written with an exponent
CODE_PATTERN = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"


class Options(BaseModel):
    """The options of one thing. Unknown ones are refused, and so is text where a number belongs."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, options: Any) -> Any:
        """Unknown and missing keys are told first, and all missing ones at once."""
        if not isinstance(options, Mapping):
            return options
        names = {name: _names(name, field) for name, field in cls.model_fields.items()}
        known = [name for group in names.values() for name in group]
        unknown = [key for key in options if key not in known]
        if unknown and cls.model_config.get("extra") == "forbid":
            raise PydanticCustomError("unknown_key", "unknown key", {"key": unknown[0], "known": known})
        missing = [
            group[0]
            for name, group in names.items()
            if cls.model_fields[name].is_required() and not any(key in options for key in group)
        ]
        if missing:
            raise PydanticCustomError("missing_keys", "missing keys", {"keys": missing})
        return options


def _names(name: str, field: FieldInfo) -> list[str]:
    """The keys by which a field may be given, the best first."""
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        return [choice for choice in alias.choices if isinstance(choice, str)]
    return [alias if isinstance(alias, str) else name]


class OptionError(ValueError):
    """Raised by a validator: options that do not go together. The sentence follows the place.

    `key` is the option that is wrong, where it is one of them (dotted, if it lies deeper).
    """

    def __init__(self, sentence: str, key: str = "") -> None:
        super().__init__(sentence)
        self.key = key


def whole(value: object) -> object:
    """3.0 is 3 (so are NumPy's integers), and `true` is no number."""
    if isinstance(value, bool):
        return value
    if isinstance(value, Integral) or (isinstance(value, float) and value.is_integer() and abs(value) < MANY):
        return int(value)
    return value


def number(value: object) -> object:
    """`true` is no number, and NumPy's integers are."""
    return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else value


def at_most(limit: float) -> BeforeValidator:
    """Refuses a larger number: no mistake of typing is to run for ever, or to need all memory there is."""

    def check_size(value: object) -> object:
        if isinstance(value, int | float) and limit < value < math.inf:
            raise OptionError(f"{short(value)} is too large; at most {limit:,} makes sense")
        return value

    return BeforeValidator(check_size)


@dataclass(frozen=True, eq=False)
class expecting:
    """Says what is right where a value is not: `text` follows 'expected'.

    Deeper mistakes, and OptionError, keep their own sentence.
    """

    text: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(self.validate, handler(source))

    def validate(self, value: Any, validate: Callable[[Any], Any]) -> Any:
        try:
            return validate(value)
        except ValidationError as error:
            details = error.errors(include_url=False, include_input=False)
            own = [detail.get("ctx", {}).get("error") for detail in details]
            if any(detail["loc"] for detail in details) or isinstance(own[0], OptionError):
                raise
            raise PydanticCustomError("expected", "expected {text}", {"text": self.text}) from None


@dataclass(frozen=True, eq=False)
class KnownName:
    """For a text that names an entry of a table; with `own`, also a thing of one's own, `module:name`."""

    table: Collection[str]
    own: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.validate)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        known = {"enum": list(self.table)}
        return {"anyOf": [known, {"type": "string", "pattern": CODE_PATTERN}]} if self.own else known

    def validate(self, value: Any) -> str:
        if isinstance(value, str) and (value in self.table or (self.own and is_code(value))):
            return value
        raise PydanticCustomError(
            "unknown_name", "unknown name", {"known": list(self.table), "own": self.own}
        )


def is_code(name: str) -> bool:
    """Whether `name` is that of a thing of one's own, `module:name`."""
    return re.fullmatch(CODE_PATTERN, name) is not None


_Int = Annotated[int, Strict()]
_Float = Annotated[float, Strict(), Field(allow_inf_nan=False)]
_WHOLE, _NUMBER = BeforeValidator(whole), BeforeValidator(number)

_COUNTED, _REAL = at_most(10**9), at_most(10**12)
_SEED = at_most(2**63 - 1)  # of PyTorch's generators

Count = Annotated[_Int, Field(ge=1), _COUNTED, _WHOLE, expecting("a whole number, at least 1")]
Several = Annotated[_Int, Field(ge=2), _COUNTED, _WHOLE, expecting("a whole number, at least 2")]
WholeNumber = Annotated[_Int, Field(ge=0), _SEED, _WHOLE, expecting("a whole number, at least 0")]
Positive = Annotated[_Float, Field(gt=0), _REAL, _NUMBER, expecting("a number above 0")]
NotNegative = Annotated[_Float, Field(ge=0), _REAL, _NUMBER, expecting("a number from 0")]
Share = Annotated[_Float, Field(ge=0, le=1), _NUMBER, expecting("a number from 0 to 1")]
BelowOne = Annotated[_Float, Field(ge=0, lt=1), _NUMBER, expecting("a number from 0 to below 1")]
Flag = Annotated[bool, Strict(), expecting("true or false")]
Text = Annotated[str, Strict(), Field(min_length=1), expecting("text, not empty")]
Code = Annotated[  # a thing of one's own
    str, Strict(), Field(pattern=CODE_PATTERN), expecting("module:name, such as my_package.my_module:name")
]
SeveralOrNone = Annotated[Several | None, expecting("a whole number, at least 2, or null")]
PositiveOrNone = Annotated[Positive | None, expecting("a number above 0, or null")]

# Annotated[Count, MANY_TIMES]: for what is done, or kept in memory, that often, however few the data are.
MANY_TIMES = at_most(10**6)

Model = TypeVar("Model", bound=BaseModel)


def check(model: type[Model], options: Mapping[str, Any], where: str = "") -> Model:
    """`options` as an instance of `model`, with defaults; raises InputError for the first mistake.

    Its sentence starts with the place of the mistake: `where`, and the path inside `options`.
    """
    try:
        return model.model_validate(dict(options) if isinstance(options, Mapping) else options)
    except ValidationError as error:
        raise InputError(sentence(error, options, where)) from None


def sentence(error: ValidationError, options: object, where: str = "") -> str:
    """One sentence for what pydantic found wrong with `options`: where, what, and what would be right.

    `where` is put before the path inside `options`; what ends in a space is no part of a path ('config: ').
    """
    details = error.errors(include_url=False)
    first = min(details, key=lambda detail: ORDER.get(detail["type"], len(ORDER)))
    *outer, last = first["loc"] or ("",)
    if last == "[key]":
        rule = first.get("ctx", {}).get("text", "text")
        around = path_inside(options, outer[:-1])
        return f"{place(where, around)}{short(first['input'])} cannot be a name; use {rule}"
    path = path_inside(options, first["loc"])
    key, text = explain(first)
    return place(where, [*path, *([key] if key else [])]) + text


ORDER = {"unknown_key": 0, "missing_keys": 1, "union_tag_invalid": 2, "union_tag_not_found": 3}  # told first


def explain(detail: ErrorDetails) -> tuple[str, str]:
    """What is wrong with the value at a place, and the key below that place, if it is one of its keys."""
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    match kind:
        case "unknown_key":
            return "", f"unknown key {short(context['key'])}; {suggest(context['key'], context['known'])}"
        case "missing_keys":
            return "", missing(context["keys"])
        case "union_tag_not_found":
            return "", missing(quoted(context["discriminator"]))
        case "union_tag_invalid":
            key = quoted(context["discriminator"])[0]
            return key, unknown(value[key], quoted(context["expected_tags"]))
        case "unknown_name":
            own = ", or module:name for one of your own" if context["own"] else ""
            return "", unknown(value, context["known"]) + own
        case "literal_error":
            return "", unknown(value, quoted(context["expected"]))
        case "value_error":
            error = context["error"]
            return getattr(error, "key", ""), str(error)
        case "expected":
            return "", wrong(value, context["text"])
    return "", wrong(value, EXPECTED.get(kind, detail["msg"]))


EXPECTED = {  # where a type says nothing of its own
    "model_type": "keys with values",
    "model_attributes_type": "keys with values",
    "dict_type": "keys with values",
    "list_type": "a list",
    "string_type": "text",
    "bool_type": "true or false",
}


def path_inside(options: object, location: Sequence[int | str]) -> list[str]:
    """The keys that lead to a place in `options`: pydantic's location without its names of alternatives."""
    path: list[str] = []
    node: Any = options
    for part in location:
        inside = (
            part in node if isinstance(node, Mapping) else isinstance(node, list) and isinstance(part, int)
        )
        if inside:
            node = node[part]
            path.append(str(part))
    return path


def place(where: str, path: list[str]) -> str:
    """The start of a sentence."""
    inside = ".".join(cut(part if part.isprintable() else repr(part), LONGEST_KEY) for part in path)
    if not where or where.endswith(" "):
        return f"{where}{inside or ('top level' if where else '')}: ".removeprefix(": ")
    return f"{where}.{inside}: " if inside else f"{where}: "


def missing(keys: list[str]) -> str:
    names = ", ".join(f"'{key}'" for key in keys)
    return f"the key {names} is missing" if len(keys) == 1 else f"the keys {names} are missing"


def unknown(value: object, known: list[str]) -> str:
    return f"{short(value)} is not known; {suggest(value, known)}"


def wrong(value: object, expected: str) -> str:
    if isinstance(value, str) and expected.startswith(("a number", "a whole number")) and is_number(value):
        return f"{short(value)} is text, not a number; write {yaml_number(float(value))}"
    return f"{short(value)} is not right; expected {expected}"


def suggest(word: object, known: Iterable[object]) -> str:
    """The nearest of `known`, or else all of them."""
    names = [cut(str(name), LONGEST_KEY) for name in known]
    close = difflib.get_close_matches(cut(str(word), LONGEST_VALUE), names, n=1)
    if close:
        return f"did you mean '{close[0]}'?"
    shown = names[:LONGEST_LIST]
    while len(", ".join(shown)) > LONGEST_LINE:
        shown.pop()
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return f"known are {', '.join(shown)}{more}" if names else "there are none"


def short(value: object) -> str:
    """`value` as it would be typed, cut to about a line's length."""
    if isinstance(value, str | bytes | list):  # not to write out what is thrown away
        value = value[: LONGEST_VALUE + 1]
    return cut(repr(value), LONGEST_VALUE)


def cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."


def quoted(text: str) -> list[str]:
    """The names in pydantic's "'a', 'b' or 'c'"."""
    return re.findall(r"'([^']*)'", text)


def is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def yaml_number(value: float) -> str:
    """A number as YAML 1.1 understands it: 1e-05 is text there, 1.0e-05 is not."""
    if value.is_integer() and abs(value) < MANY:
        return str(int(value))
    return re.sub(r"^(-?\d+)e", r"\1.0e", repr(value))
