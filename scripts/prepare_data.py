"""Read a data set from where it lies, or download it, and write the one file that jobs read."""

from machinery import job

with job.running(snakemake) as running:
    import numpy as np

    from fusionscope.files import whole_file
    from fusionscope.training.normalisation import PUBLISHED
    from fusionscope.training.preparation import prepare
    from machinery import pictures

    running.start_work()
    source = snakemake.params.source
    folder = source.get("folder", snakemake.resources.data_dir)
    if "images" in source:
        pictures.record(folder, snakemake.output[0], source["images"])
    shape = {key: source[key] for key in ("channels", "size") if key in source}
    arrays = prepare(source["name"], folder, source.get("normalisation", PUBLISHED), **shape)
    for name, array in arrays.items():
        running.log.info("%s: %s %s", name, array.shape, array.dtype)
    for label, class_name in enumerate(arrays.get("class_names", [])):
        running.log.info("class %d: %s", label, class_name)
    with whole_file(snakemake.output[0]) as partial:
        # to NumPy's stubs all keywords are flags
        np.savez(partial, **arrays)  # type: ignore[arg-type]
