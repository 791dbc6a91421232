"""Calls that stand in a text, in whatever format, instead of in `tool_calls`.

What readers have read as a call is no text any more; what is left would be trained in a format that no dialect serves.
"""

import re
from collections.abc import Collection, Iterator

from callwright import dialects
from callwright.datasets.conversation import JSON, Conversation, tool_names
from callwright.datasets.report import Finding

_TAG = re.compile(
    r"<[|｜/]?[\w:]*?(?:(?:tool|function)s?(?:calls?|[_▁][\w▁]*)?|invoke|python_\w*|api_call)(?!\w)[^<>\n]*>"
    r"|\[/?TOOL_\w+\]|\bfunctools\[|\bto=functions\.|✿(?:FUNCTION|ARGS|RESULT|RETURN)✿",
    re.IGNORECASE,
)
"""Markers of native formats: `<tool_call>`, `<function=f>`, `<|python_tag|>`, `[TOOL_CALLS]` and their kin.

Not `<tooltip>` and `<Toolbar>`, which an answer on web pages has."""
_KEYS = "name|function|function_name|tool|tool_name|action|api|api_name|recipient_name"
_MEMBER = re.compile(rf"""["'](?:{_KEYS})["']\s*:\s*["']([^"'\n]+)["']""")
"""`"name": "f"`, as in fences of JSON."""
_CODE = re.compile(r"^[ \t`*\[]*(?:\w+ = )?(?:print\()?(?:\w+\.)?([\w-]+)(?:\(|\s*\n\s*(?:\{|```))", re.MULTILINE)
"""`f(x=1)` or `[f(x=1)]` at a line start, or a name alone with an object or a fence in the next line."""
_ACTION = re.compile(r"^\W*(?:action|行动|动作|工具)[^\S\n]*\d*\W*?[:：]\W*([\w.\-/]+)", re.IGNORECASE | re.MULTILINE)
_BLOCK = re.compile(r"<tool_call>\s*\{|<tools>")


def find(conversation: Conversation) -> Iterator[Finding]:
    """Yield the turns whose text holds a call, or a result; without tools, also a system text that shows them."""
    names = tool_names(conversation.tools)
    for index, message in enumerate(conversation.messages, start=1):
        found = _in_turn(message, names) if names else _without_tools(message)
        if found:
            got = "a call as text" if names else "tools or a call as text and no tools beside them"
            yield Finding("call_as_text", f"message {index}: got {got}: {found[:80]!r}; expected tools and tool_calls")


def _in_turn(message: JSON, names: Collection[str]) -> str | None:
    text: str | None = message["content"]
    if message["role"] != "assistant" or not text:
        return None
    marked = _TAG.search(text)
    if marked:
        return text[marked.start() :]
    found = (each for pattern in (_MEMBER, _CODE, _ACTION) for each in pattern.finditer(text) if each[1] in names)
    named = next(found, None)
    return text[named.start() :].lstrip() if named else _react_input(text)


def _without_tools(message: JSON) -> str | None:
    text: str | None = message["content"]
    if message["role"] not in ("system", "assistant") or not text:
        return None
    block = _BLOCK.search(text)
    return text[block.start() :] if block else _react_input(text)


def _react_input(text: str) -> str | None:
    segments = dialects.load("ms_agent").segment(text)
    return next((segment.text for segment in segments if segment.kind == "action_input"), None)
