"""A tiny configuration of the workflow, and studies made of it in one process, without Snakemake."""

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from snakemake.utils import update_config

from machinery import settings
from machinery.study import Study

ROOT = Path(__file__).parents[2]

TINY: dict[str, Any] = {
    "run": ["tiny"],
    "experiments": {
        "tiny": {
            "dataset": "digits",
            "model_type": "VGG11_NOBIAS",
            "width": 0.0625,
            "seeds": 2,
            "training": "tiny",
            "measurements": "tiny",
        }
    },
    "training": {
        "tiny": {
            "epochs": 1,
            "batch_size": 64,
            "learning_rate": 0.05,
            "momentum": 0.9,
            "weight_decay": 0.0,
            "clip_norm": 1.0,
            "schedule": {"kind": "constant"},
            "augmentation": "none",
        }
    },
    "measurements": {
        "tiny": {
            "batch_size": 64,
            "input_space": {"images": 4, "starts": 1, "power_iterations": 2},
            "hessian": {
                "images": 8,
                "lanczos_steps": 4,
                "density_starts": 1,
                "eigenvalue_tolerance": 0.5,
                "trace_draws": 2,
            },
            "flatness": {
                "images": 16,
                "draws": 2,
                "images_per_draw": 8,
                "starts": 2,
                "ascent_steps": 1,
                "tolerance": 2.0,
                "scale_range": [1.0e-4, 10.0],
            },
            "complexity": ["parameter_norm", "path_norm", "gradient_norm"],
            "prediction_space": {"calibration_bins": 5},
            "connectivity": {"images": 32, "points": 3, "similarity_images": 16},
            "pair_space": {"images": 16, "similarity_images": 16},
        }
    },
}


def tiny_settings(**of_experiment: Any) -> dict[str, Any]:
    """A copy of TINY, with changes of its one experiment."""
    tiny = copy.deepcopy(TINY)
    tiny["experiments"]["tiny"].update(of_experiment)
    return tiny


def read(mine: Mapping[str, Any]) -> dict[str, Any]:
    """What the workflow makes of a configuration that is laid over the shipped one."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    update_config(config, copy.deepcopy(dict(mine)))
    return settings.read_settings(config)


def study_of(mine: Mapping[str, Any], existing: Iterable[str] = ()) -> Study:
    """The study of such a configuration where just the files `existing` are there."""
    return Study.read(settings.resolve_experiments(read(mine)), set(existing).__contains__)
