"""A chat request with tools becomes the engine's request: checked, rendered in a dialect, tools taken out.

Pure: knows the OpenAI protocol and dialects, nothing of HTTP. What it refuses is the client's to mend.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from callwright.dialects.tools import Toolbox
from callwright.dialects.types import Dialect, ToolSpec
from callwright.errors import InvalidInput
from callwright.sidecar import structure
from callwright.sidecar.catalog import Speech
from callwright.sidecar.config import SidecarConfig
from callwright.sidecar.problems import Refused

Json = dict[str, Any]
RETRY = "retry_malformed_calls"
_OURS = (
    "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "tools_prompt", "eager_tool_calls",
    RETRY,
)  # fmt: skip
_MARKS = (b'"tool', b'"function')
_NESTED = frozenset((dict, list))
_DEEPEST = 200
"""Nesting of a request: what can just be read may be too deep to be written."""


@dataclass(frozen=True)
class Plan:
    """How one request is sent to the engine and how its answer is read."""

    body: Json
    """The engine's request."""
    dialect: Dialect
    tools: Sequence[ToolSpec] | None
    """Tools that a call may name; None when the request declared none, so any name is one."""
    callable: bool
    """Calls are wanted: `tool_choice` is not none."""
    single: bool
    """At most one call: `parallel_tool_calls` is false."""
    eager: bool
    """Arguments are sent as they arrive."""
    legacy: bool
    """The client speaks of `functions` and wants a `function_call`."""

    show_usage: bool
    """The client asked for the usage at the end of the stream."""
    retry: bool = False
    """The model gets one more try where it wrote a malformed call and no other."""
    loose_body: Json | None = None
    """The request to try when the engine refuses the schemas in `body`."""

    @property
    def has_tool_messages(self) -> bool:
        """Results stand in messages of the role tool, which not every chat template has."""
        return any(message["role"] == "tool" for message in self.body["messages"])


def may_need_dialect(body: bytes) -> bool:
    """False when the request surely has neither tools nor their results, told from its bytes alone."""
    return any(mark in body for mark in _MARKS)


