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
        mem_mb=4000,
        runtime=120,
        device=config["device"],
    params:
        network=network_of,
        recipe=setting("measurements", "input_space"),
        code=code_of("measure_input"),
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
        mem_mb=8000,
        runtime=720,
        device=config["device"],
        batch_size=batch_size_of,
    params:
        network=network_of,
        hessian=setting("measurements", "hessian"),
        flatness=setting("measurements", "flatness"),
        code=code_of("measure_parameter"),
    script:
        "../scripts/measure_parameter.py"


rule measure_prediction:
    input:
        data=data_file,
        weights="experiments/{experiment}/{experiment}_seed{seed}/{model}.pth",
        parents=parents_of,
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
        mem_mb=4000,
        runtime=60,
        device=config["device"],
        batch_size=batch_size_of,
    params:
        network=network_of,
        recipe=setting("measurements", "prediction_space"),
        code=code_of("measure_prediction"),
    script:
        "../scripts/measure_prediction.py"
