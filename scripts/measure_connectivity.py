"""Measure one fusion: the line between its aligned parents, and what its child has in common with them."""

from machinery import job

with job.running(snakemake) as running:
    from functools import partial

    from fusionscope.errors import InputError
    from fusionscope.images import load_images
    from fusionscope.measurement import COLUMNS, tidy_rows, write_rows
    from fusionscope.measures.connectivity.paths import (
        PATH_COLUMNS,
        highest,
        line,
        measure_path,
        repaired_line,
    )
    from fusionscope.measures.connectivity.similarity import CKA_COLUMNS, cka_by_group, mean_similarity
    from fusionscope.networks.build import build
    from fusionscope.seeding import generator
    from fusionscope.weights import load_several, load_weights
    from machinery import compute

    running.start_work()
    device = compute.device(running)
    wildcards, params, recipe = snakemake.wildcards, snakemake.params, snakemake.params.recipe
    experiment, seed, fusion = wildcards.experiment, int(wildcards.seed), wildcards.model
    batch_size, size = compute.batch_size(running), params.network["input_size"]

    test_images = load_images(snakemake.input.data, "test", size).to(device)
    # the same images for every fusion of the experiment
    sample = test_images.sample(recipe["images"], generator(experiment, "connectivity images"))
    classes = sample.num_classes
    networks = {name: build(classes, **spec).to(device) for name, spec in params.parent_networks.items()}
    named_paths = zip(networks, snakemake.input.parents, strict=True)
    parents = {name: load_weights(path, networks[name]) for name, path in named_paths}
    aligned = parents | load_several(snakemake.input.aligned, networks[params.reference])
    reference, network = aligned[params.reference], networks[params.reference]
    child_network = build(classes, **params.network).to(device)
    child = load_weights(snakemake.input.weights, child_network)

    point_between = line
    if params.repair_images:
        train_images = load_images(snakemake.input.data, "train", size).to(device)
        # the images that the child itself was repaired on
        images = train_images.sample(params.repair_images, generator(experiment, "fusion images"))
        point_between = partial(repaired_line, network, images)
    paths = {
        name: measure_path(
            child_network,
            point_between(aligned[name], reference),
            sample,
            points=recipe["points"],
            batch_size=batch_size,
        )
        for name in parents
        if name != params.reference
    }
    measurements = highest(paths.values())
    running.log.info("paths done")

    few = sample.sample(recipe["similarity_images"], generator(experiment, "similarity images"))
    similarities = {}
    try:
        for name, parent in parents.items():
            similarities[name] = cka_by_group(child_network, child, networks[name], parent, few, batch_size)
    except InputError as error:  # no groups: such a network can still be averaged
        running.log.warning("no similarity: %s", error)
    measurements |= mean_similarity(similarities)

    rows = tidy_rows(measurements, experiment=experiment, seed=seed, model=fusion, space="connectivity_space")
    points = [
        {"seed": seed, "fusion": fusion, "parent": name} | vars(point)
        for name, path in paths.items()
        for point in path
    ]
    likeness = [
        {"seed": seed, "model": fusion, "parent": name, "group": group, "cka": value}
        for name, by_group in similarities.items()
        for group, value in by_group.items()
    ]
    write_rows(snakemake.output.path, PATH_COLUMNS, points)
    write_rows(snakemake.output.similarity, CKA_COLUMNS, likeness)
    write_rows(snakemake.output.measurements, COLUMNS, rows)
