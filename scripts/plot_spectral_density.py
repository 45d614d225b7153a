"""Plot the spectral density of the Hessian for each model of an experiment."""

from machinery import job

with job.running(snakemake) as running:
    from fusionscope.report.plots.spectral_density import draw
    from fusionscope.report.save import save_figure
    from fusionscope.report.tables import read_tables

    running.start_work()
    save_figure(draw(read_tables(snakemake.input)), snakemake.output)
