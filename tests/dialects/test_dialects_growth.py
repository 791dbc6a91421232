"""Four times the text takes about four times the work, whatever is in it: read whole, in pieces, and rendered."""

import contextlib
import gc
import json
import time
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest
from generated import TOOLS

from callwright import dialects
from callwright.dialects import Dialect, ms_agent
from callwright.dialects.arguments import read_bare, read_value
from callwright.dialects.foreign import Foreign
from callwright.dialects.literals import Json
from callwright.dialects.tools import read_tools
from callwright.dialects.types import MalformedCall
from callwright.errors import InvalidInput

pytestmark = pytest.mark.timeout(900)
SIZE = 1 << 16
MOST_GROWTH = 9
"""Of the CPU time for four times the text; what is quadratic takes 16 times as long."""
UNMEASURED_SECONDS = 0.2
MOST_TRIES = 4
"""What other processes do disturbs some, and what is quadratic is so in each."""
MARKS = (
    *("<tool_call>", "</tool_call>", "<tool_call>{", "<tool_call>```json\n", "<tool_response>", "<think>", "</think>"),
    *("Action: f\n", "Action: f\nAction Input: {}\n", "Action: f(", 'Action: f(a="\n', "Action: {", "Action: f{}\n"),
    *("Thought: ", "Observation: x\n", "Answer: ", "Question: x\n", "Action: f\nAction Input: {}\nObservation: y\n"),
    *(
        "{",
        "}",
        "[",
        '"',
        "'",
        '"""',
        "“",
        "\\",
        "```",
        "`",
        " ",
        "\n",
        " \n",
        "<|im_end|>",
        "a, ",
        "a=1, ",
        '{"a":1},',
    ),
)
OPENINGS = (
    "",
    "Action: ",
    "Action: {",
    "Action: f\nAction Input: ",
    "Action: f\nAction Input: ```x",
    "Action: f(a='''",
)
OPENINGS_OF_TAGS = (
    "",
    "<tool_call>",
    "<tool_call>```json",
    '<tool_call>{"name": "f", "arguments": {',
    "<tool_call>{}x",
)


NATIVE = {
    "llama_json": ("", "<|python_tag|>", '{"name": "fire_alert", "parameters": {"a": "'),
    "mistral": ("", "[TOOL_CALLS]", '[TOOL_CALLS]fire_alert[ARGS]{"a": "'),
    "lfm2": ("", "<|tool_call_start|>[", "[fire_alert(a='"),
}
"""Openings of formats whose calls have no closing tag."""
NATIVE_MARKS = (
    *("{", "[", "(", '"', "'", "\\", "`", " ", "\n", '"""', "', ", "'a', b ", "a, ", "; ", "]", "</think>"),
    *('\n{"name": ', "\n[{", "\n[fire_alert(", "\n```\n{", "[fire_alert()]", "fire_alert{}", "<|python_tag|>"),
    *("[TOOL_CALLS]", "[ARGS]", "[THINK]", "<|tool_call_start|>[f(", "<|tool_call_end|>", "<function_calls>", "**{"),
    *('{"name": "fire_alert", "parameters": {}}\n', "[TOOL_CALLS]fire_alert[ARGS]{}", "fire_alert(), "),
)


