"""Plot loss and accuracy on the way between an experiment's parents, for each of its fusions."""

from machinery import job

with job.running(snakemake) as running:
    from fusionscope.report.plots.connectivity import draw
    from fusionscope.report.save import save_figure
    from fusionscope.report.tables import read_tables

    running.start_work()
    paths, measurements = (read_tables(getattr(snakemake.input, name)) for name in ("paths", "measurements"))
    save_figure(draw(paths, measurements), snakemake.output)
