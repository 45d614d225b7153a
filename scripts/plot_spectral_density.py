"""Plot the spectral density of the Hessian for each model of an experiment."""

from machinery import job

with job.running(snakemake) as running:
    from fusionscope.report.plots import save_figure, spectral_densities
    from fusionscope.report.tables import read_tables

    running.start_work()
    save_figure(spectral_densities(read_tables(snakemake.input)), snakemake.output)
