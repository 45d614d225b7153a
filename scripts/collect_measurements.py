"""Put the measurements of all experiments into one tidy table."""

from machinery import job

with job.running(snakemake) as running:
    from fusionscope.report.tables import read_tables, write_table

    running.start_work()
    write_table(read_tables(snakemake.input), snakemake.output[0])
