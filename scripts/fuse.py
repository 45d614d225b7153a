"""Fuse the parents of a seed into one child."""

from machinery import job

with job.running(snakemake) as running:
    from fusionscope.fusion.fuse import fuse
    from fusionscope.fusion.options import check_fusion
    from fusionscope.fusion.summary import sentences, write_alignment
    from fusionscope.images import FUSED_AT_ONCE, Images, load_images
    from fusionscope.networks.build import build
    from fusionscope.seeding import generator, seed_for
    from fusionscope.weights import load_weights, save_several, save_weights
    from machinery import compute

    running.start_work()
    device = compute.device(running)
    wildcards, specs = snakemake.wildcards, snakemake.params.networks
    role = tuple(snakemake.params.role)  # from which all random streams come
    definition, training = check_fusion(snakemake.params.fusion), None

    def images_of(split: str) -> Images:
        shape = specs[0]["input_size"], specs[0]["channels"]
        return load_images(snakemake.input.data, split, *shape).to(device)

    images = images_of("train")
    # the same images for every fusion of the experiment
    sample = images.sample(definition.pop("images"), generator(role[0], "fusion images"))
    networks = [build(images.num_classes, **spec).to(device) for spec in specs]
    parents = [load_weights(*pair) for pair in zip(snakemake.input.parents, networks, strict=True)]
    if "finetune" in definition:
        from fusionscope.fusion.finetune import TrainingData

        last_epoch = compute.last_epoch(running, snakemake.output.weights)
        kept = last_epoch.read()
        if kept is not None:
            epochs = definition["finetune"]["epochs"]
            running.log.info("fine-tuning goes on after epoch %d of %d", len(kept["curve"]), epochs)
        training = TrainingData(
            images,
            images_of("validation"),
            snakemake.params.recipe,
            order=generator(*role, "finetuning order"),
            dropout_seed=seed_for(*role, "dropout"),
            resume=kept,
            keep=last_epoch.write,
        )

    fusion = fuse(
        networks,
        parents,
        images=sample,
        seed=seed_for(*role),
        training=training,
        images_at_once=compute.batch_size(running, FUSED_AT_ONCE),
        **definition,
    )
    for line in sentences(fusion):
        running.log.info(line)
    write_alignment(snakemake.output.alignment, fusion)
    # where nothing is aligned, they are the parents themselves
    aligned = () if fusion.groups is None else enumerate(fusion.aligned, start=1)
    save_several({f"parent_{number}": weights for number, weights in aligned}, snakemake.output.aligned)
    save_weights(fusion.child, snakemake.output.weights)
    if training is not None:
        last_epoch.remove()
