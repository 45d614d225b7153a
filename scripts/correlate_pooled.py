"""Correlate every metric with accuracy over all experiments and models, stratified by both."""

from machinery import job

with job.running(snakemake) as running:
    from fusionscope.report.correlations import correlation_table
    from fusionscope.report.pooled import ALL_EXPERIMENTS
    from fusionscope.report.tables import read_tables, write_table

    running.start_work()
    table = correlation_table(
        read_tables(snakemake.input),
        snakemake.params.accuracy_metric,
        pooled_as=ALL_EXPERIMENTS,
        sweeps=snakemake.params.sweeps,
    )
    write_table(table, snakemake.output[0])
