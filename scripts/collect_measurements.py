"""Put the measurements of all experiments into one tidy table: those of this run, and of finished others."""

from machinery import job

with job.running(snakemake) as running:
    from fusionscope.measurement import COLUMNS
    from fusionscope.report.tables import joined, read_tables, read_tables_with, write_table

    running.start_work()
    tables = [read_tables(snakemake.input)]
    others = {name: kept for name, kept in snakemake.params.experiments.items() if kept}
    for name, kept in others.items():
        table = read_tables_with(COLUMNS, kept["files"])
        if table is None:
            running.log.warning("%s: left out, its files are of another layout; run it again", name)
        else:
            tables.append(table)
    write_table(joined(tables, list(snakemake.params.experiments)), snakemake.output[0])
