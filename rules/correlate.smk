# Correlations of every metric with accuracy, over the seeds; and what tells how good a fusion will be.


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


rule predict:
    input:
        STUDY.measurements_of_whole,
    output:
        "results/{whole}/predictors.csv",
    log:
        "logs/predict/{whole}.log",
    benchmark:
        "logs/benchmarks/predict/{whole}.tsv"
    conda:
        "../envs/tables.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        points=lambda wildcards: STUDY.points(wildcards.whole),
        code=STUDY.code("predict"),
    script:
        "../scripts/predict.py"


rule plot_predictors:
    input:
        "results/{whole}/predictors.csv",
    output:
        report(
            "results/{whole}/plots/predictors_{outcome}.png",
            category="{whole}",
            labels={"plot": "what goes with {outcome}"},
        ),
        "results/{whole}/plots/predictors_{outcome}.pdf",
    log:
        "logs/plot_predictors/{whole}_{outcome}.log",
    benchmark:
        "logs/benchmarks/plot_predictors/{whole}_{outcome}.tsv"
    wildcard_constraints:
        outcome=r"[a-z_]+",
    localrule: True
    conda:
        "../envs/tables.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        code=STUDY.code("plot_predictors"),
    script:
        "../scripts/plot_predictors.py"
