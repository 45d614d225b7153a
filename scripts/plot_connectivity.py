"""Plot loss and accuracy on the way between an experiment's parents, for each of its fusions."""

import job

with job.running(snakemake) as running:
    from fusionscope.plots import connectivity, save_figure
    from fusionscope.tables import read_tables

    running.start_work()
    paths, measurements = (read_tables(getattr(snakemake.input, name)) for name in ("paths", "measurements"))
    save_figure(connectivity(paths, measurements), snakemake.output)
