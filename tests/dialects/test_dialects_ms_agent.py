"""ms_agent's tool lines: written from OpenAI tools, read back, and the real corpus read whole."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwright import dialects
from callwright.dialects import ToolCall, ms_agent

jsonschema = pytest.importorskip("jsonschema")

LEAD = "Call this tool to interact with the f API. What is the f API useful for? "
_USER = [{"role": "user", "content": "q"}]


def written(tools: list[dict[str, Any]]) -> str:
    return dialects.load("ms_agent").render(_USER, tools).messages[0]["content"]


def listed(lines: str) -> list[dict[str, Any]]:
    """The tools of a system text with these lines."""
    head, _, tail = written([{"name": "x"}]).partition("1. x: ")
    tools = ms_agent.read_tools(head + lines + "\n\n" + tail[tail.index("Use the following") :])
    assert tools is not None
    return tools


def read_one(line: str) -> dict[str, Any]:
    (tool,) = listed(f"1. {line}")
    return tool["function"]


def test_tools_of_a_plain_system_text_are_none() -> None:
    assert ms_agent.read_tools("You are a helpful assistant.") is None
    assert ms_agent.split_system("You are a helpful assistant.") is None


def test_text_before_the_prompt_is_kept_apart() -> None:
    text = dialects.load("ms_agent").render([{"role": "system", "content": "Be brief."}, *_USER], [{"name": "x"}])

    split = ms_agent.split_system(text.messages[0]["content"])

    assert split is not None
    assert split[0] == "Be brief."
    assert [tool["function"]["name"] for tool in split[1]] == ["x"]


def test_types_and_choices_open_a_description() -> None:
    schema = {
        "type": "object",
        "properties": {
            "colour": {"type": "string", "enum": ["red", "dark green"], "description": "The colour"},
            "pages": {"type": "integer"},
            "ids": {"type": "array", "items": {"type": "integer"}, "description": "Which."},
            "either": {"anyOf": [{"type": "string"}, {"type": "null"}], "description": "One"},
            "plain": {"description": "No type"},
            "odd": {"type": "string", "enum": ["a, b"], "default": "a, b"},
        },
        "required": ["colour", "ids"],
    }
    line = written([{"name": "paint", "description": "Paints", "parameters": schema}]).split("\n")[1]
    parameters = json.loads(line.partition(" Parameters: ")[2])

    assert line.startswith(
        "1. paint: Call this tool to interact with the paint API. What is the paint API useful for? Paints. "
        "Parameters: ["
    )
    assert parameters == [
        {"name": "colour", "description": "string. One of: [red, dark green]. The colour", "required": "True"},
        {"name": "pages", "description": "integer.", "required": "False"},
        {"name": "ids", "description": "Array[integer]. Which.", "required": "True"},
        {
            "name": "either",
            "description": 'Schema: {"anyOf": [{"type": "string"}, {"type": "null"}]}. One',
            "required": "False",
        },
        {"name": "plain", "description": "No type", "required": "False"},
        {"name": "odd", "description": 'string. Schema: {"enum": ["a, b"], "default": "a, b"}.', "required": "False"},
    ]
    assert listed(line)[0]["function"]["parameters"] == schema


@pytest.mark.parametrize(
    ("line", "description", "properties"),
    [
        (f"f: {LEAD}. Parameters: []", "", {}),
        (f"f: {LEAD}A. B. Parameters: []", "A. B", {}),
        (
            "f: Call this tool to interact with the g API. It does. Parameters: []",
            "Call this tool to interact with the g API. It does",
            {},
        ),
        (
            "f: Does it. Parameters: [{'name': 'a', 'description': 'it's', 'required': 'True'}]",
            "Does it",
            {"a": {"description": "it's"}},
        ),
        ("f: Does it", "Does it", {}),
        ("f: Parameters: []", "", {}),
        (
            'f: See Parameters: [x]. Parameters: [{"name": "a", "description": "Required. integer. A"}]',
            "See Parameters: [x]",
            {"a": {"type": "integer", "description": "A"}},
        ),
        (
            'f: D. Parameters: [{"name": "a", "description": "Array[Object{x: string. y.}. ]. Z"}]',
            "D",
            {"a": {"type": "array", "description": "Array[Object{x: string. y.}. ]. Z"}},
        ),
        ("f: 获取天气。 Parameters: []", "获取天气。", {}),
    ],
)
def test_lines_as_corpora_write_them(line: str, description: str, properties: dict[str, Any]) -> None:
    function = read_one(line)

    assert function["description"] == description
    assert function["parameters"]["properties"] == properties


def test_more_than_nine_tools_and_descriptions_with_lists() -> None:
    tools = [
        {
            "name": f"t{n}",
            "description": "Steps:\n1. one: two\n\n2. three: four. Parameters: [no]",
            "parameters": {"properties": {"a": {"type": "string", "description": "x]\n\n3. y: z"}}},
        }
        for n in range(1, 13)
    ]
    names = [tool["function"]["name"] for tool in ms_agent.read_tools(written(tools)) or []]

    assert names == [f"t{n}" for n in range(1, 13)]


_words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20) | st.sampled_from(
    [
        "a.",
        "a..",
        "。",
        "string. x",
        "One of: [a]. b",
        "Schema: {}. x",
        "Parameters: []",
        "1. f: x",
        "]",
        "x\n\n2. y: z",
        "",
    ]
)
_schemas = st.recursive(
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["string", "integer", "number", "boolean", "object", ["string", "null"]]),
            "description": _words,
            "enum": st.lists(_words, max_size=3),
            "default": st.integers() | _words,
        },
    ),
    lambda inner: (
        st.fixed_dictionaries({"type": st.just("array"), "items": inner}, optional={"description": _words})
        | st.fixed_dictionaries({"type": st.just("object"), "properties": st.dictionaries(_words, inner, max_size=2)})
    ),
    max_leaves=4,
)


def _tool(name: str, description: str, members: dict[str, tuple[dict[str, Any], bool]]) -> dict[str, Any]:
    properties = {key: schema for key, (schema, _) in members.items()}
    required = [key for key, (_, needed) in members.items() if needed]
    parameters = {"type": "object", "properties": properties, "required": required}
    return {"name": name, "description": description, "parameters": parameters}


_tools = st.lists(
    st.builds(
        _tool,
        st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_-]{0,15}", fullmatch=True),
        _words,
        st.dictionaries(_words.filter(bool), st.tuples(_schemas, st.booleans()), max_size=3),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda tool: tool["name"],
)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(_tools)
def test_writing_what_was_read_gives_the_same_text(tools: list[dict[str, Any]]) -> None:
    text = written(tools)
    read = ms_agent.read_tools(text)

    assert read is not None
    assert written(read) == text
    assert ms_agent.read_tools(written(read)) == read
    for before, after in zip(tools, read, strict=True):
        parameters = after["function"]["parameters"]
        assert after["function"]["name"] == before["name"]
        assert list(parameters["properties"]) == list(before["parameters"]["properties"])
        assert set(parameters["required"]) == set(before["parameters"]["required"])


def test_the_real_corpus_is_read_whole(shared: Path) -> None:
    dialect = dialects.load("ms_agent")
    rows = [json.loads(line) for line in (shared / "data" / "toolalpaca_ms_agent.jsonl").open(encoding="utf-8")]
    for row in rows:
        system, _, answer = (turn["value"] for turn in row["conversations"])
        tools = ms_agent.read_tools(system)
        assert tools is not None
        names = re.search(r"above tools\[(.*)\]", system)
        assert names is not None
        assert [tool["function"]["name"] for tool in tools] == names[1].split(", ")
        parameters = [
            json.loads(line.rpartition(" Parameters: ")[2])
            for line in system.split("Use the following format")[0].split("\n")
            if re.match(r"\d+\. ", line)
        ]
        assert [[p["name"] for p in members] for members in parameters] == [
            list(tool["function"]["parameters"]["properties"]) for tool in tools
        ]
        for tool, members in zip(tools, parameters, strict=True):
            schema = tool["function"]["parameters"]
            jsonschema.Draft202012Validator.check_schema(schema)
            assert schema["required"] == [p["name"] for p in members if p["required"] == "True"]
            assert all("type" in member for member in schema["properties"].values())
        assert written(ms_agent.read_tools(written(tools)) or []) == written(tools)

        segments = dialect.segment(answer)
        assert "".join(segment.text for segment in segments) == answer
        step = ""
        for segment in segments:
            if segment.kind == "observation":
                assert all(isinstance(call, ToolCall) for call in dialect.parse(step, tools).calls), step
                assert dialect.parse(step, tools).calls
                step = ""
            else:
                step += segment.text
        assert dialect.parse(step, tools).content == answer.partition("Final Answer: ")[2]
