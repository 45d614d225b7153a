"""Spectral densities of several networks, made comparable."""

import pandas as pd

from fusionscope.measures.parameter.density import root_mean_square, spectral_density


def smoothed_alike(densities: pd.DataFrame) -> tuple[pd.DataFrame, float]:
    """The densities of models and seeds anew from their Ritz values, and the r with which all are smoothed.

    `densities`: columns model, seed, eigenvalue, density, ritz_weight. As measured, each is smoothed by its
    own root mean square of the eigenvalues. Here r is the smallest of these (density.spectral_density): the
    smoothing stays small beside the spread of every spectrum.
    """
    ritz = densities[densities.ritz_weight > 0]
    groups = [
        (key, rows.eigenvalue.to_numpy(), rows.ritz_weight.to_numpy())
        for key, rows in ritz.groupby(["model", "seed"], sort=False)
    ]
    sizes = [root_mean_square(nodes, weights) for _, nodes, weights in groups if nodes.any()]
    r = min(sizes, default=1.0)
    parts = []
    for (model, seed), nodes, weights in groups:
        found = spectral_density(nodes, weights, r)
        columns = {name: getattr(found, name) for name in ("eigenvalue", "density", "ritz_weight")}
        parts.append(pd.DataFrame({"model": model, "seed": seed, **columns}))
    return pd.concat(parts, ignore_index=True), r
