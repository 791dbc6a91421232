"""`callwright status [NAME]`: where the runs in a cluster stand; with --watch, drawn until the run has ended."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from callwright.cli import output
from callwright.cli.options import ContextOption, JsonOption, NamespaceOption
from callwright.errors import GateFailed, NotFound, StageFailed
from callwright.spec.status import FINAL, Status

if TYPE_CHECKING:
    from callwright.controller.cluster import Cluster

_LOOK_SECONDS = 2.0
_STAGES = (
    ("prepare", "Prepared"),
    ("train", "Trained"),
    ("merge", "Merged"),
    ("evaluate", "Evaluated"),
    ("canary", "Canary"),
    ("promote", "Promoted"),
    ("deploy", "Deployed"),
)
_MARKS = {"True": ("done", "green"), "False": ("failed", "red"), "Unknown": ("under way", "yellow")}


def status(
    name: Annotated[str | None, typer.Argument(help="FineTune; all of the namespace when absent.")] = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow the run to its end.")] = False,
    json: JsonOption = False,
) -> None:
    """Show how runs stand. Exits 1 when the run that was asked for has failed or was rejected."""
    from callwright.controller.cluster import FINE_TUNE, connect

    cluster, current = connect(context)
    namespace = namespace or current
    if name is None:
        found = cluster.find(FINE_TUNE, namespace)
        listed = [{"name": each["metadata"]["name"], **each.get("status", {})} for each in found]
        output.emit(json, listed, [_overview(listed)])
        if not all(map(is_looked_at, found)):
            output.note(nobody_looks(namespace))
        return
    if not is_looked_at(_found(cluster, namespace, name)):
        output.note(nobody_looks(namespace))
    looks = _looks(cluster, namespace, name)
    last = _follow(name, looks) if watch else next(looks)
    shown = {"name": name, **last.model_dump(mode="json", by_alias=True, exclude_none=True)}
    output.emit(json, shown, [] if watch else [_stages(name, last)])
    match last.phase:
        case "Failed":
            raise StageFailed(last.message or f"{name} has failed")
        case "Rejected":
            raise GateFailed(last.message or f"{name} was rejected")


def is_looked_at(document: dict[str, Any]) -> bool:
    """Return whether a controller has looked at the document as it is now, or says what keeps it from that."""
    from callwright.controller import transitions

    told = Status.model_validate(document.get("status") or {})
    ready, else_ready = told.condition("Ready"), transitions.judge(told, now="").condition("Ready")
    is_held_up = ready is not None and else_ready is not None and ready.reason != else_ready.reason
    return told.observed_generation == document["metadata"]["generation"] or is_held_up


def nobody_looks(namespace: str) -> str:
    """Return what to do about documents that no controller has looked at."""
    return (
        f"no controller has looked at it yet: does one run, and watch the namespace {namespace}? See `helm get values` "
        "of charts/callwright: controller.namespaces, controller.clusterWide"
    )


def _found(cluster: "Cluster", namespace: str, name: str) -> dict[str, Any]:
    from callwright.controller.cluster import FINE_TUNE

    found = cluster.get(FINE_TUNE, namespace, name)
    if found is None:
        raise NotFound(f"no FineTune {name} in the namespace {namespace}; see `callwright status`")
    return found


def _looks(cluster: "Cluster", namespace: str, name: str) -> Iterator[Status]:
    while True:
        found = _found(cluster, namespace, name)
        seen = Status.model_validate(found.get("status") or {})
        yield seen
        if seen.phase in FINAL and seen.observed_generation == found["metadata"]["generation"]:
            return
        time.sleep(_LOOK_SECONDS)


def _follow(name: str, looks: Iterator[Status]) -> Status:
    """Redraw the table at every look on a terminal; elsewhere print a line when something has changed."""
    seen = next(looks)
    if output.err.is_terminal:
        with Live(_stages(name, seen), console=output.err, auto_refresh=False) as live:
            for seen in looks:
                live.update(_stages(name, seen), refresh=True)
        return seen
    said = ""
    while True:
        line = " ".join(part for part in (seen.phase, seen.progress, _loss(seen), _first_line(seen.message)) if part)
        if line != said:
            output.note(f"{name}: {line}")
            said = line
        following = next(looks, None)
        if following is None:
            return seen
        seen = following


def _stages(name: str, seen: Status) -> RenderableType:
    table = output.table()
    for title, kind in _STAGES:
        condition = next((each for each in seen.conditions if each.type == kind), None)
        if kind == "Canary" and condition is None:
            continue  # most documents ask for none
        word, colour = _MARKS[condition.status] if condition else ("", "dim")
        detail = " ".join(part for part in (seen.progress, _loss(seen)) if part) if kind == "Trained" else ""
        if kind == "Evaluated" and seen.accuracy is not None:
            detail = f"accuracy {seen.accuracy:.1%}"
        table.add_row(
            Text(title), Text(word, style=colour), Text(detail or _first_line(condition.message if condition else None))
        )
    head = f"{name}: {seen.phase}" + (f", run {seen.run}" if seen.run else "")
    head += f", {seen.gpu_hours:.1f} GPU-hours" if seen.gpu_hours else ""
    head += f", in {seen.store}" if seen.store else ""
    return Group(Text(head, style="bold"), table, *([Text(seen.message)] if seen.message else []))


def _overview(found: list[dict[str, Any]]) -> Table:
    keys = ("name", "phase", "progress", "loss", "accuracy", "gpuHours", "version")
    table = output.table(*("GPU-HOURS" if key == "gpuHours" else key.upper() for key in keys))
    for each in found:
        table.add_row(*("" if each.get(key) is None else str(each[key]) for key in keys))
    return table


def _loss(seen: Status) -> str:
    return "" if seen.loss is None else f"loss {seen.loss:.3f}"


def _first_line(text: str | None) -> str:
    return (text or "").split("\n", 1)[0]
