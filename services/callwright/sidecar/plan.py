"""`ChatPlan`: the engine's request for a chat request with tools, and how the engine's answer is to be read.

The messages and tools are rendered in the model's dialect. Where a call is demanded, the engine is held to one by a
structural tag (xgrammar's, through vLLM's structured outputs). Pure: knows nothing of HTTP.
"""

import contextlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from callwright.dialects.foreign import Foreign
from callwright.dialects.native import Native
from callwright.dialects.react import ReactDialect
from callwright.dialects.react_thoughts import MarkedThoughts
from callwright.dialects.reasoning import marked_thoughts, reasoning_as_thoughts
from callwright.dialects.tools import Toolbox
from callwright.dialects.types import (
    REASONING,
    THINK_END,
    Dialect,
    Rendered,
    StreamParser,
    ToolSpec,
)
from callwright.errors import InvalidInput
from callwright.sidecar import chat_request
from callwright.sidecar.client_forms import check_forms
from callwright.sidecar.config import SidecarConfig
from callwright.sidecar.errors import Refused
from callwright.sidecar.gemma_grammar import UNHELD
from callwright.sidecar.grammar_bounds import GrammarBounds
from callwright.sidecar.grammar_forms import constant, either, json_value
from callwright.sidecar.models import ModelDialect
from callwright.sidecar.structural_tags import after_reasoning, is_demanded, structural_tag
from callwright.store import Template

Json = dict[str, Any]
RETRY = "retry_malformed_calls"
_NOT_SENT = (
    "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "tools_prompt", "eager_tool_calls",
    RETRY,
)  # fmt: skip
_SPEAKERS = ("user", "tool", "function")
"""Roles of those whom the model answers: the client, then its tools."""
_EFFORT = "reasoning_effort"
"""Changes the prompt of chat templates that know it, as the engine makes one, and so does not go to a model that was
trained with one prompt."""
_BUDGET = "thinking_token_budget"
_GUIDED = "guided_"
"""How older engines' fields of the same begin."""
_FORMS = frozenset(
    ("response_format", "structured_outputs", *(_GUIDED + kind for kind in ("json", "regex", "choice", "grammar")))
)
"""Fields of a request that hold the engine to a form."""


@dataclass(frozen=True)
class ChatPlan:
    """How one chat request is sent to the engine and how its answer is read."""

    body: Json
    """The engine's request."""
    dialect: Dialect
    tools: Sequence[ToolSpec] | None
    """Tools that a call may name; None when the request declared none, so any name is one."""
    may_call: bool
    """Calls are wanted: `tool_choice` is not none."""
    single_call: bool
    """At most one call: `parallel_tool_calls` is false."""
    eager: bool
    """Arguments are sent as they arrive."""
    legacy: bool
    """The client knows `functions` only and wants a `function_call`."""
    show_usage: bool
    """The client asked for the usage at the end of the stream."""
    broken: int = 0
    """Special tokens and markers that were broken in what is not the model's own."""
    opened: bool = False
    """The prompt ends within a think block, so the answer begins in it."""
    model: str = ""
    """The model's id."""
    version: bytes | None = None
    """The version of the model that this is written for; None for any."""
    retry: bool = False
    """The model gets one more try where it wrote a malformed call and no other."""
    left_out: tuple[tuple[str, str], ...] = ()
    """What the engine is not held to because a grammar of it would take too long: where, and which keyword."""
    fallbacks: tuple[Json, ...] = ()
    """The requests to try in turn while the engine refuses the one before: without the tools' schemas, the form of the
    answer or the budget of thoughts, that not every engine can hold a model to."""
    waits: str | None = None
    """The field with the form of the answer that the last request leaves out until results are in."""
    thoughts: MarkedThoughts | None = None
    """How marked thoughts are read as reasoning; None where they are content, or the dialect marks none."""

    def parser(self, *, eager: bool = False) -> StreamParser:
        """Return the parser of a turn."""
        if self.thoughts is not None and isinstance(self.dialect, ReactDialect):
            return self.dialect.thoughtful_parser(self.parsed_tools, eager, self.opened, self.thoughts)
        return self.dialect.parser(self.parsed_tools, eager=eager, opened=self.opened)

    @property
    def has_tool_messages(self) -> bool:
        """Results stand in messages of the role tool, which not every chat template has."""
        return any(message["role"] == "tool" for message in self.body["messages"])

    @property
    def has_several_systems(self) -> bool:
        """It begins with several system messages, of which not every chat template shows more than one."""
        return [message["role"] for message in self.body["messages"][:2]] == ["system", "system"]

    @property
    def parsed_tools(self) -> Sequence[ToolSpec] | None:
        """The tools that the parser is to know; with an empty list it takes no text for a call."""
        return self.tools if self.may_call else []


