"""Measure the parents of one seed beside each other, before anything is merged."""

from machinery import job

with job.running(snakemake) as running:
    from fusionscope.images import Images, load_images
    from fusionscope.measurement import COLUMNS, tidy_rows, write_rows
    from fusionscope.measures.names import PAIR, PARENTS
    from fusionscope.measures.pair.parents import measure_parents
    from fusionscope.networks.build import load_network
    from fusionscope.seeding import generator
    from machinery import compute

    running.start_work()
    device, params = compute.device(running), snakemake.params
    experiment, seed = snakemake.wildcards.experiment, int(snakemake.wildcards.seed)
    stream = snakemake.params.stream  # of all random numbers
    specs, recipe = params.parent_networks, params.recipe

    def images_of(split: str) -> Images:
        shape = specs[0]["input_size"], specs[0]["channels"]
        return load_images(snakemake.input.data, split, *shape).to(device)

    test_images = images_of("test")
    parents = [
        load_network(path, test_images.num_classes, **spec).to(device)
        for path, spec in zip(snakemake.input.parents, specs, strict=True)
    ]
    measurements = measure_parents(
        parents,
        # the same images for every seed and fusion of the experiment
        train_images=images_of("train").sample(recipe["images"], generator(stream, "pair images")),
        similarity_images=test_images.sample(
            recipe["similarity_images"], generator(stream, "similarity images of parents")
        ),
        test_images=test_images,
        batch_size=compute.batch_size(running),
    )
    rows = tidy_rows(measurements, experiment=experiment, seed=seed, model=PARENTS, space=PAIR)
    write_rows(snakemake.output[0], COLUMNS, rows)
