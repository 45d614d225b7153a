# Data sets: the only stage that may use the network.


rule prepare_data:
    output:
        "data/{dataset}.npz",
    log:
        "logs/prepare_data/{dataset}.log",
    benchmark:
        "logs/benchmarks/prepare_data/{dataset}.tsv"
    wildcard_constraints:
        dataset=r"[\w.~+-]+",  # also the name of a setting of a sweep
    localrule: True
    conda:
        "../envs/compute.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=growing(4000),
        runtime=growing(60),
        data_dir=SETTINGS["data_dir"],  # where the same images lie changes no result: no parameter
    params:
        source=STUDY.data_source,
        code=STUDY.code("prepare_data"),
    script:
        "../scripts/prepare_data.py"
