"""Checks a conversation that has been read: order of roles, empty turns, calls, arguments, results.

Returns each fault as a `Finding`; `readers` decides what happens to a faulty row.
"""

import json
from collections.abc import Iterator

from callwright.datasets import call_text, schemas
from callwright.datasets.conversation import JSON, Conversation
from callwright.datasets.report import Finding
from callwright.dialects.literals import encodable, read_unambiguous

HALF_SURROGATE = Finding("encoding", "got half a surrogate pair; expected text that UTF-8 can hold")
"""An escape such as `\\ud83d` by itself."""
_MAY_FOLLOW = {
    "system": ("start",),
    "user": ("start", "system", "assistant"),
    "assistant": ("user", "tool"),
    "tool": ("assistant", "tool"),
}


def check(conversation: Conversation) -> list[Finding]:
    """Return all findings of one conversation; none when it can be trained on as it stands."""
    messages = conversation.messages
    return [
        *_roles(messages),
        *_empty(messages),
        *_loss(messages),
        *_calls(conversation),
        *call_text.find(conversation),
    ]


def _roles(messages: tuple[JSON, ...]) -> Iterator[Finding]:
    before = "start"
    for index, message in enumerate(messages, start=1):
        role, allowed = message["role"], _MAY_FOLLOW[message["role"]]
        if before not in allowed:
            yield Finding("role_order", f"message {index}: got {role} after {before}; expected {' or '.join(allowed)}")
        before = role
    if not any(message["role"] == "assistant" for message in messages):
        yield Finding("no_assistant", "got no assistant turn; expected at least one to train on")


def _empty(messages: tuple[JSON, ...]) -> Iterator[Finding]:
    for index, message in enumerate(messages, start=1):
        if message["role"] != "tool" and not message.get("tool_calls") and not (message["content"] or "").strip():
            yield Finding("empty_turn", f"message {index}: got an empty {message['role']} turn; expected text")


def _loss(messages: tuple[JSON, ...]) -> Iterator[Finding]:
    weights = [message.get("weight", 1.0) for message in messages if message["role"] == "assistant"]
    if weights and not any(weights):
        yield Finding("no_loss", "got weight 0 at every assistant turn; expected at least one to train on")


def _calls(conversation: Conversation) -> Iterator[Finding]:
    declared = {tool["function"]["name"]: tool["function"] for tool in conversation.tools}
    unanswered: list[str] = []
    for index, message in enumerate(conversation.messages, start=1):
        if message["role"] == "tool":
            if message["tool_call_id"] in unanswered:
                unanswered.remove(message["tool_call_id"])
            else:
                yield Finding("observation", f"message {index}: got a result without a call; expected a call before it")
            continue
        if unanswered:
            missing = len(unanswered)
            yield Finding(
                "observation", f"message {index}: got {missing} calls without a result; expected one for each"
            )
            unanswered = []
        for call in message.get("tool_calls") or ():
            unanswered.append(call["id"])
            yield from _call(call["function"], declared, index)


def _call(function: JSON, declared: dict[str, JSON], index: int) -> Iterator[Finding]:
    name = function["name"]
    if name not in declared:
        known = ", ".join(declared) or "no tools"
        yield Finding("undeclared_tool", f"message {index}: got a call of {name}; expected one of {known[:200]}")
    text: str = function["arguments"]
    try:
        arguments = read_unambiguous(text)
    except ValueError as error:
        yield Finding("arguments", f"message {index}: got {text[:80]!r}; expected a JSON object: {error}")
        return
    if not isinstance(arguments, dict):
        yield Finding("arguments", f"message {index}: got {text[:80]!r}; expected a JSON object")
        return
    if "\\u" in text and encodable(decoded := json.dumps(arguments, ensure_ascii=False)) != decoded:
        yield HALF_SURROGATE
    if name in declared:
        for violation in schemas.violations(arguments, declared[name].get("parameters")):
            yield Finding("schema", f"message {index}: {name}: {violation}")
