"""ms_agent: the "following APIs" prompt of the corpus of that name, written from OpenAI tools and read back into them.

A tool is one line: `paint: Call this tool to … Parameters: [{"name": "colour", "description": …, "required": "True"}]`.
It has no room for JSON Schema, so a parameter's schema opens its description, in the words that corpora of this format
use: `string. One of: [red, green]. The colour`. `read_schema` reads that back; other descriptions stay as they are.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

from callwright.dialects.history import Piece
from callwright.dialects.literals import Json, read_literal
from callwright.dialects.react import ReactDialect
from callwright.dialects.schema_types import JSON_TYPES
from callwright.dialects.tools import Tool

_HEAD = "Answer the following questions as best you can. You have access to the following APIs:\n"
_FORMAT = "Use the following format:\n"
_PROMPT = f"""\
{_HEAD}{{tools}}

{_FORMAT}
Thought: you should always think about what to do
Action: the action to take, should be one of the above tools[{{names}}]
Action Input: the input to the action
Observation: the result of the action
... (this Thought/Action/Action Input/Observation can be repeated zero or more times)
Thought: I now know the final answer
Final Answer: the final answer to the original input question
Begin!"""
_LEAD = "Call this tool to interact with the {api} API. What is the {api} API useful for? "
_LEAD_START = _LEAD.partition("{api}")[0]
_LEAD_READ = re.compile(
    re.escape(_LEAD.strip()).replace(r"\{api\}", "(?P<api>.{1,256}?)", 1).replace(r"\{api\}", "(?P=api)")
    + " ?(?P<rest>.*)",
    re.DOTALL,
)
_NUMBER = re.compile(r"(?<=\n)([0-9]+)\. (?=\S+: )")
_MOST_LISTS = 16
"""Places in a tool's line at which its list of parameters is looked for, from its end."""
_LONGEST_KNOWN = 8192
"""Characters of a line that is remembered."""
_ENDS = (".", "。", "!", "?", "！", "？")
_WRITTEN_TYPES = {"object": "Object", "array": "Array"}
_TYPE = re.compile(
    rf"(?:Required\.\s*)?(?P<type>{'|'.join(JSON_TYPES)})(?:(?<=array)\[(?P<items>\w+)\])?\.(?:\s+|\Z)",
    re.IGNORECASE,
)
_NESTED = re.compile(r"(?:Required\.\s*)?(?P<type>array|object)[\[{]", re.IGNORECASE)
_CHOICES = re.compile(r"One of: \[(?P<choices>[^\[\]]*)\]\.(?:\s+|\Z)")
_SCHEMA = "Schema: "


class MsAgent(ReactDialect):
    """The dialect `ms_agent`."""

    name: ClassVar[str] = "ms_agent"

    def tools_text(self, tools: tuple[Tool, ...]) -> str:
        """Return the prompt: a numbered line per tool, without a newline at the end."""
        lines = (f"{index}. {_write_tool(tool)}" for index, tool in enumerate(tools, 1))
        return _PROMPT.format(tools="\n\n".join(lines), names=", ".join(tool.name for tool in tools))

    def system_text(self, given: str, tools: tuple[Tool, ...]) -> str:
        """Return the system message; one that lists the same tools already stays as it is."""
        listed = read_tools(given)
        if listed is not None and {t["function"]["name"] for t in listed} == {tool.name for tool in tools}:
            return given
        return super().system_text(given, tools)

    def final(self, text: str, thought: str, *, resumed: bool, tools: tuple[Tool, ...]) -> list[Piece]:
        """Return the answer, after its own thought or the set phrase that the format asks for."""
        in_format = resumed or tools
        phrase = "I now know the final answer" if in_format else ""
        return super().final(text, thought or phrase, resumed=resumed, tools=tools)


def read_tools(system: str) -> list[dict[str, Any]] | None:
    """Reads the tools of a system text as OpenAI tools; None where it lists none in this format.

    Rendered again they give the same text. An API's title that the tool's name does not imply (ToolAlpaca's) is kept as
    `api` beside `function`. Parameters that are no JSON are read as far as they have one meaning.
    """
    found = split_system(system)
    return None if found is None else found[1]


def split_system(system: str) -> tuple[str, list[dict[str, Any]]] | None:
    """Splits a system text into what stands before this format's prompt, and its tools; None without it."""
    start = system.find(_HEAD)
    if start < 0:
        return None
    begin = start + len(_HEAD)
    end = system.find(_FORMAT, begin)
    listing = system[begin : end if end >= 0 else len(system)].strip()
    read = (_read_known(line) if len(line) <= _LONGEST_KNOWN else _read_tool(line) for line in _split_lines(listing))
    return system[:start].rstrip("\n"), [tool for tool in read if tool is not None]


def _split_lines(listing: str) -> Iterator[str]:
    """Splits the listing into its tools, whose numbers are dropped."""
    listing = listing.removeprefix("1.").lstrip()
    number, start, looked, has_parameters = 1, 0, 0, False
    for found in _NUMBER.finditer(listing):
        if found[1] != str(number + 1):
            continue
        has_parameters = has_parameters or listing.find("Parameters:", looked, found.start()) >= 0
        end = looked = found.start()
        while end > start and listing[end - 1].isspace():
            end -= 1
        if not has_parameters or listing[end - 1] == "]":
            yield listing[start:end]
            number, start, looked, has_parameters = number + 1, found.end(), found.end(), False
    if start < len(listing):
        yield listing[start:]


