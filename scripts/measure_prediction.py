"""Measure one model in the prediction space, a child beside the ensemble of its parents."""

from machinery import job

with job.running(snakemake) as running:
    from fusionscope.evaluation import predict
    from fusionscope.images import load_images
    from fusionscope.measurement import COLUMNS, tidy_rows, write_rows
    from fusionscope.measures.prediction.prediction import ensemble_accuracy, measure_prediction_space
    from fusionscope.networks.build import load_network
    from fusionscope.seeding import seed_for
    from machinery import chance, compute

    running.start_work()
    device = compute.device(running)
    wildcards, batch_size = snakemake.wildcards, compute.batch_size(running)
    experiment, seed, model = wildcards.experiment, int(wildcards.seed), wildcards.model
    role = tuple(snakemake.params.role)  # from which all random streams come

    spec = snakemake.params.network
    train_images = load_images(snakemake.input.data, "train", spec["input_size"], spec["channels"]).to(device)
    test_images = load_images(snakemake.input.data, "test", spec["input_size"], spec["channels"]).to(device)
    network = load_network(snakemake.input.weights, test_images.num_classes, **spec).to(device)
    measurements = measure_prediction_space(
        network,
        train_images,
        test_images,
        seed=seed_for(*role, "prediction space"),
        batch_size=batch_size,
        **snakemake.params.recipe,
    )
    members = []
    for path, parent in zip(snakemake.input.parents, snakemake.params.parent_networks, strict=True):
        member = load_network(path, test_images.num_classes, **parent).to(device)
        members.append(predict(member, test_images, batch_size))
    if members:
        measurements["parents_ensemble_accuracy"] = ensemble_accuracy(members, test_images.labels)
    else:  # a parent, which may have been trained elsewhere
        chance.warn(running.log, "test", measurements["accuracy"].value, test_images.labels.tolist())
    rows = tidy_rows(measurements, experiment=experiment, seed=seed, model=model, space="prediction_space")
    write_rows(snakemake.output[0], COLUMNS, rows)
