"""Plot the accuracy of an experiment's parents and children."""

import job

with job.running(snakemake) as running:
    from fusionscope.plots import accuracies, save_figure
    from fusionscope.tables import read_tables

    running.start_work()
    save_figure(accuracies(read_tables(snakemake.input)), snakemake.output)
