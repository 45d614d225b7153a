"""The steps of a fusion by their names: the library's, and classes of the user's own."""

import inspect
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from fusionscope.errors import InputError
from fusionscope.fusion.mean import MergeStep
from fusionscope.fusion.options import ALIGNMENTS, MERGES, FusionOptions, check_fusion
from fusionscope.fusion.pair import AlignmentStep, Match, Pair
from fusionscope.images import Images
from fusionscope.options import check, short, suggest
from fusionscope.registry import load_own, reason, resolve
from fusionscope.weights import Weights


def alignment_step(definition: Mapping[str, Any]) -> AlignmentStep:
    """The alignment that a checked `definition` names, with its options.

    Raises InputError where a class of the user's own cannot be found or does not take them.
    """
    method = definition["method"]
    if method in ALIGNMENTS:
        known = resolve(ALIGNMENTS[method])
        return known(**{name: definition[name] for name in known.model_fields if name in definition})
    options = {name: value for name, value in definition.items() if name not in FusionOptions.model_fields}
    return own_step(method, "method", "align", options)


def match_neurons(
    method: str, pair: Pair, *, images: Images | None = None, seed: int = 0, **options: Any
) -> Match | None:
    """The neurons of A matched to those of B by `method` with its `options`; see AlignmentStep.

    Raises InputError for options that are unknown or do not go together, and as the method does.
    """
    step = alignment_step(check_fusion({"method": method, **options}))
    match = step.align(pair, images, seed)
    if match is not None:
        check_match(match, pair, method)
    return match


def merge_step(name: str) -> MergeStep:
    """The way to merge of that name."""
    return resolve(MERGES[name])() if name in MERGES else own_step(name, "merge", "merge", {})


def own_step(entry: str, what: str, does: str, options: Mapping[str, Any]) -> Any:
    """An instance of the user's own class `entry`, module:Class, which has a method `does`.

    Raises InputError, in one sentence that begins with `what` and `entry`.
    """
    where = f"{what} {entry}"
    own = load_own(entry, what)
    if not callable(getattr(own, does, None)):
        raise InputError(f"{where}: has no method '{does}'; name a class that has one")
    if isinstance(own, type) and issubclass(own, BaseModel):  # says itself what is wrong
        return check(own, options, where)
    known = list(inspect.signature(own).parameters)
    unknown = [name for name in options if name not in known]
    if unknown:
        raise InputError(f"{where}: unknown option '{unknown[0]}'; {suggest(unknown[0], known)}")
    try:
        return own(**options)
    except Exception as error:
        raise InputError(f"{where}: cannot be made with its options ({reason(error)}); fix them") from error


def check_match(match: object, pair: Pair, method: str) -> None:
    """Raise InputError unless an alignment gave a coupling, a map and costs for each group, of its size."""
    if not isinstance(match, Match):
        raise InputError(f"method {method}: align gave a {type(match).__name__}; return a Match, or None")
    expected = [(a.size, b.size) for a, b in pair.groups]
    for name, given in (("couplings", match.couplings), ("costs", match.costs)):
        found = [tuple(matrix.shape) for matrix in given]
        if found != expected:
            raise InputError(
                f"method {method}: align gave {name} of shapes {short(found)}, expected {short(expected)}; "
                "give one for each of pair.groups"
            )


def check_merged(child: object, like: Weights, merge: str) -> None:
    """Raise InputError unless a merge gave weights of the names and shapes of the reference's."""
    if not isinstance(child, Mapping) or child.keys() != like.keys():
        raise InputError(f"merge {merge}: gave other weights than the reference has; return a state dict")
    for name, tensor in like.items():
        if child[name].shape != tensor.shape:
            raise InputError(
                f"merge {merge}: gave {name} of shape {tuple(child[name].shape)}, expected "
                f"{tuple(tensor.shape)}; return weights in the reference's shape"
            )
