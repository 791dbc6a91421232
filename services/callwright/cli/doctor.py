"""`callwright doctor`: what a cluster lacks for runs, with the command that mends it."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from callwright.cli import output
from callwright.cli.options import ContextOption, JsonOption, NamespaceOption
from callwright.errors import StageFailed


def doctor(
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    store: Annotated[
        str | None, typer.Option(envvar="CALLWRIGHT_STORE", help="Object store URL to try, with the credentials here.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Examine cluster, kinds, operators, rights, GPUs and store. Exits 1 when something that runs need is missing."""
    from callwright.controller.cluster import connect
    from callwright.controller.doctor import examine

    cluster, current = connect(context)
    findings = list(examine(cluster, namespace or current, store=store))
    table = output.table()
    for each in findings:
        word, colour = ("missing", "red") if each.failed else ("note", "yellow") if each.mend else ("ok", "green")
        table.add_row(Text(word, style=colour), Text(each.what), Text(each.found))
        if each.mend:
            table.add_row("", "", Text(each.mend, style="dim"))
    output.emit(json, [asdict(each) | {"failed": each.failed} for each in findings], [table])
    if failed := [each.what for each in findings if each.failed]:
        raise StageFailed(f"runs cannot be carried out here: {', '.join(failed)}")
