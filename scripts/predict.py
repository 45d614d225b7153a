"""Find out which properties of parents and pairs tell how good their fusion is."""

from machinery import job

with job.running(snakemake) as running:
    from fusionscope.report.predictors import predictor_table
    from fusionscope.report.tables import read_tables, write_table

    running.start_work()
    measurements = read_tables(snakemake.input)
    table = predictor_table(measurements, snakemake.params.points, snakemake.wildcards.whole)
    write_table(table, snakemake.output[0])
