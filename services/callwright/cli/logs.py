"""`callwright logs NAME`: the log of a run's stage in the cluster."""

from typing import Annotated, Any, Literal

import typer

from callwright.cli import output
from callwright.cli.options import ContextOption, NamespaceOption
from callwright.errors import NotFound

Stage = Literal["prepare", "train", "merge", "evaluate"]
_MAIN = {"prepare": "prepare", "train": "submitter", "merge": "merge", "evaluate": "evaluate"}
"""The container of each stage that holds its log."""


def logs(
    name: Annotated[str, typer.Argument(help="FineTune.")],
    stage: Annotated[Stage | None, typer.Option(help="Stage; the newest that has begun when absent.")] = None,
    container: Annotated[str | None, typer.Option(help="Another container of the stage, such as `engine`.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    tail: Annotated[int, typer.Option(min=0, help="Lines from the end to begin with.")] = 200,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
) -> None:
    """Print the log of a stage: of its newest pod, in the cluster."""
    from callwright.controller.cluster import FINE_TUNE, POD, connect
    from callwright.controller.desired import FINE_TUNE_LABEL, RUN_LABEL, STAGE_LABEL

    cluster, current = connect(context)
    namespace = namespace or current
    found = cluster.get(FINE_TUNE, namespace, name)
    if found is None:
        raise NotFound(f"no FineTune {name} in the namespace {namespace}; see `callwright status`")
    labels = {FINE_TUNE_LABEL: name, RUN_LABEL: found.get("status", {}).get("run") or "none"}
    pods = cluster.find(POD, namespace, labels=labels | ({STAGE_LABEL: stage} if stage else {}))
    chosen = [
        (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"], wanted)
        for pod in pods
        for wanted in [container or _MAIN.get(pod["metadata"]["labels"].get(STAGE_LABEL, ""), "")]
        if wanted in _containers(pod)
    ]
    if not chosen:
        where = f"the stage {stage}" if stage else "this run"
        raise NotFound(f"no pod of {where} of {name} is there; `callwright status {name}` says how it stands")
    _, pod_name, wanted = max(chosen)
    output.note(f"pod {pod_name}, container {wanted}")
    for line in cluster.log(namespace, pod_name, wanted, follow=follow, lines=tail):
        typer.echo(output.visible(line))


def _containers(pod: dict[str, Any]) -> set[str]:
    return {each["name"] for each in [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]}
