"""Reads what a model wrote as a tool's arguments: a JSON object as a string, or the reason why it is none.

read_object("{'days': '5'}", tool)      '{"days": 5}', where the schema says integer
read_bare("Paris", tool)                '{"city": "Paris"}', where the tool has one parameter that it can be
read_bare("soon", tool)                 Fault("the arguments are no JSON object: got 'soon'")

A list, true and false are no text: where the one parameter is a string, a call that gives them as JSON is none.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import islice

from callwright.dialects import left_over
from callwright.dialects.literals import Json, literal_or_text, read_call_arguments, read_literal, write_json
from callwright.dialects.tools import Names, Tool

_NOTHING = frozenset({"", "none", "null", "n/a", "na", "nil", "无", "无参数", "空", "{}", "()", '""', "''"})
_OPENED_BY = {
    **{mark: mark for mark in ("```", "~~~", '"""', "'''", '"', "'", "`")},
    **{"}": "{", "]": "[", ")": "(", "</tool_call>": "<tool_call>"},
}
_END_OF_TEXT = re.compile(rf"(?:{left_over.SPECIAL_TOKEN}\s{{0,8}}){{1,4}}\Z")
_MOST_LEFT_OVER = 4
_TRIPLE = ('"""', "'''")
_MARK = re.compile("([,=:])")
_MOST_MARKS = 8
"""Of a parameter's name, where values stand by their names."""
_MOST_LISTED = 16
_QUOTES = ("'", '"')
_FENCE = re.compile(r"\s*+`{1,3}(?:\w{1,12}[ \t]*+\n)?")


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a text holds no arguments."""

    reason: str


def read_value(value: Json, tool: Tool) -> str | Fault:
    """Reads arguments that stand inside an object which was read already."""
    match value:
        case dict():
            return _finish(value, tool)
        case str() | None:
            return read_bare(value or "", tool)
        case _:
            return _read_alone(value, write_json(value), tool)


def read_object(text: str, tool: Tool) -> str | Fault:
    """Reads what stands between two braces."""
    try:
        value = read_literal(text)
    except ValueError as error:
        return Fault(f"the arguments are no JSON object: {error}")
    if not isinstance(value, dict):
        return Fault("the arguments are no JSON object")
    return _finish(value, tool)


def read_call(value: Json, names: Names) -> tuple[str | None, Tool | None, str | Fault]:
    """Reads an object that names its tool: the name as it is written, the tool, and its arguments."""
    inner = value.get("function") if isinstance(value, dict) else None
    call = inner if isinstance(inner, dict) else value
    name = _first(call, "name", "action", "function") if isinstance(call, dict) else None
    if not isinstance(call, dict) or not isinstance(name, str):
        return None, None, Fault("the call has no name")
    tool = names.exact(name)
    if tool is None:
        return name, None, Fault(f"unknown tool {name[:64]!r}")
    return tool.name, tool, read_value(_first(call, "arguments", "parameters", "action_input"), tool)


def read_inline(text: str, tool: Tool) -> str | Fault | None:
    """Reads what stands between a call's parentheses; None where it is no literal, but may be bare text."""
    try:
        values, named = read_call_arguments(text)
    except ValueError:
        return None
    if not named and len(values) < 2:
        return read_value(values[0] if values else None, tool)
    parameters = list(islice(tool.properties, len(values)))
    if len(parameters) < len(values) or not named.keys().isdisjoint(parameters):
        return Fault(f"the arguments have no parameters of their own: got {text.strip()[:40]!r}")
    return _finish(dict(zip(parameters, values, strict=True)) | named, tool)


def says_nothing(text: str) -> bool:
    """Return whether it is a word for nothing, such as `None` or `N/A`, or empty."""
    stripped = text.strip()
    return (stripped.lower().strip(" .。") or stripped) in _NOTHING


def read_bare(text: str, tool: Tool) -> str | Fault:
    """Reads an input that does not open with a brace: nothing, a bare value, or prose around an object."""
    stripped = _unfence(_without_left_over(text)).strip()
    if says_nothing(stripped):
        return Fault(f"no arguments; expected {_listed(tool.required)}") if tool.required else "{}"
    value = literal_or_text(stripped)
    if (
        isinstance(value, str)
        and value != stripped
        and isinstance(inner := literal_or_text(value.strip()), dict | list)
    ):
        value = inner  # JSON written into a JSON string
    if isinstance(value, str):
        value = _embedded_object(value, tool) or _named_values(value, tool) or value
        named = value.values() if isinstance(value, dict) else [value] if value == stripped else []
        if any(isinstance(text, str) and text.startswith(_TRIPLE) and text.count(text[:3]) % 2 for text in named):
            return Fault(f"the arguments are not complete: got {stripped[:40]!r}")
    if isinstance(value, dict):
        return _finish(value, tool)
    return _read_alone(value, stripped, tool, text=None if isinstance(value, list) else stripped)


