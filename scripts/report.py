"""Write the page for people: what was found, figures, pairs, all numbers, and how they came about."""

from pathlib import Path

from machinery import job

with job.running(snakemake) as running:
    from fusionscope.report.page.section import pooled_findings, section
    from fusionscope.report.page.sweep_section import sweep_section
    from fusionscope.report.page.write import page
    from fusionscope.report.tables import write_text
    from machinery.provenance import facts_of_page

    running.start_work()
    params = snakemake.params
    files = [{**told, "path": path} for told, path in zip(params.files, snakemake.input.files, strict=True)]
    of_section = {name: [file for file in files if file["section"] == name] for name in params.sections}
    sections = [
        sweep_section(name, of_section[name], axes)
        if axes
        else section(name, of_section[name], params.accuracy_metrics[name])
        for name, axes in params.sections.items()
    ]
    pooled = pooled_findings(snakemake.input.pooled, params.accuracy_metrics)
    facts = facts_of_page(params.logs, Path(__file__).parent) | {"configurations": params.configurations}
    write_text(page(sections, pooled, facts), snakemake.output[0])
