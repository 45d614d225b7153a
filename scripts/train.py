"""Train one parent and keep its initial weights, its best weights and its learning curve."""

from machinery import job

with job.running(snakemake) as running:
    import torch

    from fusionscope.images import load_images
    from fusionscope.measurement import write_rows
    from fusionscope.networks.build import initialised
    from fusionscope.seeding import generator, seed_for
    from fusionscope.training.train import train
    from fusionscope.weights import save_weights, weights_of
    from machinery import chance, compute, epochs

    running.start_work()
    device = compute.device(running)
    wildcards, recipe = snakemake.wildcards, dict(snakemake.params.recipe)
    initialisation = recipe.pop("initialisation")
    role = tuple(snakemake.params.role)  # from which all random streams come

    spec = snakemake.params.network
    shape = spec["input_size"], spec["channels"]
    train_images = load_images(snakemake.input.data, "train", *shape).to(device)
    validation_images = load_images(snakemake.input.data, "validation", *shape).to(device)
    network = initialised(
        generator(*role, "initial weights"),
        train_images.num_classes,
        initialisation=initialisation,
        **spec,
    )
    initial = {name: tensor.clone() for name, tensor in weights_of(network).items()}

    torch.manual_seed(seed_for(*role, "dropout"))  # which layers draw from the global stream
    last_epoch = compute.last_epoch(running, snakemake.output.weights)
    kept = last_epoch.read()
    if kept is not None:
        running.log.info("goes on after epoch %d of %d", len(kept["curve"]), recipe["epochs"])
    with epochs.reported(
        running, f"{wildcards.experiment} seed {role[1]} {role[2]}", recipe["epochs"]
    ) as report:
        trained = train(
            network.to(device),
            train_images,
            validation_images,
            order=generator(*role, "order"),
            on_epoch=report,
            resume=kept,
            keep=last_epoch.write,
            **recipe,
        )
    running.log.info("best epoch: %d", trained.best_epoch)
    kept_accuracy = trained.curve[trained.best_epoch - 1].validation_accuracy
    chance.warn(running.log, "validation", kept_accuracy, validation_images.labels.tolist())

    who = {"seed": wildcards.seed, "parent": wildcards.parent}
    rows = [who | epoch.as_row() for epoch in trained.curve]
    write_rows(snakemake.output.curve, rows[0], rows)
    save_weights(initial, snakemake.output.initial)
    save_weights(trained.best_weights, snakemake.output.weights)
    last_epoch.remove()
