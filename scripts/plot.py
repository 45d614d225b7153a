"""Draw one plot of an experiment: the tables that it shows go to the function that its entry names."""

from machinery import job

with job.running(snakemake) as running:
    from fusionscope.registry import load_own
    from fusionscope.report.save import save_figure
    from fusionscope.report.tables import read_tables

    draw = load_own(snakemake.params.entry, "plot")
    running.start_work()
    tables = {kind: read_tables(paths) for kind, paths in snakemake.input.items()}
    save_figure(draw(**tables, **snakemake.params.options), snakemake.output)
