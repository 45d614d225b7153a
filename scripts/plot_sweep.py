"""Draw the outcomes of a sweep along one of its axes."""

from machinery import job

with job.running(snakemake) as running:
    from fusionscope.report.plots.sweep import draw
    from fusionscope.report.save import save_figure
    from fusionscope.report.tables import read_sweep

    running.start_work()
    axes, wildcards = snakemake.params.axes, snakemake.wildcards
    figure = draw(read_sweep(snakemake.input[0], axes), wildcards.axis, axes, wildcards.sweep)
    save_figure(figure, snakemake.output)
