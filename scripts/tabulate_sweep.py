"""Put the outcomes of all settings of a sweep into one table."""

from machinery import job

with job.running(snakemake) as running:
    from fusionscope.report.sweep_table import sweep_table
    from fusionscope.report.tables import read_tables, write_table

    running.start_work()
    params = snakemake.params
    write_table(sweep_table(read_tables(snakemake.input), params.points, params.axes), snakemake.output[0])
