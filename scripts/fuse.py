"""Fuse the parents of a seed into one child."""

from machinery import job

with job.running(snakemake) as running:
    from dataclasses import asdict, fields

    import torch

    from fusionscope.fusion.defaults import DEFAULT_IMAGES
    from fusionscope.fusion.fuse import GroupRecord, fuse
    from fusionscope.fusion.repair import repaired_mean
    from fusionscope.images import load_images
    from fusionscope.measurement import write_rows
    from fusionscope.networks.biases import give_biases
    from fusionscope.networks.build import build
    from fusionscope.seeding import generator, seed_for
    from fusionscope.training.train import train
    from fusionscope.weights import load_weights, save_several, save_weights, set_weights
    from machinery import compute

    running.start_work()
    device = compute.device(running)
    wildcards, specs = snakemake.wildcards, snakemake.params.networks
    role = (wildcards.experiment, int(wildcards.seed), wildcards.fusion)
    definition = dict(snakemake.params.fusion)
    finetune, repair = definition.pop("finetune", None), definition.pop("repair", False)

    train_images = load_images(snakemake.input.data, "train", specs[0]["input_size"]).to(device)
    # the same images for every fusion of the experiment
    count = definition.pop("images", DEFAULT_IMAGES)
    sample = train_images.sample(count, generator(role[0], "fusion images"))
    networks = [build(train_images.num_classes, **spec).to(device) for spec in specs]
    parents = [load_weights(*pair) for pair in zip(snakemake.input.parents, networks, strict=True)]
    fusion = fuse(networks, parents, images=sample, seed=seed_for(*role), **definition)
    child, network = fusion.child, networks[fusion.reference]

    if repair:
        child = repaired_mean(network, fusion.aligned, fusion.shares, sample)
        gained = [name for name in child if name not in fusion.child]
        if gained:
            running.log.info("repair gave a bias to %d layers that had none: %s", len(gained), gained)
        give_biases(network)
    if finetune:
        set_weights(network, child)
        validation_images = load_images(snakemake.input.data, "validation", specs[0]["input_size"]).to(device)
        recipe = snakemake.params.recipe | finetune | {"schedule": {"kind": "constant"}}
        torch.manual_seed(seed_for(*role, "dropout"))
        order = generator(*role, "finetuning order")
        last_epoch = compute.last_epoch(running, snakemake.output.weights)
        kept = last_epoch.read()
        if kept is not None:
            running.log.info("fine-tuning goes on after epoch %d of %d", len(kept["curve"]), recipe["epochs"])
        resuming = {"resume": kept, "keep": last_epoch.write}
        trained = train(network, train_images, validation_images, order=order, **resuming, **recipe)
        child = trained.best_weights

    columns = [field.name for field in fields(GroupRecord)]
    write_rows(snakemake.output.alignment, columns, map(asdict, fusion.records))
    moved = {f"parent_{number}": weights for number, weights in enumerate(fusion.aligned, start=1)}
    if definition["method"] == "average":
        moved = {}  # they are the parents themselves
    save_several(moved, snakemake.output.aligned)
    save_weights(child, snakemake.output.weights)
    if finetune:
        last_epoch.remove()
