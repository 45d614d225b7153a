"""Measure one fusion: the line between its aligned parents, and what its child has in common with them."""

from machinery import job

with job.running(snakemake) as running:
    from fusionscope.images import FUSED_AT_ONCE, load_images
    from fusionscope.measurement import COLUMNS, tidy_rows, write_rows
    from fusionscope.measures.connectivity import family as measure
    from fusionscope.measures.connectivity.paths import PATH_COLUMNS, highest
    from fusionscope.measures.connectivity.similarity import CKA_COLUMNS, mean_similarity, similarity_rows
    from fusionscope.measures.connectivity.variance import VARIANCE_COLUMNS, mean_ratio, variance_rows
    from fusionscope.seeding import generator
    from machinery import compute

    running.start_work()
    device, batch_size = compute.device(running), compute.batch_size(running)
    inputs, wildcards, params = snakemake.input, snakemake.wildcards, snakemake.params
    recipe = params.recipe
    experiment, seed, fusion = wildcards.experiment, int(wildcards.seed), wildcards.model
    role = tuple(snakemake.params.role)  # from which all random streams come

    shape, repair_images = (params.network["input_size"], params.network["channels"]), None
    test_images = load_images(inputs.data, "test", *shape).to(device)
    # the same images for every fusion of the experiment
    sample = test_images.sample(recipe["images"], generator(role[0], "connectivity images"))
    few = sample.sample(recipe["similarity_images"], generator(role[0], "similarity images"))
    if params.repair_images:  # those that the child itself was repaired on
        train_images = load_images(inputs.data, "train", *shape).to(device)
        repair_images = train_images.sample(params.repair_images, generator(role[0], "fusion images"))
    family = measure.load_family(
        inputs.weights,
        inputs.aligned,
        inputs.parents,
        network=params.network,
        parent_networks=params.parent_networks,
        reference=params.reference,
        num_classes=sample.num_classes,
        device=device,
    )
    paths = measure.measure_paths(
        family,
        sample,
        points=recipe["points"],
        batch_size=batch_size,
        repair_images=repair_images,
        repaired_at_once=compute.reduced(running, FUSED_AT_ONCE, batch_size),
    )
    variances = measure.measure_variances(family, few, batch_size)
    similarities = measure.measure_similarities(family, few, batch_size)
    measurements = highest(paths.values()) | mean_similarity(similarities) | mean_ratio(variances)
    rows = tidy_rows(measurements, experiment=experiment, seed=seed, model=fusion, space="connectivity_space")
    write_rows(snakemake.output.path, PATH_COLUMNS, measure.path_rows(paths, seed=seed, fusion=fusion))
    likeness = similarity_rows(similarities, seed=seed, model=fusion)
    write_rows(snakemake.output.similarity, CKA_COLUMNS, likeness)
    layers = variance_rows(variances, seed=seed, model=fusion)
    write_rows(snakemake.output.variance, VARIANCE_COLUMNS, layers)
    write_rows(snakemake.output.measurements, COLUMNS, rows)