def parse(body: bytes) -> Json:
    """The request as JSON. Raises `Refused` for what is no JSON object, or nested too deeply to be sent on."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Refused(f"the body is not JSON: {why}", code="invalid_json") from None
    if not isinstance(request, dict):
        raise Refused("the body is not a JSON object", code="invalid_json")
    if body.count(b"[") + body.count(b"{") > _DEEPEST and _deeper(request, _DEEPEST):
        raise Refused(f"the body is nested deeper than {_DEEPEST}", code="invalid_json")
    return request


def needs_dialect(request: Json) -> bool:
    """True with tools, or with calls and results among the messages."""
    if request.get("tools") or request.get("functions"):
        return True
    messages = request.get("messages")
    return isinstance(messages, list) and any(
        isinstance(m, dict) and (m.get("role") in ("tool", "function") or m.get("tool_calls") or m.get("function_call"))
        for m in messages
    )


def check_without_tools(request: Json) -> None:
    """Raise `Refused` when a request without tools demands a call."""
    if not isinstance(request.get("tool_choice"), dict) and request.get("tool_choice") != "required":
        return
    raise Refused("tool_choice is only allowed when tools are given", param="tool_choice")


def make_plan(request: Json, speech: Speech, config: SidecarConfig, *, tool_role: bool = True) -> Plan:
    """Check `request` and render it. Raises `Refused` naming the field that is wrong.

    Without `tool_role` the model's chat template has none, so results that stand in messages become the user's.
    """
    legacy = bool(request.get("functions")) and not request.get("tools")
    if legacy:
        request = _from_functions(request)
    messages = _messages(request, config)
    tools = Toolbox(_tools(request, config))
    choice = _choice(request, tools, config)
    eager = _boolean(request, "eager_tool_calls", default=False)
    try:
        rendered = speech.dialect.render(messages, tools or None, choice)
    except InvalidInput as error:
        raise Refused(str(error), param="messages") from None
    if not tool_role:
        rendered = rendered.tool_as_user()
    body = {key: value for key, value in request.items() if key not in _OURS}
    body |= {"messages": list(rendered.messages), "stop": _stop(request, speech.stop)}
    if rendered.continue_final:
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    _check_numbers(request, config)
    options = request.get("stream_options") or {}
    if not isinstance(options, dict):
        raise Refused("stream_options: expected an object", param="stream_options")
    if request.get("stream"):
        body["stream_options"] = options | {"include_usage": True}  # for the metrics
    plan = Plan(
        body=body,
        dialect=speech.dialect,
        tools=_named(tools, choice) or None,
        callable=choice != "none",
        single=not _boolean(request, "parallel_tool_calls", default=True) or legacy,
        eager=eager,
        legacy=legacy,
        show_usage=options.get("include_usage") is True,
        retry=_boolean(request, RETRY, default=config.retry_malformed_calls) and choice != "none" and _one(request),
    )
    return _enforced(plan, choice) if config.enforce else plan


def _enforced(plan: Plan, choice: object) -> Plan:
    """The plan with the engine held to what the request demands, unless the request holds it to something itself."""
    if any(plan.body.get(key) is not None for key in ("structured_outputs", "response_format")):
        return plan
    bodies = []
    for loose in (False, True):
        tag = structure.constraint(plan.dialect, plan.tools or [], choice, single=plan.single, loose=loose)
        if tag is None:
            return plan
        bodies.append(plan.body | {"structured_outputs": {"structural_tag": json.dumps(tag, ensure_ascii=False)}})
    return replace(plan, body=bodies[0], loose_body=bodies[1], eager=plan.eager or structure.is_forced(choice))


def _messages(request: Json, config: SidecarConfig) -> list[Json]:
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refused("messages: expected a list with at least one message", param="messages")
    if len(messages) > config.max_messages:
        raise Refused(f"messages: got {len(messages)}; at most {config.max_messages} are allowed", param="messages")
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
    if isinstance(content, list):
        message = message | {"content": _joined(content, f"{where}.content")}
    elif content is not None and not isinstance(content, str):
        raise Refused(f"{where}.content: expected text, a list of text parts or null", param=f"{where}.content")
    elif content is None and message["role"] in ("system", "developer", "user", "tool"):
        raise Refused(f"{where}.content: got null; expected text", param=f"{where}.content")
    return message | {"role": "system"} if message["role"] == "developer" else message


def _joined(parts: list[object], where: str) -> str:
    texts = []
    for n, part in enumerate(parts):
        text = part.get("text", part.get("refusal")) if isinstance(part, dict) else part
        if not isinstance(text, str):
            raise Refused(f"{where}[{n}]: only text parts go together with tools", param=f"{where}[{n}]")
        texts.append(text)
    return "".join(texts)


def _tools(request: Json, config: SidecarConfig) -> list[Json]:
    tools = request.get("tools")
    if tools is None:
        return []
    if not isinstance(tools, list):
        raise Refused("tools: expected a list", param="tools")
    if len(tools) > config.max_tools:
        raise Refused(f"tools: got {len(tools)}; at most {config.max_tools} are allowed", param="tools")
    for n, tool in enumerate(tools):
        function = tool.get("function", tool) if isinstance(tool, dict) else None
        if not isinstance(tool, dict) or not isinstance(function, dict):
            raise Refused(f"tools[{n}]: expected an object with a function", param=f"tools[{n}]")
        if tool.get("type", "function") != "function":
            raise Refused(f"tools[{n}].type: expected 'function'", param=f"tools[{n}].type")
        name = function.get("name")
        if not isinstance(name, str) or not name.strip() or len(name) > 256 or not name.isprintable():
            raise Refused(f"tools[{n}].function.name: expected a name of one line", param=f"tools[{n}].function.name")
        parameters = function.get("parameters")
        if parameters is not None and not isinstance(parameters, dict | list):
            raise Refused(
                f"tools[{n}].function.parameters: expected a JSON schema", param=f"tools[{n}].function.parameters"
            )
        if _deeper(parameters, config.max_schema_depth):
            raise Refused(
                f"tools[{n}].function.parameters: nested deeper than {config.max_schema_depth}",
                param=f"tools[{n}].function.parameters",
            )
    return tools


def _choice(request: Json, tools: Sequence[ToolSpec], config: SidecarConfig) -> object:
    choice = request.get("tool_choice", "auto")
    if choice is None:
        choice = config.null_tool_choice
    if isinstance(choice, dict):
        function = choice.get("function", choice)
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(name, str):
            raise Refused("tool_choice: expected the name of a function", param="tool_choice")
        if name not in [_name(tool) for tool in tools]:
            raise Refused(f"tool_choice: no tool is named {name[:80]!r}", param="tool_choice")
        return {"type": "function", "function": {"name": name}}
    if choice not in ("auto", "none", "required"):
        raise Refused("tool_choice: expected none, auto, required or a named function", param="tool_choice")
    if choice == "required" and not tools:
        raise Refused("tool_choice: 'required' needs tools", param="tool_choice")
    return choice


def _named(tools: Toolbox, choice: object) -> Toolbox:
    if isinstance(choice, dict):
        return Toolbox(tool for tool in tools if _name(tool) == choice["function"]["name"])
    return tools


def _name(tool: ToolSpec) -> Any:
    return tool.get("function", tool).get("name")


def _stop(request: Json, ours: tuple[str, ...]) -> list[str]:
    theirs = request.get("stop") or []
    theirs = [theirs] if isinstance(theirs, str) else theirs
    if not isinstance(theirs, list) or not all(isinstance(s, str) and s for s in theirs):
        raise Refused("stop: expected a string or a list of strings", param="stop")
    # The bare `Observation:` that ms-swift's clients send would also end an argument that has the word in it.
    words = {stop.strip() for stop in ours}
    return list(dict.fromkeys([*(stop for stop in theirs if stop.strip() not in words), *ours]))


def _boolean(request: Json, key: str, *, default: bool) -> bool:
    value = request.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise Refused(f"{key}: expected true or false", param=key)
    return value


def _check_numbers(request: Json, config: SidecarConfig) -> None:
    _boolean(request, "stream", default=False)
    count = request.get("n", 1)
    if count is not None and (
        not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= config.max_choices
    ):
        raise Refused(f"n: expected a number from 1 to {config.max_choices}", param="n")


def _one(request: Json) -> bool:
    return (request.get("n") or 1) == 1


def _deeper(value: object, depth: int) -> bool:
    """True when `value` is nested deeper than `depth`; without recursion, since the depth is the client's."""
    level: list[Any] = [value] if type(value) in _NESTED else []
    for _ in range(depth):
        if not level:
            return False
        inner = [item.values() if type(item) is dict else item for item in level]
        level = [child for children in inner for child in children if type(child) in _NESTED]
    return bool(level)


def _from_functions(request: Json) -> Json:
    """The request in today's terms: functions as tools, function calls and their results with ids."""
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