def _read_alone(value: Json, written: str, tool: Tool, *, text: str | None = None) -> str | Fault:
    """Reads what stands in place of an object: the value of the one parameter, or `text` where that is a string."""
    name = _sole_parameter(tool)
    if name is not None:
        schemas = tool.schemas.of(tool.properties[name])
        if text is not None and not schemas.fits(value) and schemas.fits(""):
            value = text
        coerced = schemas.coerce(value)
        if schemas.fits(coerced):
            return write_json({name: coerced})
    if value == [] and not tool.required:
        return "{}"
    return Fault(f"the arguments are no JSON object: got {written[:40]!r}")


def _finish(value: dict[str, Json], tool: Tool) -> str | Fault:
    coerced = tool.schemas.of(tool.parameters).coerce(value) if tool.properties else value
    try:
        return write_json(coerced)
    except ValueError as error:
        return Fault(f"the arguments are no strict JSON: {error}")


def _without_left_over(text: str) -> str:
    """Return the text without what only closes at its end, and what nothing opened: a fence, a quote, a bracket or a
    tag.
    """
    text = _END_OF_TEXT.sub("", text)
    for _line in range(_MOST_LEFT_OVER):
        before, _, last = text.rstrip().rpartition("\n")
        mark = last.strip()
        opening = _OPENED_BY.get(mark)
        if opening is None or not before.strip():
            break
        if before.count(mark) % 2 if opening == mark else opening in before:
            break
        text = before
    return text.rstrip().removesuffix("```") if text.count("```") == 1 else text


def _unfence(text: str) -> str:
    found = _FENCE.match(text)
    if found is None:
        return text
    body = text[found.end() :].rstrip()
    return body[:-3] + body[-3:].rstrip("`")


def _embedded_object(text: str, tool: Tool) -> dict[str, Json] | None:
    """Return the object in `Here is the input: {"image": "a.jpg"}`, where its keys are the tool's."""
    start, end = text.find("{"), text.rfind("}")
    if not 0 <= start < end:
        return None
    try:
        value = read_literal(text[start : end + 1])
    except ValueError:
        return None
    if isinstance(value, dict) and value and all(key in tool.properties for key in value):
        return value
    return None


def _named_values(text: str, tool: Tool) -> dict[str, Json] | None:
    """Return the values in `city="Paris", days: 3`, where the names are the tool's; text needs no quotes."""
    called = re.fullmatch(rf"(?:{re.escape(tool.name)}\s*)?\((.*)\)", text, re.DOTALL)
    text = called[1] if called else text
    try:
        values, named = read_call_arguments(text)
    except ValueError:
        before, written = _split_at_names(text, tool.properties)
        values, named = [before] if before else [], {name: _trimmed_literal(value) for name, value in written}
    return named if not values and all(name in tool.properties for name in named) else None


def _split_at_names(text: str, names: Collection[str]) -> tuple[str, list[tuple[str, str]]]:
    """Return what stands before the first of the names, and each of them with what follows up to the next."""
    pieces = _MARK.split(text)  # every other one is a mark
    found: list[tuple[str, int, int]] = []
    position = 0
    while position < len(pieces):
        begins = position == 0 or pieces[position - 1] == ","
        for mark in range(position + 1, min(position + 2 * _MOST_MARKS + 2, len(pieces)), 2) if begins else ():
            name = _unquoted("".join(pieces[position:mark]).strip(), names) if pieces[mark] != "," else None
            if name is not None:
                found.append((name, position - 1, mark + 1))
                position = mark - 1
                break
        position += 2
    starts = [comma for _, comma, _ in found] + [len(pieces)]
    values = ["".join(pieces[start:end]) for (_, _, start), end in zip(found, starts[1:], strict=True)]
    return "".join(pieces[: max(starts[0], 0)]), [
        (name, value) for (name, _, _), value in zip(found, values, strict=True)
    ]


def _unquoted(text: str, names: Collection[str]) -> str | None:
    """Return the name that the text is, be there a quote before or behind it."""
    unopened = text[1:] if text[:1] in _QUOTES else text
    spellings = (text, unopened, *(inner[:-1] for inner in (unopened, text) if inner[-1:] in _QUOTES))
    return next((name for name in spellings if name in names), None)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return ", ".join(names[:_MOST_LISTED]) + more


def _trimmed_literal(text: str) -> Json:
    return literal_or_text(text.strip())


def _first(members: dict[str, Json], *keys: str) -> Json:
    for key in keys:
        if key in members:
            return members[key]
    return {}


def _sole_parameter(tool: Tool) -> str | None:
    if len(tool.required) == 1 and tool.required[0] in tool.properties:
        return tool.required[0]
    return next(iter(tool.properties)) if len(tool.properties) == 1 and not tool.required else None
