# Measures: each model of each seed, one job a space.


rule measure_input:
    input:
        data=data_file,
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
        device=config["device"],
        gpu_slots=config["gpu_slots"],
    params:
        network=network_of,
        recipe=setting("measurements", "input_space"),
        code=code_with_network("measure_input"),
    script:
        "../scripts/measure_input.py"


rule measure_parameter:
    input:
        data=data_file,
        weights="experiments/{experiment}/{experiment}_seed{seed}/{model}.pth",
        origins=origins_of,
    output:
        measurements="results/{experiment}/seed{seed}/{model}/parameter_space.csv",
        density="results/{experiment}/seed{seed}/{model}/hessian_spectral_density.csv",
    log:
        "logs/measure_parameter/{experiment}_seed{seed}_{model}.log",
    benchmark:
        "logs/benchmarks/measure_parameter/{experiment}_seed{seed}_{model}.tsv"
    conda:
        "../envs/compute.yaml"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=growing(8000),
        runtime=growing(720),
        device=config["device"],
        gpu_slots=config["gpu_slots"],
        batch_size=batch_size_of,
    params:
        network=network_of,
        hessian=setting("measurements", "hessian"),
        flatness=setting("measurements", "flatness"),
        complexity=setting("measurements", "complexity"),
        code=code_with_network("measure_parameter"),
    script:
        "../scripts/measure_parameter.py"


rule measure_prediction:
    input:
        data=data_file,
        weights="experiments/{experiment}/{experiment}_seed{seed}/{model}.pth",
        parents=ensemble_of,
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
        device=config["device"],
        gpu_slots=config["gpu_slots"],
        batch_size=batch_size_of,
    params:
        network=network_of,
        parent_networks=ensemble_networks_of,
        recipe=setting("measurements", "prediction_space"),
        code=code_with_network("measure_prediction"),
    script:
        "../scripts/measure_prediction.py"


rule measure_connectivity:
    input:
        data=data_file,
        weights="experiments/{experiment}/{experiment}_seed{seed}/{model}.pth",
        aligned="experiments/{experiment}/{experiment}_seed{seed}/{model}_aligned.pth",
        parents=parents_of,
    output:
        measurements="results/{experiment}/seed{seed}/{model}/connectivity_space.csv",
        path="results/{experiment}/seed{seed}/{model}/connectivity_path.csv",
        similarity="results/{experiment}/seed{seed}/{model}/similarity.csv",
    log:
        "logs/measure_connectivity/{experiment}_seed{seed}_{model}.log",
    benchmark:
        "logs/benchmarks/measure_connectivity/{experiment}_seed{seed}_{model}.tsv"
    wildcard_constraints:
        model=any_of(FUSIONS),
    conda:
        "../envs/compute.yaml"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=growing(4000),
        runtime=growing(240),
        device=config["device"],
        gpu_slots=config["gpu_slots"],
        batch_size=batch_size_of,
    params:
        network=network_of,
        parent_networks=parent_networks_by_name,
        reference=lambda wildcards: reference_of(wildcards.experiment, wildcards.model),
        repair_images=repair_images_of,
        recipe=setting("measurements", "connectivity"),
        code=code_with_network("measure_connectivity"),
    script:
        "../scripts/measure_connectivity.py"
