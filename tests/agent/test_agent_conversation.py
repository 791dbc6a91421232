"""The agent through a real sidecar: calls are made, results come back, failures are told, and it ends."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import openai
import pytest

from callwright.agent import AgentEvent, ToolError, builtin_tools, run
from callwright.errors import StageFailed
from callwright.sidecar.app import create_app
from callwright.sidecar.config import SidecarConfig
from fakes import Engine, Served, Text

USER = [{"role": "user", "content": "What is six times seven?"}]
CALL = 'Thought: I compute.\nAction: calculate\nAction Input: {"expression": "6 * 7"}'


@contextmanager
def client(answer: Callable[[str], str]) -> Iterator[openai.OpenAI]:
    """A client of an engine that gets the last message's text and says what comes next."""
    engine = Engine(lambda request: Text([answer(request["messages"][-1]["content"])]))
    with Served(engine) as upstream:
        config = SidecarConfig(upstream=upstream.url, dialects={"*": "ms_agent"})
        with (
            Served(create_app(config)) as served,
            openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as made,
        ):
            yield made


def test_it_calls_until_it_answers() -> None:
    events: list[AgentEvent] = []
    with client(lambda text: "Thought: done\nFinal Answer: It is 42." if "Observation: 42" in text else CALL) as made:
        said = run(made, "m", USER, builtin_tools.TOOLS, builtin_tools.call, on_event=events.append, max_tokens=50)
    assert [message["role"] for message in said] == ["user", "assistant", "tool", "assistant"]
    assert said[1]["tool_calls"][0]["id"] == said[2]["tool_call_id"]
    assert said[1]["reasoning_content"] == "I compute."
    assert said[2]["content"] == "42"
    assert "It is 42." in said[3]["content"]
    assert "".join(event.text for event in events if event.kind == "thought") == "I compute.done"
    assert [(event.kind, event.name) for event in events if event.name] == [
        ("call", "calculate"), ("result", "calculate"),
    ]  # fmt: skip
    assert "".join(event.text for event in events if event.kind == "text") == "It is 42."


def test_the_model_s_thoughts_stay_in_the_conversation() -> None:
    seen: list[str] = []

    def answer(text: str) -> str:
        seen.append(text)
        return "Thought: done\nFinal Answer: It is 42." if "Observation: 42" in text else CALL

    with client(answer) as made:
        run(made, "m", USER, builtin_tools.TOOLS, builtin_tools.call)
    assert seen[-1] == f"{CALL}\nObservation: 42\n"


def test_several_calls_get_several_results() -> None:
    two = CALL + '\nAction: calculate\nAction Input: {"expression": "1 + 1"}'
    with client(lambda text: "Final Answer: both" if "Observation: 2" in text else two) as made:
        said = run(made, "m", USER, builtin_tools.TOOLS, builtin_tools.call)
    assert [message["content"] for message in said if message["role"] == "tool"] == ["42", "2"]


def test_a_tool_s_failure_is_told_to_the_model() -> None:
    def call(name: str, arguments: Any) -> object:
        raise ToolError("the abacus is broken")

    with client(lambda text: "Final Answer: sorry" if "error: the abacus is broken" in text else CALL) as made:
        said = run(made, "m", USER, builtin_tools.TOOLS, call)
    assert "sorry" in said[-1]["content"]


def test_it_does_not_go_on_for_ever() -> None:
    with client(lambda text: CALL) as made, pytest.raises(StageFailed, match="after 3 turns"):
        run(made, "m", USER, builtin_tools.TOOLS, builtin_tools.call, max_turns=3)


@pytest.mark.parametrize(
    ("expression", "value"),
    [("6 * 7", 42), ("(3 + 4) * 2 - -1", 15), ("7 // 2 + 7 % 2", 4), ("1 / 4", 0.25), (" 2 + 2 ", None)],
)
def test_calculate(expression: str, value: float | None) -> None:
    assert builtin_tools.call("calculate", {"expression": expression.strip()}) == (4 if value is None else value)


@pytest.mark.parametrize(
    "expression",
    ["", "1 +", "__import__('os')", "9 ** 9 ** 9", "1 / 0", "True + 1", "[1]", "9" * 40, "(" * 5000, "'a' * 9"],
)
def test_what_is_no_arithmetic(expression: str) -> None:
    with pytest.raises(ToolError):
        builtin_tools.calculate(expression)


def test_time_and_unknown_tools() -> None:
    assert builtin_tools.call("current_time", {"timezone": "Asia/Shanghai"}).endswith("+08:00")  # type: ignore[attr-defined]
    for name, arguments in (("current_time", {"timezone": "../etc/passwd"}), ("fly", {})):
        with pytest.raises(ToolError):
            builtin_tools.call(name, arguments)
    assert json.dumps(builtin_tools.TOOLS)


def chat(*arguments: str, said: str = "") -> "subprocess.CompletedProcess[str]":
    """`callwright chat` as it is typed."""
    command = [sys.executable, "-m", "callwright.cli", "chat", *arguments]
    return subprocess.run(command, input=said, capture_output=True, text=True, timeout=120)


def test_chat_as_it_is_typed() -> None:
    with client(lambda text: "Thought: done\nFinal Answer: It is 42." if "Observation: 42" in text else CALL) as made:
        once = chat("What is six times seven?", "--base-url", str(made.base_url))
        lines = chat("--base-url", str(made.base_url), "--model", "m", said="first\n\nsecond\n")
    assert once.returncode == 0, once.stderr
    assert once.stdout.strip() == "It is 42."
    assert "I compute." in once.stderr
    assert 'calculate({"expression": "6 * 7"})' in once.stderr
    assert lines.stdout.count("It is 42.") == 2


def test_chat_with_nobody_is_no_traceback() -> None:
    gone = chat("Hello?", "--base-url", "http://127.0.0.1:9/v1")
    assert gone.returncode == 1
    assert "nothing answers at http://127.0.0.1:9/v1" in gone.stderr
    assert "Traceback" not in gone.stderr
