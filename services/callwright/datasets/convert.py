"""Writes a corpus in a dialect, with every tool, parameter, call and result of every conversation.

Rows come out as `conversations` (`from`, `value`), as ms_agent's corpora do, or as neutral OpenAI rows.
"""

import json
from pathlib import Path

from callwright import dialects
from callwright.datasets import readers
from callwright.datasets.conversation import Conversation
from callwright.datasets.report import Finding, Report
from callwright.dialects.types import Dialect
from callwright.errors import InvalidInput

NEUTRAL = "openai"


def convert(
    source: Path, target: Path, *, to: str, format: str = "auto", strict: readers.Strict = "drop", report: Report
) -> int:
    """Write the conversations of `source` to `target` in the dialect `to`, or in OpenAI form; return their number.

    Rows that the dialect cannot write are counted in `report`, as faulty rows are. Raises what `readers.read` raises,
    and `InvalidInput` for an unknown dialect or a target that cannot be written.
    """
    dialect = None if to == NEUTRAL else _load(to)
    written = 0
    part = target.with_name(f"{target.name}.part")
    try:
        with part.open("w", encoding="utf-8") as lines:
            for conversation in readers.read(source, format, strict=strict, report=report):
                try:
                    line = conversation.to_json() if dialect is None else rendered(conversation, dialect)
                except InvalidInput as error:
                    if strict == "fail":
                        raise
                    report.note(conversation.source, conversation.line, Finding("dialect", str(error)))
                    continue
                lines.write(line + "\n")
                written += 1
        part.replace(target)
    except OSError as error:
        raise InvalidInput(f"converting: {target} cannot be written: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
    return written


def rendered(conversation: Conversation, dialect: Dialect) -> str:
    """One line of JSON: the conversation in `dialect`'s own text. Raises `InvalidInput` for one it cannot write."""
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
    return json.dumps({"id": conversation.id, "conversations": turns}, ensure_ascii=False)


def _load(name: str) -> Dialect:
    try:
        return dialects.load(name)
    except ValueError as error:
        raise InvalidInput(f"converting: {error}, or {NEUTRAL}") from None
