"""Draw one plot of an experiment: the tables that it shows go to the function that its entry names."""

from machinery import job

with job.running(snakemake) as running:
    from fusionscope.registry import load_own
    from fusionscope.report.plot_inputs import read_input
    from fusionscope.report.save import save_figure

    draw = load_own(snakemake.params.entry, "plot")
    running.start_work()
    name = snakemake.wildcards.experiment
    inputs = {kind: read_input(kind, paths, name) for kind, paths in snakemake.input.items()}
    save_figure(draw(**inputs, **snakemake.params.options), snakemake.output)
