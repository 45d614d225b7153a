"""Write one experiment's measurements and correlations in the study's own layout."""

from machinery import job

with job.running(snakemake) as running:
    from fusionscope.report.results import results_table
    from fusionscope.report.tables import read_table, read_tables, write_table

    running.start_work()
    correlation = read_table(snakemake.input.correlation[0]) if snakemake.input.correlation else None
    results = results_table(read_tables(snakemake.input.measurements), correlation)
    write_table(results, snakemake.output[0])
