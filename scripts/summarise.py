"""Summarise one experiment over its seeds, as CSV and as a LaTeX table."""

from machinery import job

with job.running(snakemake) as running:
    from fusionscope.prepared import read_arrays
    from fusionscope.report.latex import chosen, summary_caption, summary_latex
    from fusionscope.report.summary import summary_table
    from fusionscope.report.tables import read_tables, write_table, write_text

    running.start_work()
    (train_labels,) = read_arrays(snakemake.input.data, ["train_labels"])
    train_size = len(train_labels)
    summary = summary_table(read_tables(snakemake.input.measurements), train_size)
    write_table(summary, snakemake.output.table)
    name = snakemake.wildcards.experiment
    summary = chosen(summary, snakemake.params.metrics, name)
    latex = summary_latex(summary, snakemake.params.models, summary_caption(name), f"tab:{name}")
    write_text(latex, snakemake.output.latex)
