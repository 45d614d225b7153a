"""Configurations drawn from what the settings declare: right, at a border, or anything else."""

import copy
import datetime
import math
from typing import Any

from hypothesis import strategies as st

from machinery.config_options import Settings

SCHEMA = Settings.model_json_schema(by_alias=True)
LONG_NAME = "as_long_as_a_name_may_be_abcdefghijklmnopqrstuvwxyz_01234567"
NAMES = ["a", "tiny", "Tiny", "naive_fused", "geometric_fused", "paper", "full", "n0_", LONG_NAME]
FOLDERS = ["data", "", "x" * 5000, "\0", ".", "..", "~", "no/such/folder", "/dev/null", "/proc/self/mem", "ä"]
MOST = 3  # optional keys of one mapping, entries of a list


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    return SCHEMA["$defs"][reference.rsplit("/", 1)[1]] if reference else schema


def right(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that the schema allows, often those at its borders."""
    schema = resolved(schema)
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return st.one_of([right(one) for one in schema[several]])
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    return KINDS[schema.get("type", "null")](schema)


def integers(schema: dict[str, Any]) -> st.SearchStrategy[int]:
    low = int(schema.get("minimum", 0))
    high = int(schema["maximum"]) if "maximum" in schema else 2**70
    borders = [low, low + 1, min(low + 7, high), high]
    return st.one_of(st.sampled_from(borders), st.integers(low, min(high, low + 50)))


def numbers(schema: dict[str, Any]) -> st.SearchStrategy[float]:
    low = schema.get("minimum", schema.get("exclusiveMinimum", -1e300))
    high = schema.get("maximum", schema.get("exclusiveMaximum", 1e300))
    inside = st.floats(
        low, high, exclude_min="exclusiveMinimum" in schema, exclude_max="exclusiveMaximum" in schema
    )
    usual = [value for value in (1, 0.5, 1e-5, 5e-324, 1e300) if low < value < high]
    return st.one_of(st.sampled_from(usual), inside) if usual else inside


def texts(schema: dict[str, Any]) -> st.SearchStrategy[str]:
    if "pattern" in schema:
        code = ["torchvision:resnet18", "torchvision:resnet5", "json:loads", "nope.nets:make", "os.path:join"]
        return st.sampled_from(code)
    return st.sampled_from(NAMES + FOLDERS)


def lists(schema: dict[str, Any]) -> st.SearchStrategy[list]:
    if "prefixItems" in schema:
        return st.tuples(*map(right, schema["prefixItems"])).map(list)
    low = schema.get("minItems", 0)
    return st.lists(right(schema.get("items", {})), min_size=low, max_size=schema.get("maxItems", low + MOST))


@st.composite
def mappings(draw: st.DrawFn, schema: dict[str, Any]) -> dict[str, Any]:
    known = schema.get("properties", {})
    needed = schema.get("required", [])
    optional = [key for key in known if key not in needed]
    extra = draw(st.lists(st.sampled_from(optional), max_size=MOST, unique=True)) if optional else []
    drawn = {key: draw(right(known[key])) for key in [*needed, *extra]}
    entries = [schema.get("additionalProperties"), *schema.get("patternProperties", {}).values()]
    for entry in filter(lambda one: isinstance(one, dict), entries):
        drawn |= {
            name: draw(right(entry))
            for name in draw(st.lists(st.sampled_from(NAMES), max_size=2, min_size=1))
        }
    return drawn


KINDS = {
    "integer": integers,
    "number": numbers,
    "string": texts,
    "array": lists,
    "object": mappings,
    "boolean": lambda schema: st.booleans(),
    "null": lambda schema: st.none(),
}


@st.composite
def coherent(draw: st.DrawFn) -> dict[str, Any]:
    """A configuration whose names mostly lead somewhere."""
    config = draw(right(SCHEMA))
    experiments = config["experiments"]
    if draw(st.integers(0, 9)):
        config["run"] = draw(st.lists(st.sampled_from(sorted(experiments)), min_size=1, max_size=2))
    for experiment in experiments.values():
        for part, default in (("training", "paper"), ("measurements", "full")):
            names = sorted(config[part]) if config.get(part) else [default]
            if part in experiment and draw(st.integers(0, 9)):
                experiment[part] = draw(st.sampled_from(names))
            elif config.get(part):
                experiment[part] = names[0]
        fusions = sorted(config["fusions"]) if config.get("fusions") else ["naive_fused", "geometric_fused"]
        if draw(st.integers(0, 9)):
            experiment["fusions"] = draw(st.lists(st.sampled_from(fusions), max_size=2))
        if draw(st.integers(0, 9)):  # one kind of network, and a width that fits it
            experiment.pop(draw(st.sampled_from(["model_type", "architecture"])), None)
        if "model_type" not in experiment and "architecture" not in experiment:
            experiment["model_type"] = "VGG11"
        if draw(st.integers(0, 9)):
            experiment.pop("width", None)
            experiment.pop("image_folder", None)
            if experiment["dataset"] == "image_folder":
                experiment["image_folder"] = draw(st.sampled_from(FOLDERS))
    return config


EXTREMES = [
    *(0, -1, True, 2.5, 10**15, 10**30, -(10**400), 1e300, -0.0, 5e-324, math.nan, math.inf, -math.inf),
    *("", " ", "x" * 5000, "1e-3", "nan", "no\nyes", "\0", "\ud800", "../..", "a:b", "{}", "!!python/none"),
    *(b"bytes", datetime.date(2020, 1, 1), datetime.datetime(2020, 1, 1), {1, 2}, None, [], [[]], {}),
    *({"x": 1}, {1: 2}, {None: None}, {True: False}, {datetime.date(2020, 1, 1): 1}, {(1, 2): 3}),
    *(["y" * 3000] * 50, {"z" * 3000: {}}, [[[[[[[[[[1]]]]]]]]]], [None], [{}], ["a", 1, None]),
]
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | st.binary(max_size=8)
)
KEYS = st.text(max_size=12) | st.integers() | st.none() | st.booleans()
ANYTHING = st.sampled_from(EXTREMES) | st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


def places(node: object, path: tuple = ()) -> list[tuple]:
    """The paths of all that a configuration holds."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path] * bool(path) + [place for key, value in items for place in places(value, (*path, key))]


def mistyped(key: object, draw: st.DrawFn) -> object:
    """A key with a slip of the finger."""
    text = str(key)
    at = draw(st.integers(0, len(text)))
    slip = draw(st.sampled_from(["drop", "double", "case", "space", "dash", "look-alike", "other"]))
    return {
        "drop": text[:at] + text[at + 1 :],
        "double": text[:at] + text[at - 1 : at] + text[at:],
        "case": text.swapcase(),
        "space": f"{text} ",
        "dash": text.replace("_", "-"),
        "look-alike": text.replace("e", "\u0435").replace("a", "\u0430"),
        "other": draw(KEYS),
    }[slip]


@st.composite
def configurations(draw: st.DrawFn) -> Any:
    """A configuration as people write them, with up to three things wrong."""
    config = copy.deepcopy(draw(coherent()))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 1, 2, 3]))):
        all_places = places(config)
        if not all_places:
            break
        *parents, last = draw(st.sampled_from(all_places))
        node = config
        for key in parents:
            node = node[key]
        act = draw(st.sampled_from(["put", "put", "put", "take", "add", "slip", "wrap"]))
        if act == "put":
            node[last] = copy.deepcopy(draw(ANYTHING))
        elif act == "take":
            del node[last]
        elif act == "wrap":
            node[last] = draw(st.sampled_from([lambda value: [value], lambda value: {"x": value}]))(
                node[last]
            )
        elif isinstance(node, dict):
            name = mistyped(last, draw)
            node[name] = node.pop(last) if act == "slip" else copy.deepcopy(draw(ANYTHING))
    return config if draw(st.integers(0, 99)) else draw(ANYTHING)