def _read_tool(line: str) -> dict[str, Any] | None:
    """Reads one line."""
    name, colon, rest = line.partition(":")
    if not colon or not name.strip() or re.search(r"\s", name.strip()):
        return None
    rest = rest.strip()
    description, parameters = rest, []
    lists = list(re.finditer(r"(?:^|\s)Parameters:\s*(?=\[)", rest))
    for found in reversed(lists[-_MOST_LISTS:]):
        try:
            value = read_literal(rest[found.end() :])
        except ValueError:
            continue
        if isinstance(value, list):
            description, parameters = rest[: found.start()], value
            break
    lead = _LEAD_READ.fullmatch(description)
    tool: dict[str, Any] = {
        "type": "function",
        "function": {
            "name": name.strip(),
            "description": _read_description(lead["rest"] if lead else description),
            "parameters": _read_parameters(parameters),
        },
    }
    if lead and lead["api"] != _api(name.strip()):
        tool["api"] = lead["api"]
    return tool


_read_known = lru_cache(maxsize=4096)(_read_tool)
"""The same object for the same line, since corpora repeat theirs."""


def _read_parameters(listed: list[Json]) -> dict[str, Any]:
    members = [item for item in listed if isinstance(item, dict) and isinstance(item.get("name"), str)]
    return {
        "type": "object",
        "properties": {str(item["name"]): read_schema(str(item.get("description") or "")) for item in members},
        "required": [str(item["name"]) for item in members if str(item.get("required")).lower() == "true"],
    }


def read_schema(text: str) -> dict[str, Any]:
    """Reads the JSON Schema that opens a parameter's description: `string. One of: [red, green]. The colour`."""
    schema: dict[str, Any] = {}
    rest = text
    found = _TYPE.match(text)
    if found:
        items = (found["items"] or "").lower()
        schema["type"] = "array" if items else found["type"].lower()
        if items in JSON_TYPES:
            schema["items"] = {"type": items}
        rest = text[found.end() :]
        choices = _CHOICES.match(rest)
        if choices and _are_plain(choices["choices"].split(", ")):
            schema["enum"] = choices["choices"].split(", ")
            rest = rest[choices.end() :]
    elif nested := _NESTED.match(text):
        schema["type"] = nested["type"].lower()
    whole = _read_rest(schema, rest)
    if whole is not None and _write_schema(whole) == text:
        return whole
    return schema | {"description": rest} if rest else schema


def _read_rest(schema: dict[str, Any], text: str) -> dict[str, Any] | None:
    """Adds what `Schema: {…}.` says, where the text opens with it; None where it does not."""
    if not text.startswith(_SCHEMA):
        return None
    try:
        value, end = json.JSONDecoder().raw_decode(text, len(_SCHEMA))
    except ValueError:
        return None
    if not isinstance(value, dict) or text[end : end + 1] != ".":
        return None
    description = text[end + 1 :].lstrip()
    return schema | value | ({"description": description} if description else {})


def _write_tool(tool: Tool) -> str:
    description = _write_description(tool.description)
    if not description.startswith(_LEAD_START):
        api = tool.spec.get("api")
        description = _LEAD.format(api=api if isinstance(api, str) and api else _api(tool.name)) + description
    required = set(tool.required)
    parameters = [
        {
            "name": name,
            "description": _write_schema(schema if isinstance(schema, Mapping) else {}),
            "required": str(name in required),
        }
        for name, schema in tool.properties.items()
    ]
    return f"{tool.name}: {description} Parameters: {json.dumps(parameters, ensure_ascii=False)}"


def _write_schema(schema: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in schema.items() if key != "description"}
    text = str(schema.get("description") or "").strip()
    parts: list[str] = []
    kind = rest.get("type")
    if isinstance(kind, str) and kind in JSON_TYPES:
        items = rest.get("items")
        choices = rest.get("enum")
        written = _WRITTEN_TYPES.get(kind, kind)
        if kind == "array" and isinstance(items, Mapping) and set(items) == {"type"} and items["type"] in JSON_TYPES:
            written += f"[{items['type']}]"
            del rest["items"]
        parts.append(f"{written}.")
        del rest["type"]
        if isinstance(choices, list) and _are_plain(choices):
            parts.append(f"One of: [{', '.join(choices)}].")
            del rest["enum"]
    if rest:
        parts.append(f"{_SCHEMA}{json.dumps(rest, ensure_ascii=False)}.")
    return " ".join([*parts, *([text] if text else [])])


def _are_plain(choices: Sequence[object]) -> bool:
    """Return whether the choices can be read back from a list without quotes."""
    return bool(choices) and all(
        isinstance(c, str) and c == c.strip() and c and not re.search(r"[\[\],\n]", c) for c in choices
    )


def _api(name: str) -> str:
    """Return how the corpus speaks of an API: hm_product_info is the hmproductinfo API."""
    return name.replace("_", "") or name


def _write_description(text: str) -> str:
    line = re.sub(r"\s*\n\s*", " ", text).strip()
    return line if line.endswith(_ENDS) else f"{line}."


def _read_description(text: str) -> str:
    text = text.strip()
    shorter = text.removesuffix(".")
    return shorter if shorter != text and not shorter.endswith(_ENDS) else text
