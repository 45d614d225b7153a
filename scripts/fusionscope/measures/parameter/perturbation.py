"""The scale of a perturbation that costs a tenth of the accuracy: as found, as a measurement, in a file."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fusionscope.measurement import NOT_CENSORED, OPPOSITE, Measurement, damaged, read_rows, undefined

EPSILON = 1e-3  # Jiang et al.'s epsilon: weights at zero are perturbed too

# of a CSV file of scales, in which numbers keep all their digits
SCALE_COLUMNS = ("metric", "value", "log_error", "censored", "reason")


@dataclass(frozen=True)
class Scale:
    """The largest perturbation scale that keeps the accuracy; `log_error` is its relative error.

    Where there is none it has no `value` (None), and a `reason`, as a Measurement has.
    """

    value: float | None
    log_error: float | None = None
    censored: str = NOT_CENSORED
    reason: str = ""


def as_measurement(scale: Scale, formula: Callable[[float], float]) -> Measurement:
    """`formula` at the scale, its error by the delta method, its censoring turned where it falls.

    Most measures fall with the scale; the magnitude-aware ones rise where most weights are near zero.
    Without a scale there is no measurement, for the same reason.
    """
    if scale.value is None:
        return undefined(scale.reason)
    std_error = None
    if scale.log_error is not None:
        above, below = (formula(scale.value * math.exp(sign * scale.log_error)) for sign in (1, -1))
        std_error = abs(above - below) / 2
    rises = formula(1.01 * scale.value) > formula(scale.value)
    censored = scale.censored if rises else OPPOSITE[scale.censored]
    return Measurement(formula(scale.value), std_error, censored)


def itself(scale: float) -> float:
    """The formula of the scales themselves."""
    return scale


def scale_measurements(scales: Mapping[str, Scale]) -> dict[str, Measurement]:
    """Scales as metrics, by the same names."""
    return {name: as_measurement(scale, itself) for name, scale in scales.items()}


def scale_rows(scales: Mapping[str, Scale]) -> list[dict[str, object]]:
    """One row, with SCALE_COLUMNS as keys, per scale; `read_scales` gives the very same scales back."""
    return [
        {
            "metric": name,
            "value": "" if scale.value is None else scale.value,
            "log_error": "" if scale.log_error is None else scale.log_error,
            "censored": scale.censored,
            "reason": scale.reason,
        }
        for name, scale in scales.items()
    ]


def read_scales(path: str | Path) -> dict[str, Scale]:
    """The scales of a CSV file of `scale_rows`, by name. Raises InputError for a damaged file."""
    rows = read_rows(path)
    try:
        return {
            row["metric"]: Scale(
                number(row["value"]), number(row["log_error"]), row["censored"], row["reason"]
            )
            for row in rows
        }
    except (KeyError, ValueError):  # another column, and what is no number
        raise damaged(path, "it holds no scales") from None


def number(cell: str) -> float | None:
    return float(cell) if cell else None
