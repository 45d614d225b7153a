"""fusionscope: train pairs of networks, fuse them, and measure parents and children.

The library is plain PyTorch and NumPy. It knows no file layout, no configuration object and no
workflow engine: every function takes tensors, networks and numbers and returns values, so all of
it can be used from a notebook. docs/notebook.md shows how; what is used most is found at the top:
`fusionscope.fuse`, for example. Nothing is imported before it is used.
"""

from typing import Any

API = {
    # networks and their weights
    "build": "fusionscope.networks.build:build",
    "load_weights": "fusionscope.weights:load_weights",
    "save_weights": "fusionscope.weights:save_weights",
    "set_weights": "fusionscope.weights:set_weights",
    # images
    "Images": "fusionscope.images:Images",
    "load_images": "fusionscope.images:load_images",
    "prepare": "fusionscope.training.preparation:prepare",
    # training and fusing
    "train": "fusionscope.notebook:train",
    "alignment_groups": "fusionscope.alignment.groups:alignment_groups",
    "fuse": "fusionscope.fusion.fuse:fuse",
    "TrainingData": "fusionscope.fusion.finetune:TrainingData",
    # measuring one thing
    "measure": "fusionscope.notebook:measure",
    "accuracy": "fusionscope.notebook:accuracy",
    "lipschitz": "fusionscope.measures.input.lipschitz:lipschitz",
    "sigma": "fusionscope.measures.parameter.scales:sigma",
    "sigma_mag": "fusionscope.measures.parameter.scales:sigma_mag",
    "alpha": "fusionscope.measures.parameter.scales:alpha",
    "alpha_mag": "fusionscope.measures.parameter.scales:alpha_mag",
    "hessian_top_eigenvalue": "fusionscope.measures.parameter.hessian:hessian_top_eigenvalue",
    "hessian_trace": "fusionscope.measures.parameter.hessian:hessian_trace",
    # what went wrong
    "InputError": "fusionscope.errors:InputError",
}


def __getattr__(name: str) -> Any:
    if name not in API:
        raise AttributeError(f"module 'fusionscope' has no attribute {name!r}")
    from fusionscope.registry import resolve

    return resolve(API[name])


def __dir__() -> list[str]:
    return sorted([*globals(), *API])
