"""Measure what costs little of one model: flatness from its scales, norms, margins, gradients."""

from machinery import job

with job.running(snakemake) as running:
    from fusionscope.images import load_images
    from fusionscope.measurement import COLUMNS, Measurement, tidy_rows, write_rows
    from fusionscope.measures.parameter.landscape import Landscape, fastest_layout, flatten_parameters
    from fusionscope.measures.parameter.origin import farthest, load_origin
    from fusionscope.measures.parameter.perturbation import read_scales
    from fusionscope.measures.parameter.subject import Subject, load_measures, measure_complexity
    from fusionscope.measures.parameter.twelve import flatness_measures
    from fusionscope.networks.build import load_network
    from fusionscope.seeding import generator
    from machinery import compute

    running.start_work()
    device = compute.device(running)
    wildcards, params = snakemake.wildcards, snakemake.params
    experiment, seed, model = wildcards.experiment, int(wildcards.seed), wildcards.model
    role = tuple(snakemake.params.role)  # from which all random streams come

    spec = params.network
    images = load_images(snakemake.input.data, "train", spec["input_size"], spec["channels"]).to(device)
    # the images of the searches, the same for every model of the experiment
    sample = images.sample(params.images, generator(role[0], "flatness images"))
    network = load_network(snakemake.input.weights, images.num_classes, **spec)
    network.to(memory_format=fastest_layout(network)).to(device)
    origins = [load_origin(path, images.num_classes, spec).to(device) for path in snakemake.input.origins]
    w = flatten_parameters(network)
    origin = farthest(w, origins)

    measurements: dict[str, Measurement] = {}
    for path in snakemake.input.search:
        w0 = None if origin is None else flatten_parameters(origin)
        measurements |= flatness_measures(read_scales(path), w, w0, train_size=len(images))
    subject = Subject(Landscape(network, sample, compute.batch_size(running)), images, origin)
    measurements |= measure_complexity(load_measures(params.entries), subject)
    rows = tidy_rows(measurements, experiment=experiment, seed=seed, model=model, space="parameter_space")
    write_rows(snakemake.output[0], COLUMNS, rows)
