"""`callwright chat`: talk to a served model that may call the built-in tools."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from callwright.cli import output
from callwright.errors import NotFound, StageFailed, Unavailable

if TYPE_CHECKING:
    from openai import OpenAI

    from callwright.agent import AgentEvent


def chat(
    message: Annotated[str | None, typer.Argument(help="One request; without it, a line each from the input.")] = None,
    base_url: Annotated[str, typer.Option(help="OpenAI endpoint.")] = "http://127.0.0.1:8100/v1",
    model: Annotated[str | None, typer.Option(help="Model id; the endpoint's first one without it.")] = None,
    api_key: Annotated[str, typer.Option(envvar="OPENAI_API_KEY", help="Key of the endpoint.")] = "none",
    system: Annotated[str | None, typer.Option(help="System message.")] = None,
    max_turns: Annotated[int, typer.Option(min=1, help="Turns that the model may take for one request.")] = 10,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of one turn.")] = 512,
) -> None:
    """Talk to a served model that may call tools."""
    import openai

    from callwright.agent import builtin_tools, run

    client = openai.OpenAI(base_url=base_url, api_key=api_key)
    conversation = [{"role": "system", "content": system}] if system else []
    try:
        model = model or _first_model(client)
        for text in _lines() if message is None else [message]:
            conversation = run(
                client,
                model,
                [*conversation, {"role": "user", "content": text}],
                builtin_tools.TOOLS,
                builtin_tools.call,
                max_turns=max_turns,
                on_event=_show,
                max_tokens=max_tokens,
            )
            output.out.print()
    except openai.APIConnectionError:
        raise Unavailable(f"talking to the model: nothing answers at {base_url}; start `callwright serve`") from None
    except openai.APIError as error:
        raise StageFailed(f"talking to the model: {error.message}") from None


def _first_model(client: OpenAI) -> str:
    for served in client.models.list():
        return served.id
    raise NotFound("talking to the model: the endpoint serves none")


def _lines() -> Iterator[str]:
    while True:
        try:
            text = output.err.input("> ") if output.err.is_terminal else input()
        except EOFError:
            return
        if text.strip():
            yield text


def _show(event: AgentEvent) -> None:
    match event.kind:
        case "text":
            output.out.print(event.text, end="")
        case "thought":
            output.err.print(event.text, end="", style="dim")
        case "call":
            output.err.print(f"{event.name}({event.text})", style="dim")
        case "result":
            output.err.print(f"= {event.text}", style="dim")
