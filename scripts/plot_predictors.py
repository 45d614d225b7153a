"""Draw which properties of parents and pairs go with one outcome of their fusions."""

from machinery import job

with job.running(snakemake) as running:
    from fusionscope.report.plots.predictors import draw
    from fusionscope.report.save import save_figure
    from fusionscope.report.tables import read_table

    running.start_work()
    figure = draw(read_table(snakemake.input[0]), snakemake.wildcards.outcome)
    save_figure(figure, snakemake.output)
