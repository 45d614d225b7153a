# Measures: of each model of each seed. What takes hours and what takes seconds are different rules.


rule measure_input:
    input:
        data=STUDY.data_file,
        weights="experiments/{experiment}/{experiment}_seed{seed}/{model}.pth",
    output:
        "results/{experiment}/seed{seed}/{model}/input_space.csv",
    log:
        "logs/measure_input/{experiment}_seed{seed}_{model}.log",
    benchmark:
        "logs/benchmarks/measure_input/{experiment}_seed{seed}_{model}.tsv"
    conda:
        "../envs/compute.yaml"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=growing(4000),
        runtime=growing(120),
        device=SETTINGS["device"],
        gpu_slots=SETTINGS["gpu_slots"],
    params:
        role=STUDY.role,
        network=STUDY.network,
        recipe=STUDY.setting("measurements", "input_space"),
        code=STUDY.code("measure_input"),
    script:
        "../scripts/measure_input.py"


rule measure_hessian:
    input:
        data=STUDY.data_file,
        weights="experiments/{experiment}/{experiment}_seed{seed}/{model}.pth",
    output:
        measurements="results/{experiment}/seed{seed}/{model}/hessian.csv",
        density="results/{experiment}/seed{seed}/{model}/hessian_spectral_density.csv",
    log:
        "logs/measure_hessian/{experiment}_seed{seed}_{model}.log",
    benchmark:
        "logs/benchmarks/measure_hessian/{experiment}_seed{seed}_{model}.tsv"
    conda:
        "../envs/compute.yaml"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=growing(8000),
        runtime=growing(720),
        device=SETTINGS["device"],
        gpu_slots=SETTINGS["gpu_slots"],
        batch_size=STUDY.setting("measurements", "batch_size"),
    params:
        role=STUDY.role,
        network=STUDY.network,
        recipe=STUDY.setting("measurements", "hessian"),
        code=STUDY.code("measure_hessian"),
    script:
        "../scripts/measure_hessian.py"


rule measure_scales:
    input:
        data=STUDY.data_file,
        weights="experiments/{experiment}/{experiment}_seed{seed}/{model}.pth",
    output:
        measurements="results/{experiment}/seed{seed}/{model}/scales.csv",
        search="results/{experiment}/seed{seed}/{model}/scale_search.csv",
    log:
        "logs/measure_scales/{experiment}_seed{seed}_{model}.log",
    benchmark:
        "logs/benchmarks/measure_scales/{experiment}_seed{seed}_{model}.tsv"
    conda:
        "../envs/compute.yaml"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=growing(8000),
        runtime=growing(720),
        device=SETTINGS["device"],
        gpu_slots=SETTINGS["gpu_slots"],
        batch_size=STUDY.setting("measurements", "batch_size"),
    params:
        role=STUDY.role,
        network=STUDY.network,
        recipe=STUDY.setting("measurements", "flatness"),
        code=STUDY.code("measure_scales"),
    script:
        "../scripts/measure_scales.py"


rule measure_complexity:
    input:
        data=STUDY.data_file,
        weights="experiments/{experiment}/{experiment}_seed{seed}/{model}.pth",
        origins=STUDY.origin_files,
        search=STUDY.scale_files,
    output:
        "results/{experiment}/seed{seed}/{model}/complexity.csv",
    log:
        "logs/measure_complexity/{experiment}_seed{seed}_{model}.log",
    benchmark:
        "logs/benchmarks/measure_complexity/{experiment}_seed{seed}_{model}.tsv"
    conda:
        "../envs/compute.yaml"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=growing(8000),
        runtime=growing(120),
        device=SETTINGS["device"],
        gpu_slots=SETTINGS["gpu_slots"],
        batch_size=STUDY.setting("measurements", "batch_size"),
    params:
        role=STUDY.role,
        network=STUDY.network,
        images=STUDY.setting("measurements", "flatness", "images"),
        entries=STUDY.complexity_measures,
        code=STUDY.code("measure_complexity"),
    script:
        "../scripts/measure_complexity.py"


