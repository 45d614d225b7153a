"""Write the page for people: what was found, figures, pairs, all numbers, and how they came about."""

from pathlib import Path

from machinery import job

with job.running(snakemake) as running:
    from fusionscope.report.page.section import pooled_findings, section
    from fusionscope.report.page.write import page
    from fusionscope.report.tables import write_text
    from machinery.provenance import facts_of_page

    running.start_work()
    params = snakemake.params
    files = [{**told, "path": path} for told, path in zip(params.files, snakemake.input.files, strict=True)]
    sections = [
        section(name, [file for file in files if file["experiment"] == name], metric)
        for name, metric in params.accuracy_metrics.items()
    ]
    pooled = pooled_findings(snakemake.input.pooled, params.accuracy_metrics)
    facts = facts_of_page(params.logs, Path(__file__).parent) | {"configurations": params.configurations}
    write_text(page(sections, pooled, facts), snakemake.output[0])
