"""`callwright crd`: the FineTune CustomResourceDefinition, printed or written to where the charts ship it."""

from pathlib import Path
from typing import Annotated

import typer

from callwright.cli import output


def crd(
    write: Annotated[bool, typer.Option("--write", help="Write every generated file of a checkout instead.")] = False,
    root: Annotated[Path, typer.Option(help="The checkout.")] = Path(),
) -> None:
    """Print the CustomResourceDefinition that `callwright.spec` defines."""
    from callwright.spec import crd as definition
    from callwright.spec import generated

    if not write:
        typer.echo(definition.render(), nl=False)
        return
    for path, text in generated.files(root).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        output.note(f"wrote {path}")
