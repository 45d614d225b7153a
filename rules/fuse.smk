# Children: each fusion of the parents of each seed.


rule fuse:
    input:
        data=STUDY.data_file,
        parents=STUDY.parent_files,
    output:
        weights="experiments/{experiment}/{experiment}_seed{seed}/{fusion}.pth",
        aligned="experiments/{experiment}/{experiment}_seed{seed}/{fusion}_aligned.pth",
        alignment="experiments/{experiment}/{experiment}_seed{seed}/{fusion}_alignment.csv",
    log:
        "logs/fuse/{experiment}_seed{seed}_{fusion}.log",
    benchmark:
        "logs/benchmarks/fuse/{experiment}_seed{seed}_{fusion}.tsv"
    wildcard_constraints:
        experiment=STUDY.fused_pattern(),
    conda:
        "../envs/compute.yaml"
    threads: 1
    resources:
        gpu=fusion_gpu,
        mem_mb=growing(4000),
        runtime=growing(240),
        device=SETTINGS["device"],
        gpu_slots=SETTINGS["gpu_slots"],
    params:
        role=STUDY.role,
        networks=STUDY.parent_networks,
        fusion=STUDY.fusion,
        recipe=STUDY.finetune_recipe,
        code=STUDY.code("fuse"),
    script:
        "../scripts/fuse.py"