def make_plan(request: Json, model: ModelDialect, config: SidecarConfig, *, tool_role: bool = True) -> ChatPlan:
    """Check `request` and render it. Raises `Refused` naming the field that is wrong.

    Without `tool_role` the model's chat template has none, so results that stand in messages become the user's; a
    model's manifest knows better.
    """
    legacy = bool(request.get("functions")) and not request.get("tools")
    if legacy:
        request = chat_request.with_tools_for_functions(request)
    request = chat_request.with_allowed_tools(request)
    messages = chat_request.checked_messages(request)
    tools = Toolbox(chat_request.checked_tools(request, config))
    choice = chat_request.checked_tool_choice(request, tools, config)
    callable_tools = tools
    if isinstance(choice, dict):
        callable_tools = Toolbox(t for t in tools if chat_request.tool_name(t) == choice["function"]["name"])
    options = chat_request.checked_stream_options(request)
    chat_request.check_response_format(request)
    think_blocks = model.template is not None and model.template.has_think_blocks
    thoughts = marked_thoughts(model.dialect, think_blocks=think_blocks)
    are_reasoning = config.thoughts == "reasoning"
    try:
        foreign = Foreign(model.dialect, model.special_tokens)
        default_system = model.template.default_system if model.template else ""
        shown = reasoning_as_thoughts(messages, model.dialect, think_blocks=think_blocks)
        rendered = model.dialect.render(*foreign.broken(shown, tools or None), choice, default_system)
        _check_think_blocks(rendered, model)
    except InvalidInput as error:
        raise Refused(str(error), param="messages") from None
    shows_reasoning = True
    if (template := model.template) is not None:
        tool_role, shows_reasoning = template.tool_role, template.shows_reasoning
    rendered = rendered.for_template(tool_role=tool_role, shows_reasoning=shows_reasoning)
    body = {key: value for key, value in request.items() if key not in _NOT_SENT}
    if template is not None:
        body.pop(_EFFORT, None)
        if arguments := chat_request.checked_template_arguments(request, template.arguments):
            body[chat_request.TEMPLATE_ARGUMENTS] = arguments
    body |= {
        "messages": [_as_sent(message) for message in rendered.messages],
        "stop": chat_request.checked_stop(request, model.stop),
    }
    if rendered.tools:
        body |= {"tools": list(rendered.tools), "tool_choice": "none"}  # in the prompt; the answer stays text
    if isinstance(model.dialect, Native) and _shows_special(model.dialect, model.special_tokens):
        body |= {"skip_special_tokens": False, "spaces_between_special_tokens": False}
    if rendered.continue_final:
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    if chat_request.checked_boolean(request, "stream", default=False):
        body["stream_options"] = options | {"include_usage": True}  # for the metrics
    retry = chat_request.checked_boolean(request, RETRY, default=config.retry_malformed_calls)
    plan = ChatPlan(
        body=body,
        dialect=model.dialect,
        tools=callable_tools or None,
        may_call=choice != "none",
        single_call=not chat_request.checked_boolean(request, "parallel_tool_calls", default=True) or legacy,
        eager=chat_request.checked_boolean(request, "eager_tool_calls", default=False),
        legacy=legacy,
        opened=template is not None and not rendered.continue_final and _opens(template, body["messages"]),
        model=str(request.get("model")),
        version=model.version,
        show_usage=options.get("include_usage") is True,
        broken=foreign.count,
        retry=retry and choice != "none" and request.get("n") in (None, 1),
    )
    is_typed = _answer(plan.body)[0] is not None and plan.may_call and bool(plan.tools)
    if thoughts is not None and (are_reasoning or is_typed):
        plan = replace(plan, thoughts=replace(thoughts, one_line=is_typed))
    has_results = rendered.continue_final or _has_results(messages)
    enforced = _enforced(plan, choice, config, has_results=has_results) if config.enforce else None
    if enforced is None:
        check_forms(plan.body, config)
        plan = _with_form_alone(plan, choice, has_results=has_results)
        if plan.opened and _answer(plan.body) != (None, False):
            plan = replace(plan, opened=False)
    plan = enforced or plan
    if _BUDGET not in plan.body:
        return plan
    without = [{key: value for key, value in body.items() if key != _BUDGET} for body in plan.fallbacks or (plan.body,)]
    return replace(plan, fallbacks=tuple(without))


