"""Plot the accuracy of an experiment's parents and children."""

from machinery import job

with job.running(snakemake) as running:
    from fusionscope.report.plots.accuracy import draw
    from fusionscope.report.save import save_figure
    from fusionscope.report.tables import read_tables

    running.start_work()
    save_figure(draw(read_tables(snakemake.input)), snakemake.output)
