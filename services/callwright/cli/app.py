"""`callwright …`: registers the commands and turns what they raise into exit codes, without tracebacks.

Each command is a module of its own that imports its room inside the function, so that `--help` is fast.
"""

import io
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from callwright import __version__
from callwright.cli import (
    chat,
    crd,
    data,
    demo,
    doctor,
    evaluate,
    logs,
    merge,
    models,
    output,
    promote,
    run,
    serve,
    status,
    submit,
    train,
)
from callwright.errors import CallwrightError, Interrupted

_RESUMABLE = ("run", "train", "evaluate")
"""Commands that resume after an interruption."""


class _Commands(TyperGroup):
    """Prints how to resume a command after Ctrl-C, where it can be resumed. Typer prints nothing."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            if ctx.invoked_subcommand not in _RESUMABLE:
                raise
            raise Interrupted("interrupted") from None


app = typer.Typer(
    name="callwright",
    cls=_Commands,
    help="Turn a small open LLM into one that calls tools well, and serve it behind an OpenAI endpoint.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"callwright {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    """Turn a small open LLM into one that calls tools well, and serve it behind an OpenAI endpoint."""


app.command("serve")(serve.serve)
app.command("chat")(chat.chat)
app.command("demo")(demo.demo)
app.command("run")(run.run)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("merge")(merge.merge)
app.command("promote")(promote.promote)
app.command("rollback")(promote.rollback)
app.command("submit")(submit.submit)
app.command("status")(status.status)
app.command("logs")(logs.logs)
app.command("doctor")(doctor.doctor)
app.command("crd")(crd.crd)
app.add_typer(models.app, name="models")
app.add_typer(data.app, name="data")


def main() -> None:
    """Entry point of the `callwright` command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a letter that the terminal cannot show is no failure
    try:
        app()
    except CallwrightError as error:
        output.fail(str(error))
        sys.exit(error.exit_code)
