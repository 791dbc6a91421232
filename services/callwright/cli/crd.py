"""`callwright crd`: the FineTune CustomResourceDefinition, printed; or every generated file of a checkout, written."""

from pathlib import Path
from typing import Annotated

import typer
import yaml

from callwright.cli import output
from callwright.server.config import RAY_SERVE_ENV
from callwright.spec import crd as definition
from callwright.spec import generated


def crd(
    write: Annotated[bool, typer.Option("--write", help="Write every generated file of a checkout instead.")] = False,
    root: Annotated[Path, typer.Option(help="The checkout.")] = Path(),
) -> None:
    """Print the CustomResourceDefinition that `callwright.spec` defines."""
    if not write:
        typer.echo(definition.render(), nl=False)
        return
    files = generated.files(root) | {root / "charts/serving/files/ray-serve-env.yaml": ray_serve_env()}
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        output.note(f"wrote {path}")


def ray_serve_env() -> str:
    """Ray Serve's settings of `callwright.server.config` as the `env` of a container, for the chart `serving`."""
    env = [{"name": name, "value": value} for name, value in RAY_SERVE_ENV.items()]
    return "# How requests reach replicas: see callwright.server.ingress; written by `make crd`.\n" + yaml.safe_dump(
        env
    )
