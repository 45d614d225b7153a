"""Write one experiment's measurements and correlations in the study's own layout."""

from machinery import job

with job.running(snakemake) as running:
    import pandas as pd

    from fusionscope.report.results import results_table
    from fusionscope.report.tables import read_tables, write_table

    running.start_work()
    correlation = pd.read_csv(snakemake.input.correlation[0]) if snakemake.input.correlation else None
    results = results_table(read_tables(snakemake.input.measurements), correlation)
    write_table(results, snakemake.output[0])
