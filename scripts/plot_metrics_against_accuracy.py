"""Plot each metric of an experiment against accuracy."""

from machinery import job

with job.running(snakemake) as running:
    from fusionscope.report.plots.metrics_against_accuracy import draw
    from fusionscope.report.save import save_figure
    from fusionscope.report.tables import read_tables

    running.start_work()
    figure = draw(read_tables(snakemake.input), snakemake.params.accuracy_metric)
    save_figure(figure, snakemake.output)
