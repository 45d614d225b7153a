# Tables and plots for people.
from machinery.finished import experiments_of_tables


rule collect_measurements:
    input:
        STUDY.all_measurements,
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
        experiments=lambda wildcards: experiments_of_tables(
            SETTINGS,
            STUDY.experiments,
            is_there,
            as_kept,
            stored=workflow.storage_settings.default_storage_provider is not None,
        ),
        code=STUDY.code("collect_measurements"),
    script:
        "../scripts/collect_measurements.py"


rule collect_results:
    input:
        measurements=STUDY.measurements,
        correlation=STUDY.correlation,
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
        code=STUDY.code("collect_results"),
    script:
        "../scripts/collect_results.py"


rule summarise:
    input:
        data=STUDY.data_file,
        measurements=STUDY.measurements,
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
        models=STUDY.models,
        metrics=STUDY.table_metrics,
        code=STUDY.code("summarise"),
    script:
        "../scripts/summarise.py"


rule plot:
    input:
        unpack(STUDY.plot_tables),
    output:
        report(
            "results/{experiment}/plots/{plot}.png",
            caption="report/plot.rst",
            category="{experiment}",
            labels=STUDY.plot_labels,
        ),
        "results/{experiment}/plots/{plot}.pdf",
    log:
        "logs/plot/{experiment}_{plot}.log",
    benchmark:
        "logs/benchmarks/plot/{experiment}_{plot}.tsv"
    conda:
        "../envs/tables.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        entry=STUDY.plot_entry,
        options=STUDY.plot_options,
        caption=STUDY.plot_caption,
        code=STUDY.code("plot"),
    script:
        "../scripts/plot.py"


rule tabulate_sweep:
    input:
        lambda wildcards: STUDY.measurements_of_sweep(wildcards.sweep),
    output:
        "results/{sweep}/sweep.csv",
    log:
        "logs/tabulate_sweep/{sweep}.log",
    benchmark:
        "logs/benchmarks/tabulate_sweep/{sweep}.tsv"
    localrule: True
    conda:
        "../envs/tables.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        points=lambda wildcards: STUDY.points(wildcards.sweep),
        axes=lambda wildcards: STUDY.axes(wildcards.sweep),
        code=STUDY.code("tabulate_sweep"),
    script:
        "../scripts/tabulate_sweep.py"


rule plot_sweep:
    input:
        "results/{sweep}/sweep.csv",
    output:
        report(
            "results/{sweep}/plots/sweep_{axis}.png",
            category="{sweep}",
            labels={"plot": "outcomes along {axis}"},
        ),
        "results/{sweep}/plots/sweep_{axis}.pdf",
    log:
        "logs/plot_sweep/{sweep}_{axis}.log",
    benchmark:
        "logs/benchmarks/plot_sweep/{sweep}_{axis}.tsv"
    localrule: True
    conda:
        "../envs/tables.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        axes=lambda wildcards: STUDY.axes(wildcards.sweep),
        code=STUDY.code("plot_sweep"),
    script:
        "../scripts/plot_sweep.py"


rule report:
    input:
        files=[file["path"] for file in STUDY.report_files()],
        pooled=STUDY.pooled_correlation(),
    output:
        "results/report.html",
    log:
        "logs/report.log",
    benchmark:
        "logs/benchmarks/report.tsv"
    localrule: True
    conda:
        "../envs/tables.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=growing(2000),
        runtime=growing(20),
    params:
        files=STUDY.report_labels(),
        sections=STUDY.report_sections(),
        accuracy_metrics=STUDY.accuracy_metrics_of_all(),
        configurations=STUDY.configurations(),
        logs=str(LOGS),
        code=STUDY.code("report"),
    script:
        "../scripts/report.py"
