"""Read a data set from where it lies, or download it, and write the one file that jobs read."""

from machinery import job

with job.running(snakemake) as running:
    import os

    import numpy as np

    from fusionscope.training.datasets import prepare

    running.start_work()
    source = snakemake.params.source
    arrays = prepare(source["name"], source.get("folder", snakemake.resources.data_dir))
    for name, array in arrays.items():
        running.log.info("%s: %s %s", name, array.shape, array.dtype)
    partial = f"{snakemake.output[0]}.partial.npz"
    np.savez(partial, **arrays)
    os.replace(partial, snakemake.output[0])
