# Parents: the networks of a seed, alike but for their initial weights, the order of the images and, if
# wished, their widths.


rule train:
    input:
        data=STUDY.data_file,
    output:
        weights="experiments/{experiment}/{experiment}_seed{seed}/parent_{parent}.pth",
        initial="experiments/{experiment}/{experiment}_seed{seed}/parent_{parent}_initial_weights.pth",
        curve="experiments/{experiment}/{experiment}_seed{seed}/parent_{parent}_learning_curve.csv",
    log:
        "logs/train/{experiment}_seed{seed}_parent_{parent}.log",
    benchmark:
        "logs/benchmarks/train/{experiment}_seed{seed}_parent_{parent}.tsv"
    wildcard_constraints:
        experiment=STUDY.trained_pattern(),
    conda:
        "../envs/compute.yaml"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=growing(4000),
        runtime=growing(720),
        device=SETTINGS["device"],
        gpu_slots=SETTINGS["gpu_slots"],
    params:
        role=STUDY.role,
        network=STUDY.trained_network,
        recipe=STUDY.setting("training"),
        code=STUDY.code("train"),
    script:
        "../scripts/train.py"
