"""Every network type of the study goes all the way: trained, fused both ways, measured in all spaces."""

import math

import pandas as pd
import pytest

TYPES = ["VGG11", "VGG11_NOBIAS", "VGG11_NOBIAS_NOBN", "RESNET18", "RESNET18_NOBIAS", "RESNET18_NOBIAS_NOBN"]
MLP = {"model_type": "MLP", "width": 8, "channels": 1, "input_size": 8}  # on digits as they are
CHILDREN = ["naive_fused", "geometric_fused"]


@pytest.mark.slow
def test_their_children_are_finite_and_measured_in_all_spaces(fresh):
    tiny = fresh.settings["experiments"].pop("tiny")
    for model_type in TYPES:
        fresh.settings["experiments"][model_type.lower()] = dict(tiny, model_type=model_type, seeds=1)
    fresh.settings["experiments"]["mlp"] = tiny | MLP | {"seeds": 1}
    fresh.settings["run"] = [*(model_type.lower() for model_type in TYPES), "mlp"]
    fresh.run()
    measurements = pd.read_csv(fresh.folder / "results/measurements.csv")
    children = measurements[measurements.model.isin(CHILDREN)]
    assert (children.value.map(math.isfinite) | children.reason.notna()).all()
    spaces = children.groupby(["experiment", "model"]).space.agg(set)
    assert len(spaces) == 2 * len(fresh.settings["run"])
    wanted = {f"{name}_space" for name in ("input", "parameter", "prediction", "connectivity")}
    counts = children.groupby(["experiment", "model"]).metric.nunique().unstack()
    assert all(found == wanted for found in spaces.xs("naive_fused", level="model"))
    assert all(found == wanted | {"pair_space"} for found in spaces.xs("geometric_fused", level="model"))
    assert (counts.naive_fused == 4 + 18 + 3 + 7 + 5).all()
    assert (counts.geometric_fused == 4 + 18 + 3 + 7 + 5 + 4).all()
