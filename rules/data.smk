# Data sets: the only stage that may use the network.


rule prepare_data:
    output:
        "data/{dataset}.npz",
    log:
        "logs/prepare_data/{dataset}.log",
    benchmark:
        "logs/benchmarks/prepare_data/{dataset}.tsv"
    wildcard_constraints:
        dataset=r"\w+",
    localrule: True
    conda:
        "../envs/compute.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=growing(4000),
        runtime=growing(60),
        data_dir=config["data_dir"],  # where the same pictures lie changes no result: no parameter
    params:
        source=data_source,
        code=code_of("prepare_data"),
    script:
        "../scripts/prepare_data.py"