def _has_results(messages: Sequence[Json]) -> bool:
    """Return whether results have come since the user spoke last."""
    last = next((message["role"] for message in reversed(messages) if message["role"] in _SPEAKERS), None)
    return last in _SPEAKERS[1:]


def _with_form_alone(plan: ChatPlan, choice: object, *, has_results: bool) -> ChatPlan:
    """Return the plan for an engine that can't be held to calls or an answer.

    The form that it would hold every turn to waits until results are in, or no tool would ever be called.
    """
    answer, _ = _answer(plan.body)
    if answer is None or has_results or choice != "auto" or not plan.tools:
        return plan
    body = {key: value for key, value in plan.body.items() if key not in _FORMS}
    return replace(plan, body=body, waits=_form_field(plan.body))


def _form_field(body: Json) -> str:
    """Return the field that has the form of the answer."""
    return next(key for key in body if key in _FORMS and body[key] is not None)


def _check_think_blocks(rendered: Rendered, model: ModelDialect) -> None:
    """Raise `InvalidInput` for a text that the model's chat template would cut."""
    if model.template is None or model.template.keeps_think_blocks:
        return
    for segment in rendered.segments:
        if segment.turn is not None and THINK_END in segment.text:
            raise InvalidInput(
                f"messages[{segment.turn}]: got {THINK_END} within the assistant's text, which this model's chat "
                "template cuts there; expected thoughts at the head of a turn alone; leave this one out"
            )


def _as_sent(message: Json) -> Json:
    """Return the message in OpenAI's terms, with its reasoning under vLLM's own key too, the only one that its
    `/tokenize` reads.
    """
    if REASONING in message:
        message = message | {"reasoning": message[REASONING]}
    if calls := message.get("tool_calls"):
        message = message | {"tool_calls": [call | {"function": _written(call["function"])} for call in calls]}
    return message


def _written(function: Json) -> Json:
    return function | {"arguments": json.dumps(function["arguments"], ensure_ascii=False)}


def _shows_special(dialect: Native, special: Sequence[str] | None) -> bool:
    """Return whether the engine has to show special tokens; also where nothing says which tokens are."""
    return special is None or dialect.is_special(special)


def _opens(template: Template, messages: Sequence[Json]) -> bool:
    """Return whether the prompt ends within a think block."""
    after_result = template.tools and bool(messages) and messages[-1]["role"] == "tool"
    return template.resumes_reasoning if after_result else template.opens_reasoning