rule measure_prediction:
    input:
        data=STUDY.data_file,
        weights="experiments/{experiment}/{experiment}_seed{seed}/{model}.pth",
        parents=STUDY.ensemble_files,
    output:
        "results/{experiment}/seed{seed}/{model}/prediction_space.csv",
    log:
        "logs/measure_prediction/{experiment}_seed{seed}_{model}.log",
    benchmark:
        "logs/benchmarks/measure_prediction/{experiment}_seed{seed}_{model}.tsv"
    conda:
        "../envs/compute.yaml"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=growing(4000),
        runtime=growing(60),
        device=SETTINGS["device"],
        gpu_slots=SETTINGS["gpu_slots"],
        batch_size=STUDY.setting("measurements", "batch_size"),
    params:
        role=STUDY.role,
        network=STUDY.network,
        parent_networks=STUDY.ensemble_networks,
        recipe=STUDY.setting("measurements", "prediction_space"),
        code=STUDY.code("measure_prediction"),
    script:
        "../scripts/measure_prediction.py"


rule measure_connectivity:
    input:
        data=STUDY.data_file,
        weights="experiments/{experiment}/{experiment}_seed{seed}/{model}.pth",
        aligned="experiments/{experiment}/{experiment}_seed{seed}/{model}_aligned.pth",
        parents=STUDY.parent_files,
    output:
        measurements="results/{experiment}/seed{seed}/{model}/connectivity_space.csv",
        path="results/{experiment}/seed{seed}/{model}/connectivity_path.csv",
        similarity="results/{experiment}/seed{seed}/{model}/similarity.csv",
        variance="results/{experiment}/seed{seed}/{model}/activation_variance.csv",
    log:
        "logs/measure_connectivity/{experiment}_seed{seed}_{model}.log",
    benchmark:
        "logs/benchmarks/measure_connectivity/{experiment}_seed{seed}_{model}.tsv"
    wildcard_constraints:
        model=STUDY.fusion_pattern(),
    conda:
        "../envs/compute.yaml"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=growing(4000),
        runtime=growing(240),
        device=SETTINGS["device"],
        gpu_slots=SETTINGS["gpu_slots"],
        batch_size=STUDY.setting("measurements", "batch_size"),
    params:
        role=STUDY.role,
        network=STUDY.network,
        parent_networks=STUDY.parent_networks_by_name,
        reference=STUDY.reference,
        repair_images=STUDY.repair_images,
        recipe=STUDY.setting("measurements", "connectivity"),
        code=STUDY.code("measure_connectivity"),
    script:
        "../scripts/measure_connectivity.py"


rule measure_pair:
    input:
        data=STUDY.data_file,
        parents=STUDY.parent_files,
    output:
        "results/{experiment}/seed{seed}/pair_space.csv",
    log:
        "logs/measure_pair/{experiment}_seed{seed}.log",
    benchmark:
        "logs/benchmarks/measure_pair/{experiment}_seed{seed}.tsv"
    conda:
        "../envs/compute.yaml"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=growing(4000),
        runtime=growing(60),
        device=SETTINGS["device"],
        gpu_slots=SETTINGS["gpu_slots"],
        batch_size=STUDY.setting("measurements", "batch_size"),
    params:
        stream=STUDY.stream,
        parent_networks=STUDY.parent_networks,
        recipe=STUDY.setting("measurements", "pair_space"),
        code=STUDY.code("measure_pair"),
    script:
        "../scripts/measure_pair.py"


rule measure_alignment:
    input:
        data=STUDY.data_file,
        parents=STUDY.parent_files,
        aligned="experiments/{experiment}/{experiment}_seed{seed}/{model}_aligned.pth",
        alignment="experiments/{experiment}/{experiment}_seed{seed}/{model}_alignment.csv",
    output:
        measurements="results/{experiment}/seed{seed}/{model}/pair_space.csv",
        distances="results/{experiment}/seed{seed}/{model}/weight_distance.csv",
    log:
        "logs/measure_alignment/{experiment}_seed{seed}_{model}.log",
    benchmark:
        "logs/benchmarks/measure_alignment/{experiment}_seed{seed}_{model}.tsv"
    wildcard_constraints:
        model=STUDY.fusion_pattern(),
    conda:
        "../envs/compute.yaml"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=growing(4000),
        runtime=growing(60),
        device=SETTINGS["device"],
        gpu_slots=SETTINGS["gpu_slots"],
        batch_size=STUDY.setting("measurements", "batch_size"),
    params:
        stream=STUDY.stream,
        parent_networks=STUDY.parent_networks_by_name,
        reference=STUDY.reference,
        images=STUDY.setting("measurements", "pair_space", "images"),
        code=STUDY.code("measure_alignment"),
    script:
        "../scripts/measure_alignment.py"
