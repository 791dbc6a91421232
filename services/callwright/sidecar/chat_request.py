"""A chat request with tools, read and checked field by field. What is refused is the client's to mend.

Pure: knows OpenAI's protocol and the limits, nothing of dialects or HTTP.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from math import isfinite
from typing import Any

from callwright.dialects.declarations import openai_tool
from callwright.dialects.messages import reasoning_of, text_of_part
from callwright.dialects.types import REASONING, ToolSpec
from callwright.sidecar.config import SidecarConfig
from callwright.sidecar.errors import Refused

Json = dict[str, Any]
TEMPLATE_ARGUMENTS = "chat_template_kwargs"
_RESPONSE_FORMATS = ("text", "json_object", "json_schema", "structural_tag")
_NESTED = frozenset((dict, list))
_DEEPEST = 256
"""Nesting of a request, with room for arguments as deep as dialects read them: what can just be read may be too deep to
be written."""


def parse(body: bytes) -> Json:
    """Read a request. Raises `Refused` for what is no JSON object, or nested too deeply to be sent on."""
    try:
        request = _decode(body.decode(json.detect_encoding(body), "surrogatepass"))
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Refused(f"the body is not JSON: {why}", code="invalid_json") from None
    if not isinstance(request, dict):
        raise Refused("the body is not a JSON object", code="invalid_json")
    if body.count(b"[") + body.count(b"{") > _DEEPEST and _is_deeper(request, _DEEPEST):
        raise Refused(f"the body is nested deeper than {_DEEPEST}", code="invalid_json")
    return request


def _finite(number: str) -> float:
    """Return a number's value. Raises `ValueError` for what Python reads as one and JSON has none for."""
    value = float(number)
    if not isfinite(value):
        raise ValueError(f"got the number {number[:40]}; expected a finite one")
    return value


_decode = json.JSONDecoder(parse_float=_finite, parse_constant=_finite).decode


def needs_dialect(request: Json) -> bool:
    """Return whether there are tools, or calls and results among the messages."""
    if request.get("tools") or request.get("functions"):
        return True
    messages = request.get("messages")
    return isinstance(messages, list) and any(
        isinstance(m, dict) and (m.get("role") in ("tool", "function") or m.get("tool_calls") or m.get("function_call"))
        for m in messages
    )


def check_without_tools(request: Json) -> None:
    """Raise `Refused` when a request without tools demands a call."""
    for key, tools in (("tool_choice", "tools"), ("function_call", "functions")):
        if isinstance(request.get(key), dict) or request.get(key) == "required":
            raise Refused(f"{key} is only allowed when {tools} are given", param=key)


def check_legacy(request: Json) -> None:
    """Raise `Refused` for fields of the older kind beside `tools`, of which one would be dropped."""
    for key in ("functions", "function_call"):
        if request.get("tools") and request.get(key) not in (None, [], "auto"):
            raise Refused(f"{key}: got it beside tools; expected tools and tool_choice alone", param=key)


def checked_messages(request: Json) -> list[Json]:
    """Return the messages with texts for lists of text parts, and `developer` as `system`."""
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refused("messages: expected a list with at least one message", param="messages")
    return [_message(message, f"messages[{n}]") for n, message in enumerate(messages)]


def _message(message: object, where: str) -> Json:
    if not isinstance(message, dict):
        raise Refused(f"{where}: expected an object with a role", param=where)
    if message.get("role") not in ("system", "developer", "user", "assistant", "tool", "function"):
        raise Refused(
            f"{where}.role: got {str(message.get('role'))[:40]!r}; expected system, user, assistant or tool",
            param=f"{where}.role",
        )
    content = message.get("content")
    if message["role"] == "assistant" and not content:
        if isinstance(refusal := message.get("refusal"), str):
            content, message = refusal, message | {"content": refusal}
        elif message.get("audio"):
            raise Refused(f"{where}.audio: only text goes together with tools", param=f"{where}.audio")
    if isinstance(content, list):
        reasoning = {REASONING: reasoning_of(message)} if message["role"] == "assistant" else {}
        message = message | {"content": joined_text(content, f"{where}.content")} | reasoning
    elif content is not None and not isinstance(content, str):
        raise Refused(f"{where}.content: expected text, a list of text parts or null", param=f"{where}.content")
    elif content is None and message["role"] in ("system", "developer", "user", "tool"):
        raise Refused(f"{where}.content: got null; expected text", param=f"{where}.content")
    return message | {"role": "system"} if message["role"] == "developer" else message


