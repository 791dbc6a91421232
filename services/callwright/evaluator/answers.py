"""Reads a model's answer from a chat completion: its text, its calls, and the calls that cannot be read.

A wrong answer is returned as a value; only a body that is not a chat completion raises.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from callwright import dialects
from callwright.dialects.literals import encodable, read_json
from callwright.dialects.toolbench import answer_in
from callwright.evaluator.row import Call, Tool

_GUESSES = ("react_en", "hermes")
_MARKERS = ("action", "<tool_call>")
_DETAIL = re.compile(r"[:;]| ['\"]")
UNKNOWN_TOOL = "unknown tool"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: its text, the calls that can be read, and the reason for each that cannot."""

    content: str | None
    calls: tuple[Call, ...]
    malformed: tuple[str, ...]
    prompt_tokens: int
    completion_tokens: int


def read(body: dict[str, Any], tools: Iterable[Tool], dialect: str | None) -> Answer:
    """Read a chat completion's body. Raises `ValueError` for any other body.

    The endpoint itself may name the calls that it could not read (`malformed_tool_calls`, as Callwright's sidecar
    does). Where it does not, the text is read again in `dialect`, or in a few dialects when that is None, for calls
    left in it.
    """
    tools = list(tools)
    try:
        choice = body["choices"][0]
        message = choice["message"]
        content = message.get("content")
        raw = [(c["function"]["name"], c["function"]["arguments"]) for c in message.get("tool_calls") or ()]
        told = [call["reason"] for call in message.get("malformed_tool_calls") or ()]
    except (KeyError, IndexError, TypeError, AttributeError):
        raise ValueError(f"no chat completion: {json.dumps(body)[:200]}") from None
    content = content if isinstance(content, str) else None
    names = {tool["function"]["name"] for tool in tools}
    calls, malformed = [], [_kind(encodable(str(reason))) for reason in told]
    for name, text in raw:
        arguments = _arguments(text)
        if arguments is None:
            malformed.append("the arguments are no JSON object")
        elif not isinstance(name, str) or name not in names:
            malformed.append(UNKNOWN_TOOL)
        elif (answer := answer_in(name, arguments)) is not None:
            content = "\n".join(filter(None, (content, answer)))
        else:
            calls.append(Call(name, arguments))
    if content and not raw and not told:
        malformed.extend(_left_in_text(content, tools, dialect, choice.get("finish_reason") == "length"))
    usage = body.get("usage")
    read, written = (
        usage.get(key) if isinstance(usage, dict) else None for key in ("prompt_tokens", "completion_tokens")
    )
    return Answer(
        content,
        tuple(calls),
        tuple(malformed),
        read if isinstance(read, int) else 0,
        written if isinstance(written, int) else 0,
    )


def _arguments(text: Any) -> dict[str, Any] | None:
    try:
        json.loads(text)  # clients read with this: it refuses control characters in strings
        value = read_json(text)  # refuses NaN and deep nesting
    except (ValueError, TypeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _left_in_text(content: str, tools: list[Tool], dialect: str | None, cut: bool) -> list[str]:
    """Reasons of the calls that are still text: what the endpoint could not read, or did not try to."""
    lowered = content.lower()
    if not tools or not any(marker in lowered for marker in _MARKERS):
        return []
    for name in (dialect,) if dialect else _GUESSES:
        calls = dialects.load(name).parse(content, tools, cut=cut).calls
        if calls:
            return [
                _kind(call.reason) if isinstance(call, dialects.MalformedCall) else "a readable call left as text"
                for call in calls
            ]
    return []


def _kind(reason: str) -> str:
    """Return a reason without its particulars, to count by: `unknown tool 'x'` is `unknown tool`."""
    return _DETAIL.split(reason, maxsplit=1)[0]
