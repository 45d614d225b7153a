# Children: each fusion of each pair of parents.


rule fuse:
    input:
        data=data_file,
        parents=expand(
            "experiments/{experiment}/{experiment}_seed{seed}/{parent}.pth",
            parent=PARENTS,
            allow_missing=True,
        ),
    output:
        weights="experiments/{experiment}/{experiment}_seed{seed}/{fusion}.pth",
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
        gpu=0,
        mem_mb=4000,
        runtime=60,
    params:
        network=network_of,
        fusion=fusion_of,
        code=code_of("fuse"),
    script:
        "../scripts/fuse.py"
