"""Summarise one experiment over its seeds, as CSV and as a LaTeX table."""

from machinery import job

with job.running(snakemake) as running:
    from pathlib import Path

    import numpy as np

    from fusionscope.report.tables import read_tables, summary_latex, summary_table, write_table

    running.start_work()
    with np.load(snakemake.input.data) as data:
        train_size = len(data["train_labels"])
    summary = summary_table(read_tables(snakemake.input.measurements), train_size)
    write_table(summary, snakemake.output.table)
    name = snakemake.wildcards.experiment
    caption = f"{name}: mean and standard deviation over seeds. A star: some values are bounds."
    latex = summary_latex(summary, snakemake.params.models, caption.replace("_", r"\_"), f"tab:{name}")
    Path(snakemake.output.latex).write_text(latex)
