"""One page with all that a run has made, which opens from disk without a network."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import itables
import itables.javascript
import itables.options
import jinja2
import numpy as np
import pandas as pd
from PIL import Image

ROWS_SHOWN = 25
TEMPLATE = "page.html.jinja"
DIGITS = 6  # significant, of numbers in the table
WIDE = 1800  # pixels; a figure of more is not readable in half a page
COLOURS = 256  # of a figure in the page: a third of the bytes, and nobody sees the difference
TABLE_COLUMNS = ["experiment", "seed", "model", "space", "metric", "value", "std_error", "censored", "reason"]


def page(sections: Sequence[Mapping[str, Any]], pooled: Sequence[str], provenance: Mapping[str, Any]) -> str:
    """The page as HTML.

    `sections`: as page.section.section makes them, one an experiment; `pooled`: sentences about all of them;
    `provenance`: made (when), facts (name and value), rules (name -> provenance.times_by_rule) and
    configurations (name -> text).
    """
    templates = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=templates, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.get_template(TEMPLATE)
    return template.render(
        sections=[{**part, "figures": [embedded(figure) for figure in part["figures"]]} for part in sections],
        pooled=pooled,
        table=measurements_table(pd.concat([part["measurements"] for part in sections])),
        provenance=provenance,
    )


def embedded(figure: Mapping[str, str]) -> dict[str, object]:
    """A figure whose `file`, a PNG, became a part of the page."""
    with Image.open(figure["file"]) as image:
        wide, png = image.width > WIDE, io.BytesIO()
        image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(png, "PNG", optimize=True)
    source = "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
    return {**figure, "source": source, "wide": wide}


def measurements_table(measurements: pd.DataFrame) -> str:
    """All rows, to be sorted, filtered and copied: a script and the table, as HTML."""
    table = measurements[TABLE_COLUMNS].copy()
    for column in ("value", "std_error"):
        table[column] = [f"{number:.{DIGITS}g}" if np.isfinite(number) else "" for number in table[column]]
    table["reason"] = table.reason.fillna("")
    loader = itables.javascript.generate_init_offline_itables_html(itables.options.dt_bundle)
    return loader + itables.to_html_datatable(
        table,
        connected=False,
        showIndex=False,
        maxBytes=0,
        lengthMenu=[ROWS_SHOWN, 100, 1000],
        buttons=["copyHtml5", "csvHtml5"],
        column_filters="header",
        table_id="measurements",
        classes="display nowrap compact",
    )
