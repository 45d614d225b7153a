"""Search the scales of perturbation sigma and alpha at which one model loses a tenth of its accuracy."""

from machinery import job

with job.running(snakemake) as running:
    from fusionscope.images import load_images
    from fusionscope.measurement import COLUMNS, tidy_rows, write_rows
    from fusionscope.measures.parameter.landscape import Landscape, fastest_layout
    from fusionscope.measures.parameter.perturbation import SCALE_COLUMNS, scale_measurements, scale_rows
    from fusionscope.measures.parameter.scales import find_scales
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
    sample = images.sample(recipe.pop("images"), generator(role[0], "flatness images"))
    network = load_network(snakemake.input.weights, images.num_classes, **spec)
    network.to(memory_format=fastest_layout(network)).to(device)

    landscape = Landscape(network, sample, compute.batch_size(running), precision=recipe.pop("precision"))
    scales = find_scales(landscape, seed=seed_for(*role, "flatness"), **recipe)
    work = landscape.evaluated, landscape.differentiated
    running.log.info("%d images evaluated, %d differentiated", *work)

    measurements = scale_measurements(scales)
    rows = tidy_rows(measurements, experiment=experiment, seed=seed, model=model, space="parameter_space")
    write_rows(snakemake.output.search, SCALE_COLUMNS, scale_rows(scales))
    write_rows(snakemake.output.measurements, COLUMNS, rows)
