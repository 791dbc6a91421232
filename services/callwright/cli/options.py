"""Options that several commands share, and how their defaults are found."""

import os
from pathlib import Path
from typing import Annotated

import typer

from callwright.store import Registry, Store

NameArgument = Annotated[str, typer.Argument(help="Model.")]
StoreOption = Annotated[str | None, typer.Option("--store", help="Object store URL; CALLWRIGHT_STORE when absent.")]
RootOption = Annotated[Path, typer.Option(help="Folder for scratch files.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
NamespaceOption = Annotated[
    str | None, typer.Option("--namespace", "-n", help="Namespace in the cluster; the context's own when absent.")
]
ContextOption = Annotated[str | None, typer.Option(help="Context of the kubeconfig; the current one when absent.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


def store_url(option: str | None = None, spec_store: str | None = None) -> str:
    """URL of the object store: the option, else the document's `spec.store`, else `CALLWRIGHT_STORE`, else a folder."""
    return option or spec_store or os.environ.get("CALLWRIGHT_STORE") or (Path.cwd() / ".callwright" / "store").as_uri()


def open_registry(store: str | None) -> Registry:
    """Return the models in the store that `--store` names, or in its default."""
    return Registry(Store.open(store_url(store)))
