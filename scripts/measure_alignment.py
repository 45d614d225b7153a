"""Measure one fusion's parents beside the reference they were aligned to, before anything is merged."""

from machinery import job

with job.running(snakemake) as running:
    from fusionscope.images import load_images
    from fusionscope.measurement import COLUMNS, tidy_rows, write_rows
    from fusionscope.measures.names import PAIR
    from fusionscope.measures.pair.aligned import distances_by_layer, load_aligned, measure_alignment
    from fusionscope.measures.pair.cost import matching_costs
    from fusionscope.measures.pair.distance import DISTANCE_COLUMNS, distance_rows
    from fusionscope.seeding import generator
    from machinery import compute

    running.start_work()
    device, params = compute.device(running), snakemake.params
    inputs, wildcards, spec = snakemake.input, snakemake.wildcards, params.parent_networks[params.reference]
    experiment, seed, fusion = wildcards.experiment, int(wildcards.seed), wildcards.model
    stream = snakemake.params.stream  # of all random numbers

    images = load_images(inputs.data, "train", spec["input_size"], spec["channels"]).to(device)
    # the same images as of the parents as they are
    sample = images.sample(params.images, generator(stream, "pair images"))
    found = load_aligned(
        inputs.aligned,
        inputs.parents,
        parent_networks=params.parent_networks,
        reference=params.reference,
        num_classes=images.num_classes,
        device=device,
    )
    measurements = measure_alignment(found, sample, compute.batch_size(running))
    measurements |= matching_costs(inputs.alignment)
    rows = tidy_rows(measurements, experiment=experiment, seed=seed, model=fusion, space=PAIR)
    layers = distance_rows(distances_by_layer(found), seed=seed, fusion=fusion)
    write_rows(snakemake.output.distances, DISTANCE_COLUMNS, layers)
    write_rows(snakemake.output.measurements, COLUMNS, rows)