def joined_text(parts: Sequence[object], where: str, *, apart: Collection[str] = ()) -> str:
    """Return the text of content parts, thoughts left out, and those of the types `apart`, which are told elsewhere.

    Raises `Refused` for images and the like, by their type.
    """
    texts = []
    for n, part in enumerate(parts):
        kind = part.get("type", "text") if isinstance(part, dict) else part
        if isinstance(kind, str) and kind in apart:
            continue
        if (text := text_of_part(part)) is None:
            got = f"{where}[{n}]: got {str(kind)[:40]!r}"
            raise Refused(f"{got}; only text goes together with tools", param=f"{where}[{n}]")
        texts.append(text)
    return "".join(texts)


def with_one_system(request: Json) -> Json:
    """Return the request with its leading system messages as one."""
    messages = checked_messages(request)
    count = next((n for n, message in enumerate(messages) if message["role"] != "system"), len(messages))
    text = "\n\n".join(message["content"] for message in messages[:count])
    return request | {"messages": [messages[0] | {"content": text}, *messages[count:]]}


def checked_tools(request: Json, config: SidecarConfig) -> list[Json]:
    """Return the tools in OpenAI's form."""
    tools = request.get("tools")
    if tools is None:
        return []
    if not isinstance(tools, list):
        raise Refused("tools: expected a list", param="tools")
    if len(tools) > config.max_tools:
        raise Refused(f"tools: got {len(tools)}; at most {config.max_tools} are allowed", param="tools")
    read: list[Json] = []
    for n, tool in enumerate(tools):
        function = tool.get("function", tool) if isinstance(tool, dict) else None
        if not isinstance(tool, dict) or not isinstance(function, dict):
            raise Refused(f"tools[{n}]: expected an object with a function", param=f"tools[{n}]")
        if tool.get("type", "function") != "function":
            raise Refused(f"tools[{n}].type: expected 'function' or 'custom'", param=f"tools[{n}].type")
        name = function.get("name")
        if not isinstance(name, str) or not name.strip() or len(name) > 256 or not name.isprintable():
            raise Refused(f"tools[{n}].function.name: expected a name of one line", param=f"tools[{n}].function.name")
        where = f"tools[{n}].function.parameters"
        try:
            read.append(dict(openai_tool(tool)))
        except ValueError as error:
            raise Refused(f"{where}: {error}", param=where) from None
        if _is_deeper(read[-1]["function"].get("parameters"), config.max_schema_depth):
            raise Refused(f"{where}: nested deeper than {config.max_schema_depth}", param=where)
    return read


def checked_tool_choice(request: Json, tools: Sequence[ToolSpec], config: SidecarConfig) -> object:
    """Return `auto`, `none`, `required` or a named function, which is one of `tools`."""
    choice = request.get("tool_choice", "auto")
    if choice is None:
        choice = config.null_tool_choice
    if isinstance(choice, dict):
        function = choice.get("function", choice)
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(name, str):
            raise Refused("tool_choice: expected the name of a function", param="tool_choice")
        if name not in [tool_name(tool) for tool in tools]:
            raise Refused(f"tool_choice: no tool is named {name[:80]!r}", param="tool_choice")
        return {"type": "function", "function": {"name": name}}
    if choice not in ("auto", "none", "required"):
        raise Refused("tool_choice: expected none, auto, required or a named function", param="tool_choice")
    if choice == "required" and not tools:
        raise Refused("tool_choice: 'required' needs tools", param="tool_choice")
    return choice


def with_allowed_tools(request: Json) -> Json:
    """Return a request with only those of its tools that its `tool_choice` allows, where that lists some.

    Raises `Refused` for a name that no tool has.
    """
    choice = request.get("tool_choice")
    if not isinstance(choice, dict) or choice.get("type") != "allowed_tools":
        return request
    allowed = choice.get("allowed_tools", choice)
    mode, listed = (allowed.get("mode", "auto"), allowed.get("tools")) if isinstance(allowed, dict) else (None, None)
    if mode not in ("auto", "required") or not isinstance(listed, list):
        raise Refused(
            "tool_choice: expected allowed_tools with a mode, auto or required, and tools", param="tool_choice"
        )
    names = [_name(tool) for tool in listed]
    tools = request.get("tools")
    tools = tools if isinstance(tools, list) else []
    given = {name for tool in tools if isinstance(name := _name(tool), str)}
    for name in names:
        if not isinstance(name, str) or name not in given:
            raise Refused(f"tool_choice: no tool is named {str(name)[:80]!r}", param="tool_choice")
    allowed_names = set(names)
    kept = [tool for tool in tools if isinstance(name := _name(tool), str) and name in allowed_names]
    return request | {"tools": kept, "tool_choice": mode if kept or mode == "required" else "none"}


