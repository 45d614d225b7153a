"""Measure one model in the input space."""

from machinery import job

with job.running(snakemake) as running:
    from fusionscope.images import load_images
    from fusionscope.measurement import COLUMNS, tidy_rows, write_rows
    from fusionscope.measures.input.lipschitz import measure_input_space
    from fusionscope.networks.build import load_network
    from fusionscope.seeding import generator, seed_for
    from machinery import compute

    running.start_work()
    device = compute.device(running)
    wildcards, recipe = snakemake.wildcards, dict(snakemake.params.recipe)
    experiment, seed, model = wildcards.experiment, int(wildcards.seed), wildcards.model
    role = tuple(snakemake.params.role)  # from which all random streams come

    spec = snakemake.params.network
    images = load_images(snakemake.input.data, "test", spec["input_size"], spec["channels"]).to(device)
    # the same images for every model of the experiment
    sample = images.sample(recipe.pop("images"), generator(role[0], "input space images"))
    network = load_network(snakemake.input.weights, images.num_classes, **spec)
    measurements = measure_input_space(
        network.to(device),
        sample,
        seed=seed_for(*role, "input space"),
        **recipe,
    )
    rows = tidy_rows(measurements, experiment=experiment, seed=seed, model=model, space="input_space")
    write_rows(snakemake.output[0], COLUMNS, rows)
