"""Writes a corpus in a dialect, with every tool, parameter, call and result of every conversation.

Rows come out as `conversations` (`from`, `value`), as ms_agent's corpora do, or as neutral OpenAI rows.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from callwright import dialects
from callwright.datasets import readers
from callwright.datasets.conversation import JSON, Conversation
from callwright.datasets.formats import sharegpt
from callwright.datasets.formats.react import read_text
from callwright.datasets.formats.row import Messages, ParsedRow, RowError, results
from callwright.datasets.report import Finding, Report, foreign_tokens
from callwright.dialects.arguments import read_object
from callwright.dialects.foreign import Foreign
from callwright.dialects.literals import read_literal
from callwright.dialects.tools import Tool, Toolbox, read_tools
from callwright.dialects.types import Dialect, Rendered
from callwright.errors import InvalidInput

NEUTRAL = "openai"


def convert(
    source: Path,
    target: Path,
    *,
    to: str,
    format: str = "auto",
    strict: readers.Strict = "drop",
    special: Iterable[str] | None = None,
    report: Report,
) -> int:
    """Write the conversations of `source` to `target` in the dialect `to`, or in OpenAI form; return their number.

    The `special` tokens of a tokenizer, None for what such usually look like, and the dialect's markers are broken as
    for training; OpenAI form has no markers.
    Rows in which some were, and those that the dialect cannot write, are counted in `report`, as faulty rows are.
    Raises what `readers.read` raises, and `InvalidInput` for an unknown dialect or a target that cannot be written.
    """
    dialect = None if to == NEUTRAL else _load(to)
    foreign = Foreign(dialect, special)
    written = 0
    part = target.with_name(f"{target.name}.part")
    try:
        with part.open("w", encoding="utf-8") as lines:
            for conversation in readers.read(source, format, strict=strict, report=report):
                before = foreign.count
                try:
                    messages, tools = foreign.broken(conversation.messages, conversation.tools)
                    conversation = replace(
                        conversation, messages=tuple(map(dict, messages)), tools=tuple(map(dict, tools or ()))
                    )
                    line = conversation.to_json() if dialect is None else rendered(conversation, dialect)
                except InvalidInput as error:
                    if strict == "fail":
                        raise
                    report.note(conversation.source, conversation.line, Finding("dialect", str(error)))
                    continue
                if count := foreign.count - before:
                    report.note(conversation.source, conversation.line, foreign_tokens(count))
                lines.write(line + "\n")
                written += 1
        part.replace(target)
    except OSError as error:
        raise InvalidInput(f"converting: {target} cannot be written: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
    return written


def rendered(conversation: Conversation, dialect: Dialect) -> str:
    """Return one line of JSON: the conversation in `dialect`'s own text.

    Raises `InvalidInput` for one that it cannot write, or that it would read back as another one: where a result holds
    the dialect's own markers, for example.
    """
    made = dialect.render(conversation.messages, conversation.tools)
    turns = []
    for message, segments in zip(made.messages, made.by_message(), strict=True):
        written = {
            conversation.messages[segment.turn].get("weight") for segment in segments if segment.turn is not None
        }
        if len(written) > 1:
            raise InvalidInput(
                f"converting: got turns of weights {', '.join(f'{1 if w is None else w:g}' for w in written)} in one "
                f"message; expected one weight, as {dialect.name} joins the turns; convert to {NEUTRAL}"
            )
        turn = {"from": message["role"], "value": message["content"]}
        turns.append(turn if written <= {None} else {**turn, "weight": written.pop()})
    row = {"id": conversation.id, "conversations": turns}
    format = readers.detect(row, conversation.source, conversation.line)
    if format != "ms_agent":
        raise InvalidInput(f"converting: got text that makes the row one of {format}; expected none of its markers")
    try:
        read = sharegpt.read(row) if dialect.name == "ms_agent" else _read_back(made, dialect, conversation)
    except RowError as error:
        raise InvalidInput(f"converting: {dialect.name} reads back what it writes as a fault: {error.detail}") from None
    for meant, found in zip_longest(_outline(conversation.messages, conversation.tools), _outline(*read)):
        if meant != found:
            raise InvalidInput(
                f"converting: {dialect.name} reads back what it writes as {str(found)[:120]}; expected "
                f"{str(meant)[:120]}; take its markers out of the row, or convert to {NEUTRAL}"
            )
    return json.dumps(row, ensure_ascii=False)


def _read_back(made: Rendered, dialect: Dialect, conversation: Conversation) -> ParsedRow:
    """Return what the dialect's text says, its prompt apart. Raises `RowError`."""
    box = Toolbox(conversation.tools)
    given = {role: iter([m for m in conversation.messages if m["role"] == role]) for role in ("system", "user")}
    messages = Messages()
    for message in made.messages:
        match message["role"]:
            case "assistant":
                messages += read_text(message["content"], box, messages.calls, dialect=dialect.name)
            case "tool":
                messages += results(message["content"], messages)
            case "user" if next(messages.unanswered(), None):
                messages += results(message["content"], messages)
            case role:
                messages += islice(given[role], 1)  # less the prompt that the dialect adds
    return ParsedRow(tuple(messages), conversation.tools)


def _outline(messages: Iterable[JSON], tools: Iterable[JSON]) -> Iterator[tuple[Any, ...]]:
    """Yield what has to come back: tools with their parameters, and each turn's role, text and calls."""
    declared = {tool.name: tool for tool in read_tools(tuple(tools))}
    for tool in declared.values():
        yield tool.name, tuple(tool.properties), sorted(set(tool.required) & tool.properties.keys())
    for message in messages:
        calls = [(call["function"]["name"], call["function"]["arguments"]) for call in message.get("tool_calls") or ()]
        read = [(name, _arguments(text, declared.get(name))) for name, text in calls]
        yield message["role"], (message["content"] or "").strip(), *read


def _arguments(text: str, tool: Tool | None) -> object:
    """Arguments as a parser of calls reads them."""
    return read_object(text, tool) if tool else read_literal(text)


def _load(name: str) -> Dialect:
    try:
        return dialects.load(name)
    except InvalidInput as error:
        raise InvalidInput(f"converting: {error}, or {NEUTRAL}") from None
