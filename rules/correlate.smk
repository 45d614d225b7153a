# Correlations of every metric with accuracy, over the seeds.


rule correlate:
    input:
        STUDY.measurements,
    output:
        "results/{experiment}/correlation_space.csv",
    log:
        "logs/correlate/{experiment}.log",
    benchmark:
        "logs/benchmarks/correlate/{experiment}.tsv"
    conda:
        "../envs/tables.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        accuracy_metric=STUDY.setting("accuracy_metric"),
        code=STUDY.code("correlate"),
    script:
        "../scripts/correlate.py"


rule correlate_pooled:
    input:
        STUDY.correlated_measurements,
    output:
        "results/correlation_space.csv",
    log:
        "logs/correlate_pooled.log",
    benchmark:
        "logs/benchmarks/correlate_pooled.tsv"
    conda:
        "../envs/tables.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        accuracy_metric=STUDY.accuracy_metrics(),
        sweeps=STUDY.settings_of_sweeps(),
        code=STUDY.code("correlate_pooled"),
    script:
        "../scripts/correlate_pooled.py"
