"""Measure one model in the parameter space: its Hessian, its twelve flatness measures, its complexity."""

from machinery import job

with job.running(snakemake) as running:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from fusionscope.images import load_images
    from fusionscope.measurement import COLUMNS, tidy_rows, write_rows
    from fusionscope.measures.parameter.complexity import measure_complexity
    from fusionscope.measures.parameter.flatness import find_scales, flatness_measures
    from fusionscope.measures.parameter.hessian import DENSITY_COLUMNS, measure_hessian
    from fusionscope.measures.parameter.landscape import (
        Landscape,
        farthest,
        fastest_layout,
        flatten_parameters,
    )
    from fusionscope.networks.biases import give_biases
    from fusionscope.networks.build import build
    from fusionscope.seeding import generator, seed_for
    from fusionscope.weights import load_weights, set_weights
    from machinery import compute

    running.start_work()
    device = compute.device(running)
    wildcards, batch_size = snakemake.wildcards, compute.batch_size(running)
    hessian, flatness = dict(snakemake.params.hessian), dict(snakemake.params.flatness)
    experiment, seed, model = wildcards.experiment, int(wildcards.seed), wildcards.model

    spec = dict(snakemake.params.network)
    images = load_images(snakemake.input.data, "train", spec["input_size"]).to(device)
    network = build(images.num_classes, **spec)
    set_weights(network, load_weights(snakemake.input.weights, network))
    network.to(device, memory_format=fastest_layout(network))

    # the same images for every model of the experiment
    sample = images.sample(hessian.pop("images"), generator(experiment, "hessian images"))
    with sdpa_kernel(SDPBackend.MATH):  # the only kind of attention with second derivatives
        measurements, density = measure_hessian(
            network, sample, batch_size, seed=seed_for(experiment, seed, model, "hessian"), **hessian
        )
    running.log.info("Hessian done")
    sample = images.sample(flatness.pop("images"), generator(experiment, "flatness images"))
    landscape = Landscape(network, sample, batch_size, precision=flatness.pop("precision"))
    scales = find_scales(landscape, seed=seed_for(experiment, seed, model, "flatness"), **flatness)
    running.log.info(
        "scales done: %d images evaluated, %d differentiated", landscape.evaluated, landscape.differentiated
    )

    origins = []  # not earlier: the searches need the room
    for path in snakemake.input.origins:
        origin = build(images.num_classes, **spec | {"biases": False})
        set_weights(origin, load_weights(path, origin))
        if spec.get("biases"):
            give_biases(origin)  # zeros: the child has biases that its parents never had
        origins.append(origin.to(device))
    w = flatten_parameters(network)
    origin = farthest(w, origins)
    w0 = None if origin is None else flatten_parameters(origin)
    measurements |= flatness_measures(scales, w, w0, train_size=len(images))
    landscape = Landscape(network, sample, batch_size)  # at the network's own precision
    measurements |= measure_complexity(snakemake.params.complexity, landscape, images, origin)

    rows = tidy_rows(measurements, experiment=experiment, seed=seed, model=model, space="parameter_space")
    points = [
        {"seed": seed, "model": model, "eigenvalue": eigenvalue, "density": value}
        for eigenvalue, value in zip(density.eigenvalue, density.density, strict=True)
    ]
    write_rows(snakemake.output.density, DENSITY_COLUMNS, points)
    write_rows(snakemake.output.measurements, COLUMNS, rows)
