"""Measure one model in the parameter space: its Hessian, and its twelve flatness measures."""

import job

with job.running(snakemake) as running:
    from fusionscope.flatness import measure_flatness
    from fusionscope.hessian import DENSITY_COLUMNS, measure_hessian
    from fusionscope.images import load_images
    from fusionscope.landscape import Landscape, farthest, flatten_parameters
    from fusionscope.measurement import COLUMNS, tidy_rows, write_rows
    from fusionscope.networks import build
    from fusionscope.seeding import generator, seed_for
    from fusionscope.weights import load_weights

    running.start_work()
    device = running.device()
    wildcards, batch_size = snakemake.wildcards, snakemake.resources.batch_size
    hessian, flatness = dict(snakemake.params.hessian), dict(snakemake.params.flatness)
    experiment, seed, model = wildcards.experiment, int(wildcards.seed), wildcards.model

    images = load_images(snakemake.input.data, "train").to(device)
    network = build(num_classes=images.num_classes, **snakemake.params.network)
    origins = [
        flatten_parameters(network, load_weights(path, network)).to(device)
        for path in snakemake.input.origins
    ]
    network.load_state_dict(load_weights(snakemake.input.weights, network))
    network.to(device)
    w = flatten_parameters(network)

    # the same images for every model of the experiment
    sample = images.sample(hessian.pop("images"), generator(experiment, "hessian images"))
    measurements, density = measure_hessian(
        network, sample, batch_size, seed=seed_for(experiment, seed, model, "hessian"), **hessian
    )
    running.log.info("Hessian done")
    sample = images.sample(flatness.pop("images"), generator(experiment, "flatness images"))
    measurements |= measure_flatness(
        Landscape(network, sample, batch_size),
        w,
        farthest(w, origins),
        train_size=len(images),
        seed=seed_for(experiment, seed, model, "flatness"),
        **flatness,
    )
    rows = tidy_rows(measurements, experiment=experiment, seed=seed, model=model, space="parameter_space")
    points = [
        {"seed": seed, "model": model, "eigenvalue": eigenvalue, "density": value}
        for eigenvalue, value in zip(density.eigenvalue, density.density, strict=True)
    ]
    write_rows(snakemake.output.density, DENSITY_COLUMNS, points)
    write_rows(snakemake.output.measurements, COLUMNS, rows)
