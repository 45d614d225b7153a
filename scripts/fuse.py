"""Fuse the two parents of a seed into one child."""

import job

with job.running(snakemake) as running:
    from dataclasses import asdict, fields

    from fusionscope.fusion import METHODS, GroupRecord
    from fusionscope.images import num_classes
    from fusionscope.measurement import write_rows
    from fusionscope.networks import build
    from fusionscope.weights import load_weights, save_weights

    running.start_work()
    network = build(num_classes=num_classes(snakemake.input.data), **snakemake.params.network)
    parent_a, parent_b = (load_weights(path, network) for path in snakemake.input.parents)
    options = dict(snakemake.params.fusion)
    fuse = METHODS[options.pop("method")]
    fusion = fuse(network, parent_a, parent_b, **options)

    columns = [field.name for field in fields(GroupRecord)]
    write_rows(snakemake.output.alignment, columns, map(asdict, fusion.records))
    save_weights(fusion.child, snakemake.output.weights)
