"""Correlate every metric with accuracy, over the seeds of one experiment."""

from machinery import job

with job.running(snakemake) as running:
    from fusionscope.report.correlations import correlation_table
    from fusionscope.report.tables import read_tables, write_table

    running.start_work()
    measurements = read_tables(snakemake.input)
    write_table(correlation_table(measurements, snakemake.params.accuracy_metric), snakemake.output[0])
