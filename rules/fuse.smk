# Children: each fusion of the parents of each seed.


rule fuse:
    input:
        data=data_file,
        parents=parents_of,
    output:
        weights="experiments/{experiment}/{experiment}_seed{seed}/{fusion}.pth",
        aligned="experiments/{experiment}/{experiment}_seed{seed}/{fusion}_aligned.pth",
        alignment="experiments/{experiment}/{experiment}_seed{seed}/{fusion}_alignment.csv",
    log:
        "logs/fuse/{experiment}_seed{seed}_{fusion}.log",
    benchmark:
        "logs/benchmarks/fuse/{experiment}_seed{seed}_{fusion}.tsv"
    wildcard_constraints:
        experiment=fused_here(),
    conda:
        "../envs/compute.yaml"
    threads: 1
    resources:
        gpu=fusion_gpu,
        mem_mb=growing(4000),
        runtime=growing(240),
        device=config["device"],
        gpu_slots=config["gpu_slots"],
    params:
        networks=parent_networks_of,
        fusion=fusion_of,
        recipe=finetune_recipe_of,
        code=code_with_network("fuse"),
    script:
        "../scripts/fuse.py"