@pytest.fixture(autouse=True)
def _others_heap() -> Iterator[None]:
    """Keep the collector from looking through what other tests have loaded while this one's work is measured."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def check_growth(work: Callable[[str], object], make: Callable[[int], str], size: int = SIZE) -> None:
    """Fails where four times the size takes over `MOST_GROWTH` times as long, in each of `MOST_TRIES`."""
    small, large = make(size), make(4 * size)
    seconds = []
    for _ in range(MOST_TRIES):
        seconds.append((spent(work, small), spent(work, large)))
        if seconds[-1][1] < max(UNMEASURED_SECONDS, MOST_GROWTH * seconds[-1][0]):
            return
    raise AssertionError(f"seconds: {seconds}, of {small[:60]!r}")


def spent(work: Callable[[str], object], text: str) -> float:
    """CPU time of the work."""
    started = time.process_time()
    work(text)
    return time.process_time() - started


def repeated(opening: str, mark: str) -> Callable[[int], str]:
    """Makes texts of a size."""
    return lambda size: opening + mark * (size // len(mark))


def read_in_pieces(dialect: Dialect, text: str) -> None:
    """A piece of one character takes the most steps."""
    parser = dialect.parser(TOOLS, eager=True)
    for character in text:
        parser.feed(character)
    parser.close()


def render(dialect: Dialect, text: str) -> None:
    """In every place of a conversation."""
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": text}}
    turn = {"role": "assistant", "content": text}
    result = {"role": "tool", "tool_call_id": "1", "content": text}
    dialect.render([{"role": "user", "content": text}, turn, turn], TOOLS)
    dialect.render([{"role": "user", "content": text}, {**turn, "content": "", "tool_calls": [call]}, result], TOOLS)
    with contextlib.suppress(InvalidInput):  # text that makes other calls, or hides those beside it
        dialect.render([turn | {"tool_calls": [call]}, result, turn], TOOLS)


@pytest.mark.parametrize("name", ["react_en", "hermes"])
def test_repeated_marks_take_linear_time(name: str) -> None:
    dialect = dialects.load(name)
    openings = OPENINGS_OF_TAGS if name == "hermes" else OPENINGS
    for opening, mark in product(openings, MARKS):
        check_growth(lambda text: read_in_pieces(dialect, text), repeated(opening, mark), 1 << 11)
        check_growth(lambda text: dialect.parse(text, TOOLS), repeated(opening, mark), 1 << 14)


@pytest.mark.parametrize("name", NATIVE)
def test_repeated_marks_of_calls_without_closing_tags_take_linear_time(name: str) -> None:
    dialect = dialects.load(name)
    for opening, mark in product(NATIVE[name], NATIVE_MARKS):
        check_growth(lambda text: read_in_pieces(dialect, text), repeated(opening, mark), 1 << 11)
        check_growth(lambda text: dialect.parse(text, TOOLS), repeated(opening, mark), 1 << 14)


@pytest.mark.parametrize("name", ["react_en", "hermes"])
def test_a_turn_of_many_marks_is_rendered_in_linear_time(name: str) -> None:
    dialect = dialects.load(name)
    for mark in ("Action: f\n", "Action: f\nAction Input: {}\n", "<tool_call>{}</tool_call>\n", "<think>\n</think>\n"):
        check_growth(lambda text: render(dialect, text), repeated("", mark))


def test_a_listing_of_many_tools_is_read_in_linear_time() -> None:
    head = "Answer the following questions as best you can. You have access to the following APIs:\n"
    for line in ("{}. f: x Parameters: []\n\n", "{}. f: x\n", "2. f: x\n", "\n", "x Parameters: ['''"):
        check_growth(
            ms_agent.read_tools, lambda size, line=line: head + "".join(map(line.format, range(size // len(line))))
        )
    lead = "1. f: Call this tool to interact with the "
    check_growth(ms_agent.read_tools, repeated(head + lead, "x API. What is the "), 1 << 18)


def test_arguments_in_a_fence_are_read_in_linear_time() -> None:
    [tool] = read_tools([{"name": "f", "parameters": {"properties": {"a": {"type": "string"}}}}])
    check_growth(lambda text: read_bare(text, tool), lambda size: f"```{' ' * size}x")


def test_a_tool_of_many_parameters_is_read_and_shown_in_linear_time() -> None:
    def declared(size: int) -> str:
        names = [f"p{number}" for number in range(size // 16)]
        shape = {"properties": {name: {"type": "string", "required": True} for name in names}, "required": names}
        return json.dumps({"name": "f", "parameters": {"anyOf": [shape, shape], **shape}})

    messages = [{"role": "user", "content": "x"}] * 8
    for name in dialects.NAMES:
        dialect = dialects.load(name)
        check_growth(lambda text, dialect=dialect: dialect.render(messages, [json.loads(text)]), declared)


SHAPES: dict[str, Callable[[list[str]], dict[str, Any]]] = {
    "enum": lambda words: {"properties": {"a": {"items": {"enum": words}}}},
    "types": lambda words: {"properties": {"a": {"items": {"type": words}}}},
    "a long reference": lambda words: {"properties": {"a": {"items": {"items": {"$ref": f"#/{'/'.join(words)}"}}}}},
    "a shared enum": lambda words: {
        "properties": {word: {"$ref": "#/$defs/all"} for word in words},
        "$defs": {"all": {"enum": words}},
    },
}
"""Large schemas that each of many values has to do with."""


@pytest.mark.parametrize("shape", SHAPES)
def test_many_values_of_a_large_schema_are_read_in_linear_time(shape: str) -> None:
    def work(text: str) -> None:
        words = [f"w{number}" for number in range(len(text))]
        [tool] = read_tools([{"name": "f", "parameters": SHAPES[shape](words)}])
        values: Json = [[]] * len(text) if shape == "a long reference" else ["x"] * len(text)
        read_value({"a": values, **dict.fromkeys(words, "x")}, tool)

    check_growth(work, "x".__mul__, 1 << 12)


@pytest.mark.parametrize("text", ["x", "w1=1, w2: y", "None", "w1, " * 16, '{"w1": 1}'])
def test_many_calls_of_a_tool_of_many_parameters_are_read_in_linear_time(text: str) -> None:
    def work(size: str) -> None:
        words = [f"w{number}" for number in range(len(size))]
        tool = {"name": "f", "parameters": {"properties": {key: {} for key in words}, "required": words}}
        turn = dialects.load("react_en").parse(f"Action: f\nAction Input: {text}\n" * len(size), [tool])
        assert len(turn.calls) == len(size)
        assert all(len(call.reason) < 1000 for call in turn.calls if isinstance(call, MalformedCall))

    check_growth(work, "x".__mul__, 1 << 9)


def test_many_calls_that_mention_one_of_many_tools_are_read_in_linear_time() -> None:
    def work(size: str) -> None:
        tools = [{"name": f"tool_number_{number}"} for number in range(len(size))]
        dialects.load("react_en").parse("Action: use the tool, number 7\nAction Input: {}\n" * len(size), tools)

    check_growth(work, "x".__mul__, 1 << 8)


def test_beginnings_of_many_special_tokens_are_read_in_linear_time() -> None:
    def work(text: str) -> None:
        listed = [f"<SPECIAL_{n}>" for n in range(len(text) // 32)]
        Foreign(dialects.load("hermes"), listed).broken([{"role": "user", "content": text}], None)

    check_growth(work, repeated("", "<SPECIAL_ "))


def test_many_users_texts_read_the_tools_once() -> None:
    """AgentFabric names the tools before each of them, in the language of their descriptions."""
    tools = [{"name": "f", "description": "x" * 1_000_000}]
    dialect = dialects.load("agentfabric")
    check_growth(lambda text: dialect.render([{"role": "user", "content": "x"}] * len(text), tools), "x".__mul__, 256)
