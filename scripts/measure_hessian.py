"""Measure the Hessian of one model's loss: its top eigenvalue, trace and spectral density."""

from machinery import job

with job.running(snakemake) as running:
    from fusionscope.images import load_images
    from fusionscope.measurement import COLUMNS, tidy_rows, write_rows
    from fusionscope.measures.parameter.hessian import DENSITY_COLUMNS, density_rows, measure_hessian
    from fusionscope.measures.parameter.landscape import fastest_layout
    from fusionscope.networks.build import load_network
    from fusionscope.seeding import generator, seed_for
    from machinery import compute

    running.start_work()
    device = compute.device(running)
    wildcards, recipe = snakemake.wildcards, dict(snakemake.params.recipe)
    experiment, seed, model = wildcards.experiment, int(wildcards.seed), wildcards.model
    role = tuple(snakemake.params.role)  # from which all random streams come

    spec = snakemake.params.network
    images = load_images(snakemake.input.data, "train", spec["input_size"], spec["channels"]).to(device)
    # the same images for every model of the experiment
    sample = images.sample(recipe.pop("images"), generator(role[0], "hessian images"))
    network = load_network(snakemake.input.weights, images.num_classes, **spec)
    network.to(memory_format=fastest_layout(network)).to(device)

    measurements, density = measure_hessian(
        network,
        sample,
        compute.batch_size(running),
        seed=seed_for(*role, "hessian"),
        **recipe,
    )
    rows = tidy_rows(measurements, experiment=experiment, seed=seed, model=model, space="parameter_space")
    write_rows(snakemake.output.density, DENSITY_COLUMNS, density_rows(density, seed=seed, model=model))
    write_rows(snakemake.output.measurements, COLUMNS, rows)
