"""Plot each metric of an experiment against accuracy."""

from machinery import job

with job.running(snakemake) as running:
    from fusionscope.report.plots import metrics_against_accuracy, save_figure
    from fusionscope.report.tables import read_tables

    running.start_work()
    figure = metrics_against_accuracy(read_tables(snakemake.input), snakemake.params.accuracy_metric)
    save_figure(figure, snakemake.output)
