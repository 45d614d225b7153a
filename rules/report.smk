# Tables and plots for people.


rule collect_measurements:
    input:
        all_measurements,
    output:
        "results/measurements.csv",
    log:
        "logs/collect_measurements.log",
    benchmark:
        "logs/benchmarks/collect_measurements.tsv"
    localrule: True
    conda:
        "../envs/tables.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        code=code_of("collect_measurements"),
    script:
        "../scripts/collect_measurements.py"


rule collect_results:
    input:
        measurements=measurements_of,
        correlation=correlation_of,
    output:
        "results/{experiment}/results.csv",
    log:
        "logs/collect_results/{experiment}.log",
    benchmark:
        "logs/benchmarks/collect_results/{experiment}.tsv"
    localrule: True
    conda:
        "../envs/tables.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        code=code_of("collect_results"),
    script:
        "../scripts/collect_results.py"


rule summarise:
    input:
        data=data_file,
        measurements=measurements_of,
    output:
        table="results/{experiment}/summary.csv",
        latex="results/{experiment}/tables/summary.tex",
    log:
        "logs/summarise/{experiment}.log",
    benchmark:
        "logs/benchmarks/summarise/{experiment}.tsv"
    conda:
        "../envs/tables.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        models=lambda wildcards: models_of(wildcards.experiment),
        code=code_of("summarise"),
    script:
        "../scripts/summarise.py"


rule plot_learning_curves:
    input:
        learning_curves_of,
    output:
        report(
            "results/{experiment}/plots/learning_curves.png",
            category="{experiment}",
            labels={"plot": "learning curves of the parents"},
        ),
        "results/{experiment}/plots/learning_curves.pdf",
    log:
        "logs/plot_learning_curves/{experiment}.log",
    benchmark:
        "logs/benchmarks/plot_learning_curves/{experiment}.tsv"
    conda:
        "../envs/tables.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        code=code_of("plot_learning_curves"),
    script:
        "../scripts/plot_learning_curves.py"


rule plot_accuracy:
    input:
        measurements_of,
    output:
        report(
            "results/{experiment}/plots/accuracy.png",
            category="{experiment}",
            labels={"plot": "accuracy of parents and children"},
        ),
        "results/{experiment}/plots/accuracy.pdf",
    log:
        "logs/plot_accuracy/{experiment}.log",
    benchmark:
        "logs/benchmarks/plot_accuracy/{experiment}.tsv"
    conda:
        "../envs/tables.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        code=code_of("plot_accuracy"),
    script:
        "../scripts/plot_accuracy.py"


rule plot_metrics_against_accuracy:
    input:
        measurements_of,
    output:
        report(
            "results/{experiment}/plots/metrics_against_accuracy.png",
            category="{experiment}",
            labels={"plot": "each metric against accuracy"},
        ),
        "results/{experiment}/plots/metrics_against_accuracy.pdf",
    log:
        "logs/plot_metrics_against_accuracy/{experiment}.log",
    benchmark:
        "logs/benchmarks/plot_metrics_against_accuracy/{experiment}.tsv"
    conda:
        "../envs/tables.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        accuracy_metric=setting("accuracy_metric"),
        code=code_of("plot_metrics_against_accuracy"),
    script:
        "../scripts/plot_metrics_against_accuracy.py"


rule plot_spectral_density:
    input:
        densities_of,
    output:
        report(
            "results/{experiment}/plots/spectral_density.png",
            category="{experiment}",
            labels={"plot": "spectral density of the Hessian"},
        ),
        "results/{experiment}/plots/spectral_density.pdf",
    log:
        "logs/plot_spectral_density/{experiment}.log",
    benchmark:
        "logs/benchmarks/plot_spectral_density/{experiment}.tsv"
    conda:
        "../envs/tables.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        code=code_of("plot_spectral_density"),
    script:
        "../scripts/plot_spectral_density.py"


rule plot_connectivity:
    input:
        paths=connectivity_paths_of,
        measurements=measurements_of,
    output:
        report(
            "results/{experiment}/plots/connectivity.png",
            category="{experiment}",
            labels={"plot": "the line between the parents"},
        ),
        "results/{experiment}/plots/connectivity.pdf",
    log:
        "logs/plot_connectivity/{experiment}.log",
    benchmark:
        "logs/benchmarks/plot_connectivity/{experiment}.tsv"
    conda:
        "../envs/tables.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        code=code_of("plot_connectivity"),
    script:
        "../scripts/plot_connectivity.py"


rule plot_similarity:
    input:
        similarities_of,
    output:
        report(
            "results/{experiment}/plots/similarity.png",
            category="{experiment}",
            labels={"plot": "similarity of children to their parents"},
        ),
        "results/{experiment}/plots/similarity.pdf",
    log:
        "logs/plot_similarity/{experiment}.log",
    benchmark:
        "logs/benchmarks/plot_similarity/{experiment}.tsv"
    conda:
        "../envs/tables.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        code=code_of("plot_similarity"),
    script:
        "../scripts/plot_similarity.py"


rule plot_correlation:
    input:
        "results/{experiment}/correlation_space.csv",
    output:
        report(
            "results/{experiment}/plots/correlation.png",
            category="{experiment}",
            labels={"plot": "correlation of metrics with accuracy"},
        ),
        "results/{experiment}/plots/correlation.pdf",
    log:
        "logs/plot_correlation/{experiment}.log",
    benchmark:
        "logs/benchmarks/plot_correlation/{experiment}.tsv"
    conda:
        "../envs/tables.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        accuracy_metric=setting("accuracy_metric"),
        code=code_of("plot_correlation"),
    script:
        "../scripts/plot_correlation.py"
