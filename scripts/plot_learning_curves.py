"""Plot the learning curves of an experiment's parents."""

from machinery import job

with job.running(snakemake) as running:
    from fusionscope.report.plots import learning_curves, save_figure
    from fusionscope.report.tables import read_tables

    running.start_work()
    save_figure(learning_curves(read_tables(snakemake.input)), snakemake.output)
