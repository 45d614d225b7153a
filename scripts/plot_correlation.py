"""Plot the correlation of each metric with accuracy as a heat map."""

from machinery import job

with job.running(snakemake) as running:
    import pandas as pd

    from fusionscope.report.plots.correlation import draw
    from fusionscope.report.save import save_figure

    running.start_work()
    figure = draw(pd.read_csv(snakemake.input[0]), snakemake.params.accuracy_metric)
    save_figure(figure, snakemake.output)
