"""What a model answered, as the client of the endpoint sees it: text, calls, and calls that nobody can read.

Knows the chat completion's shape. A wrong answer is a value here, never an exception; only a body that is no chat
completion at all raises.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from callwright import dialects
from callwright.evaluator.rows import Call, Tool

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
    """Read a chat completion's body. Raises `ValueError` when it is none.

    Calls that nobody could read are known from the endpoint's own word (`malformed_tool_calls`), where it gives one;
    else the text is read again in `dialect`, or in a few when that is absent.
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
    names = {tool.get("function", tool).get("name") for tool in tools}
    calls, malformed = [], [_kind(str(reason)) for reason in told]
    for name, text in raw:
        match _arguments(text):
            case dict() as arguments if name in names:
                calls.append(Call(name, arguments))
            case dict():
                malformed.append(UNKNOWN_TOOL)
            case _:
                malformed.append("the arguments are no JSON object")
    if isinstance(content, str) and not raw and not told:
        malformed.extend(_left_in_text(content, tools, dialect, choice.get("finish_reason") == "length"))
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Answer(
        content if isinstance(content, str) else None,
        tuple(calls),
        tuple(malformed),
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
    )


def _arguments(text: Any) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, TypeError, RecursionError):
        return None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _count(value: Any) -> int:
    return value if isinstance(value, int) else 0


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
    """A reason without its particulars, to count by: `unknown tool 'x'` is `unknown tool`."""
    return _DETAIL.split(reason, maxsplit=1)[0]
