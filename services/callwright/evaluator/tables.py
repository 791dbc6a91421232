"""Reports side by side as a table for a terminal.

Knows rich; the words come from `callwright.evaluator.figures`.
"""

from collections.abc import Mapping

from rich.table import Table

from callwright.evaluator import figures
from callwright.evaluator.report import Report


def comparison(reports: Mapping[str, Report], *, title: str | None = None) -> Table:
    """Make a table with a column for each report (by its heading) and a row for each measure that any of them has."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for heading in reports:
        table.add_column(heading, justify="right")
    for line in figures.brief(reports):
        table.add_row(line.words, *(cell or "–" for cell in line.cells))
    return table