def _enforced(plan: ChatPlan, choice: object, config: SidecarConfig, *, has_results: bool) -> ChatPlan | None:
    """Return the plan with the engine held to what the request demands, None where it demands nothing of ours.

    Calls come first, then the form of the answer. An engine can be held to one thing only. Where the model may answer,
    a form that can't be told beside calls stands alone; where a call is demanded, no answer is there to be held.
    """
    answer, is_other = _answer(plan.body)
    if is_other and not is_demanded(choice):
        return None
    tools = plan.tools or []
    if structural_tag(plan.dialect, tools, choice, single_call=plan.single_call, answer=answer, loose=True) is None:
        return None
    bounds = GrammarBounds(config.max_grammar_cost, config.max_schema_depth)
    if choice == "auto" and answer is not None:
        if answer["type"] == "json_schema":
            answer = json_value(bounds.fit(answer["json_schema"], _form_field(plan.body)))
        else:
            check_forms(plan.body, config)
    unheld = UNHELD if plan.dialect.call_grammar.style == "gemma" else ()
    bounded = [
        _bounded(tool, bounds, unheld) if choice != "auto" or answer or _is_strict(tool) else tool for tool in tools
    ]
    body = {key: value for key, value in plan.body.items() if key not in _FORMS}
    bodies = []
    thought = ("", "") if plan.opened else plan.dialect.thought_frame()
    for held, loose in ((bounded, False), (tools, True)):
        tag = structural_tag(
            plan.dialect, held, choice, single_call=plan.single_call, answer=answer, thought=thought, loose=loose
        )
        if tag and plan.opened:
            tag["format"] = after_reasoning(plan.dialect, tag["format"])
        bodies.append(body | {"structured_outputs": {"structural_tag": json.dumps(tag, ensure_ascii=False)}})
    held_at_once = plan.opened and has_results  # and would be read as the thought that the prompt has opened
    if answer is not None and not is_demanded(choice) and not held_at_once:
        plan = _with_form_alone(plan, choice, has_results=has_results)
        bodies.append(plan.body)
    return replace(
        plan,
        body=bodies[0],
        fallbacks=tuple(bodies[1:]),
        eager=plan.eager or is_demanded(choice),
        left_out=tuple(bounds.left_out),
    )


def _bounded(tool: ToolSpec, bounds: GrammarBounds, unheld: Collection[str]) -> ToolSpec:
    """Return a tool whose parameters say no more than there is room for in a grammar."""
    function = tool.get("function", tool)
    if not isinstance(parameters := function.get("parameters"), dict):
        return tool
    return {"function": {**function, "parameters": bounds.fit(parameters, function["name"], unheld)}}


def _is_strict(tool: ToolSpec) -> bool:
    return tool.get("function", tool).get("strict") is True


def _answer(body: Json) -> tuple[Json | None, bool]:
    """Return the form that the answer is to have, as a structural tag writes it, and whether it has another."""
    if _FORMS.isdisjoint(body):
        return None, False
    named, outputs = body.get("response_format"), body.get("structured_outputs")
    if guided := [key for key in body if key.startswith(_GUIDED) and key in _FORMS]:
        outputs = (outputs if isinstance(outputs, dict) else {}) | {
            key.removeprefix(_GUIDED): body[key] for key in guided
        }
    if isinstance(outputs, dict):
        outputs = {key: _read(value) for key, value in outputs.items() if value is not None}
    if isinstance(named, dict) and named.get("type") == "text":
        named = None
    form: object = None
    match outputs if named is None else named:
        case None:
            return None, False
        case {"type": "json_object"} | {"json_object": True}:
            form = json_value({"type": "object"})
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}} | {"json": dict(schema)}:
            form = json_value(schema)
        case {"type": "structural_tag", "format": form} | {"structural_tag": {"format": form}}:
            pass
        case {"regex": str(pattern)}:
            form = {"type": "regex", "pattern": pattern}
        case {"choice": [str(), *_] as texts} if all(isinstance(text, str) for text in texts):
            form = either([constant(text) for text in texts])
    alone = outputs is None or (named is None and isinstance(outputs, dict) and len(outputs) == 1)
    return (form, False) if isinstance(form, dict) and alone else (None, True)


def _read(written: object) -> object:
    """Return what a text says in JSON, in which the engine takes schemas too; else what was given."""
    if isinstance(written, str) and written.startswith("{"):
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(written)
    return written