def _name(tool: object) -> Any:
    function = tool.get("function", tool) if isinstance(tool, dict) else None
    return function.get("name") if isinstance(function, dict) else None


def tool_name(tool: ToolSpec) -> Any:
    """Return the name of a tool, bare or within its `function`."""
    return tool.get("function", tool).get("name")


def checked_stop(request: Json, ours: Sequence[str]) -> list[str]:
    """Return the client's stop strings and `ours`."""
    theirs = request.get("stop") or []
    theirs = [theirs] if isinstance(theirs, str) else theirs
    if not isinstance(theirs, list) or not all(isinstance(s, str) and s for s in theirs):
        raise Refused("stop: expected a string or a list of strings", param="stop")
    # The bare `Observation:` that ms-swift's clients send would also end an argument that has the word in it.
    words = {stop.strip() for stop in ours}
    return list(dict.fromkeys([*(stop for stop in theirs if stop.strip() not in words), *ours]))


def checked_template_arguments(request: Json, fixed: Json) -> Json:
    """Return the chat template's keyword arguments that training has fixed.

    Raises `Refused` for a request that names others: the model would get prompts that it was not trained on.
    """
    given = request.get(TEMPLATE_ARGUMENTS) or {}
    if not isinstance(given, dict):
        raise Refused(f"{TEMPLATE_ARGUMENTS}: expected an object", param=TEMPLATE_ARGUMENTS)
    for key, value in given.items():
        if key not in fixed or fixed[key] != value:
            place = f"{TEMPLATE_ARGUMENTS}.{key[:80]}"
            was = f"with {fixed[key]!r}" if key in fixed else "without it"
            raise Refused(f"{place}: got {str(value)[:40]!r}; the model was trained {was}; leave it out", param=place)
    return fixed


def checked_stream_options(request: Json) -> Json:
    """Return the stream's options; empty when there are none."""
    options = request.get("stream_options") or {}
    if not isinstance(options, dict):
        raise Refused("stream_options: expected an object", param="stream_options")
    return options


def check_response_format(request: Json) -> None:
    """Raise `Refused` for a form of the answer that no engine knows."""
    form = request.get("response_format")
    if form is not None and (not isinstance(form, dict) or form.get("type") not in _RESPONSE_FORMATS):
        expected = ", ".join(_RESPONSE_FORMATS)
        raise Refused(f"response_format: expected an object whose type is one of {expected}", param="response_format")


def checked_boolean(request: Json, key: str, *, default: bool) -> bool:
    """Return the field `key`, or `default` when it is absent or null."""
    value = request.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise Refused(f"{key}: expected true or false", param=key)
    return value


def _is_deeper(value: object, depth: int) -> bool:
    """Return whether `value` is nested deeper than `depth`; without recursion, since the depth is the client's."""
    level: list[Any] = [value] if type(value) in _NESTED else []
    for _ in range(depth):
        if not level:
            return False
        inner = [item.values() if type(item) is dict else item for item in level]
        level = [child for children in inner for child in children if type(child) in _NESTED]
    return bool(level)


def with_tools_for_functions(request: Json) -> Json:
    """Return a request with `functions` in today's terms: as tools, function calls and their results with ids."""
    functions, choice = request["functions"], request.get("function_call")
    if not isinstance(functions, list):
        raise Refused("functions: expected a list", param="functions")
    changed = {key: value for key, value in request.items() if key not in ("functions", "function_call")}
    changed["tools"] = [{"type": "function", "function": function} for function in functions]
    if choice is not None:
        changed["tool_choice"] = {"type": "function", "function": choice} if isinstance(choice, dict) else choice
    if isinstance(messages := request.get("messages"), list):
        changed["messages"] = [
            _from_function_message(m, n) if isinstance(m, dict) else m for n, m in enumerate(messages)
        ]
    return changed


def _from_function_message(message: Mapping[str, Any], position: int) -> Json:
    if message.get("role") == "function":
        return {"role": "tool", "tool_call_id": f"call_{position - 1}", "content": message.get("content")}
    if isinstance(call := message.get("function_call"), dict):
        rest = {key: value for key, value in message.items() if key != "function_call"}
        return rest | {"tool_calls": [{"id": f"call_{position}", "type": "function", "function": call}]}
    return dict(message)
