"""Prompts to the letter, the splice of results, the order of parallel calls, tool choice, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from callwright import dialects
from callwright.dialects import ToolCall
from callwright.dialects.agentfabric import AgentFabric, roleplay_steps
from callwright.dialects.messages import text_of_part
from callwright.errors import InvalidInput

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_current_weather",
        "description": "Get the current weather in a given location",
        "parameters": {
            "type": "object",
            "properties": {"location": {"type": "string", "description": "The city"}},
            "required": ["location"],
        },
    },
}
WEATHER_REPR = (
    "{'name': 'get_current_weather', 'description': 'Get the current weather in a given location', 'parameters': "
    "{'type': 'object', 'properties': {'location': {'type': 'string', 'description': 'The city'}}, "
    "'required': ['location']}}"
)
ALARM = {"name": "ring", "description": "Rings", "parameters": {"type": "object", "properties": {}}}
USER = {"role": "user", "content": "Is it raining in Boston?"}
LOOPS = ("react_en", "react_zh", "ms_agent", "agentfabric")


def system_of(name: str, tools: list[dict[str, Any]], given: str | None = None) -> str:
    messages = [USER] if given is None else [{"role": "system", "content": given}, USER]
    return dialects.load(name).render(messages, tools).messages[0]["content"]


def call(name: str, arguments: str, id: str = "c1") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def calling(*calls: dict[str, Any], content: str | None = None) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": list(calls)}


def result(content: Any, id: str = "c1") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": content}


def said(content: str) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def test_react_en_prompt() -> None:
    assert system_of("react_en", [WEATHER, ALARM]) == (
        "Answer the following questions as best you can. You have access to the following tools:\n\n"
        f"{WEATHER_REPR}\n\n"
        "{'name': 'ring', 'description': 'Rings', 'parameters': {'type': 'object', 'properties': {}}}\n\n"
        "Use the following format:\n\n"
        "Thought: you should always think about what to do\n"
        "Action: the action to take, should be one of [get_current_weather,ring]\n"
        "Action Input: the input to the action\n"
        "Observation: the result of the action\n"
        "... (this Thought/Action/Action Input/Observation can be repeated zero or more times)\n"
        "Final Answer: the final answer to the original input question\n\n"
        "Begin!\n"
    )


def test_react_zh_prompt_is_full_width() -> None:
    assert system_of("react_zh", [WEATHER]) == (
        f"尽你所能回答以下问题。你拥有如下工具：\n\n{WEATHER_REPR}\n\n"
        "使用以下格式回答：\n\n"
        "Thought: 思考你应该做什么\n"
        "Action: 工具的名称，必须是[get_current_weather]之一\n"
        "Action Input: 工具的输入\n"
        "Observation: 工具返回的结果\n"
        "... (Thought/Action/Action Input/Observation的过程可以重复零次或多次)\n"
        "Final Answer: 对输入问题的最终答案\n\n"
        "开始！\n"
    )


def test_toolbench_prompt_keeps_its_misspellings() -> None:
    prompt = system_of("toolbench", [WEATHER])

    assert prompt.endswith(f"Specifically, you have access to the following APIs: {WEATHER_REPR}")
    for words in ("actually excute", "finial answer", "more then one trys", "continusly try", "time user querys"):
        assert words in prompt
    assert "Action Input:\n\nAfter the call" in prompt
    assert "subfunctions' names.\n" in prompt


def test_prompts_say_what_the_deployment_guide_says(shared: Path) -> None:
    """The guide is a web copy: blank lines are gone, punctuation is half-width; what is left has to agree."""
    guide = next((shared / "seeds").glob("004_*")).read_text(encoding="utf-8")
    squeezed = "".join(guide.replace("\\'", "'").split())
    tools = [json.loads(guide[(start := guide.index('{\n"tools": [')) : guide.index("ToolBench tools 格式", start)])]
    for name in ("react_en", "react_zh", "toolbench"):
        prompt = "".join(system_of(name, tools[0]["tools"]).split())
        for full, half in ("：:", "，,", "！!"):
            prompt, squeezed = prompt.replace(full, half), squeezed.replace(full, half)
        # One character is missing in the copy.
        assert prompt.replace("使用以下格式", "以下格式") in squeezed, name


def test_ms_agent_prompt_round_trips_the_published_row(shared: Path) -> None:
    guide = next((shared / "seeds").glob("001_*")).read_text(encoding="utf-8")
    row = json.loads(guide[guide.index("```json") + 7 : guide.index("```", guide.index("```json") + 7)])
    system = row["conversations"][0]["value"]
    fire = guide[
        (start := guide.index("Answer the following", guide.index("火焰报警"))) : guide.index("```", start)
    ].strip()

    for text in (system, fire):
        tools = dialects.ms_agent.read_tools(text)
        assert tools is not None
        assert len(tools) == 4
        assert system_of("ms_agent", tools) == text


def test_agentfabric_prompt_says_what_the_guide_says(shared: Path) -> None:
    guide = next((shared / "seeds").glob("003_*")).read_text(encoding="utf-8")
    start = guide.index("# 工具", guide.index("Example of AgentFabric prompt"))
    example = guide[start : guide.index("```", start)]
    tool = {
        "name": "amap_weather",
        "description": "获取对应城市的天气数据",
        "parameters": {
            "type": "object",
            "properties": {
                "location": {"type": "string", "description": "城市/区具体名称，如`北京市海淀区`请描述为`海淀区`"}
            },
            "required": ["location"],
        },
    }
    role = "你扮演一个天气预报助手，你需要查询相应地区的天气，并调用给你的画图工具绘制一张城市的图。"
    messages = [{"role": "system", "content": role}, {"role": "user", "content": "朝阳区天气怎样？"}]

    system, user = dialects.load("agentfabric").render(messages, [tool]).messages

    written = f"{system['content']}\n{user['content']}"
    assert [line for line in written.split("\n") if line] == [line for line in example.split("\n") if line]
    assert system["content"].startswith("\n# 工具\n\n## 你拥有如下工具：\n\namap_weather: amap_weather API。")
    assert system["content"].endswith(
        "：![图片](url)\n\n\n# 指令\n\n" + role + "\n\n" + system["content"].split("\n\n")[-1]
    )


def test_agentfabric_speaks_the_tools_language() -> None:
    english = system_of("agentfabric", [WEATHER], given="Be brief.")
    chinese = system_of("agentfabric", [WEATHER | {"function": WEATHER["function"] | {"description": "天气"}}])
    forced = AgentFabric("zh").render([USER], [WEATHER]).messages

    assert english.startswith("\n# Tools\n\n## You have the following tools:\n\nget_current_weather: ")
    assert "\n#Instructions\n\nBe brief.\n\nNote: you have" in english
    assert "\n# 指令\n\n你扮演AI-Agent，\n" in chinese
    assert forced[0]["content"].startswith("\n# 工具")
    assert ": get_current_weather API. Get the" in forced[0]["content"]
    assert forced[1]["content"] == f"(。你可以使用工具：[get_current_weather]){USER['content']}"


def test_hermes_prompt_is_qwens() -> None:
    assert system_of("hermes", [WEATHER, ALARM], given="Be brief.") == (
        "Be brief.\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
        "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n"
        + json.dumps(WEATHER)
        + '\n{"type": "function", "function": '
        + json.dumps(ALARM)
        + "}\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
        '<tool_call></tool_call> XML tags:\n<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n'
        "</tool_call>"
    )


@pytest.mark.parametrize("name", dialects.TEXT_NAMES)
def test_tools_go_after_an_existing_system_text_once(name: str) -> None:
    prompt = system_of(name, [WEATHER], given="Be brief.")
    again = system_of(name, [WEATHER], given=prompt)

    assert prompt.count("get_current_weather") == system_of(name, [WEATHER]).count("get_current_weather")
    assert "Be brief." in prompt
    assert again == prompt


@pytest.mark.parametrize("name", dialects.TEXT_NAMES)
def test_tool_choice(name: str) -> None:
    dialect = dialects.load(name)
    chosen = {"type": "function", "function": {"name": "ring"}}

    assert dialect.render([USER], [WEATHER, ALARM], "none").messages == (USER,)
    assert dialect.render([USER], [WEATHER, ALARM], "required") == dialect.render([USER], [WEATHER, ALARM], "auto")
    assert dialect.render([USER], [WEATHER, ALARM], None) == dialect.render([USER], [WEATHER, ALARM])
    assert dialect.render([USER], [WEATHER, ALARM], chosen) == dialect.render([USER], [ALARM])
    with pytest.raises(InvalidInput, match="got 'fly'; expected one of the tools: get_current_weather, ring"):
        dialect.render([USER], [WEATHER, ALARM], {"type": "function", "function": {"name": "fly"}})
    with pytest.raises(InvalidInput, match="tool_choice: got 'always'; expected none, auto, required or"):
        dialect.render([USER], [WEATHER], "always")


@pytest.mark.parametrize("name", LOOPS)
def test_results_stand_in_the_order_of_their_calls(name: str) -> None:
    made = calling(call("ring", "{}", "a"), call("ring", '{"n":1}', "b"))
    messages = [USER, made, result("second", "b"), result("first", "a")]
    rendered = dialects.load(name).render(messages, [ALARM])
    text = rendered.messages[-1]["content"]

    assert rendered.continue_final
    assert text.startswith('Action: ring\nAction Input: {}\nAction: ring\nAction Input: {"n": 1}\nObservation: ')
    assert text.index("first") < text.index("second")
    assert text.count("Observation:") == 2


def test_loop_is_one_assistant_message() -> None:
    messages = [
        USER,
        *(calling(call("ring", "{}"), content="I look."), result("on\n")),
        *(calling(call("ring", "", "c2"), content=""), result([{"type": "text", "text": "off"}], "c2")),
        said("It rang."),
    ]
    rendered = dialects.load("ms_agent").render(messages, [ALARM])

    assert [m["role"] for m in rendered.messages] == ["system", "user", "assistant"]
    assert rendered.messages[-1]["content"] == (
        "Thought: I look.\nAction: ring\nAction Input: {}\nObservation: on\nAction: ring\nAction Input: {}\n"
        "Observation: off\nThought: I now know the final answer\nFinal Answer: It rang."
    )
    assert [s.kind for s in rendered.segments if s.message == 2] == [
        *("thought", "action", "action_input", "observation", "action", "action_input", "observation"),
        *("thought", "final"),
    ]
    assert not rendered.continue_final


def test_call_without_a_result_ends_with_the_marker_that_stops_the_engine() -> None:
    messages = [USER, calling(call("ring", "{}"))]
    for name in LOOPS:
        rendered = dialects.load(name).render(messages, [ALARM])
        assert rendered.messages[-1]["content"].endswith("Action Input: {}\nObservation:")
        assert rendered.segments[-1].text == "Observation:"
        assert not rendered.continue_final


RAW = 'Question: Is it?\n\nThought: I look.\n\nAction: ring\n\nAction Input: {"n": 1}\n\nObservation:'


@pytest.mark.parametrize("ending", ["", " ", "\n"])
@pytest.mark.parametrize("with_calls", [False, True])
@pytest.mark.parametrize("tools", [None, [ALARM]])
def test_result_is_spliced_into_raw_text(ending: str, with_calls: bool, tools: list[dict[str, Any]] | None) -> None:
    """The deployment guide's second turn: raw text as content, then a tool message, with or without all the rest."""
    assistant = {"role": "assistant", "content": RAW + ending} | (
        {"tool_calls": [call("ring", '{"n": 1}')]} if with_calls else {}
    )
    answered = {"role": "tool", "content": '{"result": "32°F"}\n\n'}
    rendered = dialects.load("react_en").render([USER, assistant, answered], tools)

    assert rendered.messages[-1]["content"] == RAW + ' {"result": "32°F"}\n'
    assert rendered.continue_final


@pytest.mark.parametrize("name", LOOPS)
def test_result_is_spliced_where_the_marker_was_stripped(name: str) -> None:
    raw = "Action: ring\nAction Input: {}"
    dialect = dialects.load(name)
    stripped = dialect.render([USER, said(raw), {"role": "tool", "content": "on"}], None)
    kept = dialect.render([USER, said(f"{raw}\nObservation:"), {"role": "tool", "content": "on"}], None)

    assert stripped == kept
    assert stripped.messages[-1]["content"].startswith(f"{raw}\nObservation: ")


def test_assistant_text_that_ends_with_a_result_is_continued() -> None:
    """The fine-tuning guide's client appends the result to the assistant's text itself."""
    text = "Thought: a\nAction: ring\nAction Input: {}\nObservation:\n[{'on_fire': True}]"
    for name in LOOPS:
        rendered = dialects.load(name).render([USER, said(text)], None)
        assert rendered.continue_final
        assert rendered.messages[-1]["content"].startswith(f"{text}\n")


def test_toolbench_results_are_messages_of_their_own() -> None:
    messages = [USER, calling(call("ring", "{}")), result("on"), said("It rang.")]
    rendered = dialects.load("toolbench").render(messages, [ALARM])

    assert [m["role"] for m in rendered.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert rendered.messages[2]["content"] == "Thought:\nAction: ring\nAction Input: {}"
    assert rendered.messages[4]["content"] == (
        'Thought:\nAction: Finish\nAction Input: {"return_type": "give_answer", "final_answer": "It rang."}'
    )
    assert [m["role"] for m in rendered.tool_as_user().messages] == ["system", "user", "assistant", "user", "assistant"]


@pytest.mark.parametrize("name", ["Finish", "finish"])
def test_finish_is_the_client_s_where_it_is_declared(name: str) -> None:
    toolbench = dialects.load("toolbench")
    finish = {"name": name, "parameters": {"type": "object", "properties": {"final_answer": {"type": "string"}}}}
    text = 'Thought: So.\nAction: Finish\nAction Input: {"return_type": "give_answer", "final_answer": "42"}'
    own = toolbench.parse(text, [ALARM, finish])
    assert own.content == "So."
    assert own.calls == (ToolCall("", name, '{"return_type": "give_answer", "final_answer": "42"}'),)
    gives_up = 'Action: Finish\nAction Input: {"return_type": "give_up_and_restart"}'
    assert toolbench.parse(gives_up, [finish]).calls == (ToolCall("", name, '{"return_type": "give_up_and_restart"}'),)
    assert toolbench.parse(text, [ALARM]).content == toolbench.parse(text, None).content == "So.\n42"

    back = calling(call(name, own.calls[0].arguments), content=own.content)
    made = toolbench.render([USER, back, result("done")], [ALARM, finish]).messages
    assert made[-2]["content"] == text.replace("Action: Finish", f"Action: {name}")
    assert made[-1] == {"role": "tool", "content": "done"}


def test_hermes_results_share_a_user_message() -> None:
    made = calling(call("ring", "{}", "a"), call("ring", "{}", "b"), content="I ring.")
    rendered = dialects.load("hermes").render([USER, made, result("2", "b"), result("1", "a")], [ALARM])
    block = '<tool_call>\n{"name": "ring", "arguments": {}}\n</tool_call>'

    assert rendered.messages[2]["content"] == f"I ring.\n{block}\n{block}"
    assert rendered.messages[3] == {
        "role": "user",
        "content": "<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n</tool_response>",
    }


def test_arguments_are_one_line_of_json_however_they_came() -> None:
    spaced = '{\n "a": "é",\n "b": true\n}'
    for written in ('{"a":"é","b":true}', spaced, "{'a': 'é', 'b': True}", {"a": "é", "b": True}):
        messages = [USER, calling(call("ring", written))]  # type: ignore[arg-type]
        text = dialects.load("react_en").render(messages, [ALARM]).messages[-1]["content"]
        assert 'Action Input: {"a": "é", "b": true}\n' in text


def test_deprecated_functions_are_read() -> None:
    messages = [
        USER,
        {"role": "assistant", "content": None, "function_call": {"name": "ring", "arguments": "{}"}},
        {"role": "function", "name": "ring", "content": "on"},
    ]
    rendered = dialects.load("react_en").render(messages, [ALARM])

    assert rendered.messages[-1]["content"] == "Action: ring\nAction Input: {}\nObservation: on\n"


def test_images_stay_in_a_user_message() -> None:
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    messages = [{"role": "user", "content": parts}]

    assert dialects.load("react_en").render(messages, [ALARM]).messages[1]["content"] == parts
    assert dialects.load("agentfabric").render(messages, [ALARM]).messages[1]["content"] == [
        {"type": "text", "text": "(. you can use tools: [ring])"},
        *parts,
    ]


def test_roleplay_appends_to_the_user_message() -> None:
    messages = [USER, calling(call("ring", "{}"), content="I look."), result("on"), said("It rang.")]
    rendered = dialects.load("agentfabric").render(messages, [ALARM])
    first, second = roleplay_steps(rendered)

    assert first.messages[-2]["content"] == f"(. you can use tools: [ring]){USER['content']}"
    assert first.messages[-1]["content"] == "I look.\nAction: ring\nAction Input: {}\nObservation:"
    assert second.messages[-2]["content"] == (
        f"{first.messages[-2]['content']}I look.\nAction: ring\nAction Input: {{}}\n"
        "\nObservation: <result>on</result>\nAnswer:"
    )
    assert second.messages[-1] == {"role": "assistant", "content": " It rang."}


def test_what_is_text_of_a_message_s_content() -> None:
    """In every role and dialect; no thought and no reference is glued to it."""
    parts = [
        "a", {"type": "text", "text": "b"}, {"text": "c"}, {"type": "input_text", "text": "d"},
        {"type": "output_text", "text": "e"}, {"type": "refusal", "refusal": "f"},
        {"type": "reasoning", "text": "NO"}, {"type": "reasoning", "reasoning": "NO"},
        {"type": "thinking", "thinking": "NO"}, {"type": "thinking", "text": "NO"},
        {"type": "redacted_thinking", "data": "NO"},
        {"type": "reasoning_text", "text": "NO"}, {"type": "tool_reference", "tool_name": "NO"},
    ]  # fmt: skip
    for role in ("system", "user", "assistant", "tool"):
        turn = {"role": role, "content": parts} | ({"tool_call_id": "c1"} if role == "tool" else {})
        messages = [*([USER, calling(call("ring", "{}"))] if role == "tool" else []), turn]
        for name in dialects.TEXT_NAMES:
            text = "".join(message["content"] for message in dialects.load(name).render(messages, [ALARM]).messages)
            assert ("abcdef" in text, "NO" in text) == (True, False), (role, name)
    no_text = ({"type": "image_url", "text": "x"}, {"type": "x", "text": "x"}, {"type": []}, {"type": "text"}, 7, None)
    assert [text_of_part(part) for part in no_text] == [None] * len(no_text)


@pytest.mark.parametrize(
    "text",
    [
        "I will wrap it in <tool_call> tags. The format is:\nAction: name\nAction Input: json",
        "Action: nothing\nAction Input: {",
        "I see.\nAction: nobody\nAction Input: {}",
        "It is <tool_call> and </tool_call>.",
        "<tool_call>\nring\n</tool_call>",
        '<tool_call>\n{"name": "ri',
        "<think>\nAction: ring\nAction Input: {}",
        "Thought: I think.\nThought: I do.",
        "```\nAction: x\nAction Input: y\n```",
    ],
)
@pytest.mark.parametrize("name", dialects.TEXT_NAMES)
def test_no_call_vanishes_beside_what_looks_like_one(name: str, text: str) -> None:
    """Every client that sends content and tool_calls back takes this way."""
    made = call("ring", '{"tune": "Oslo"}')
    dialect = dialects.load(name)
    rendered = dialect.render([USER, calling(made, content=text), result("RAINY")], [ALARM])
    written = "".join(segment.text for segment in rendered.segments if segment.turn == 1)
    before, _, _ = written.partition("Observation: ") if dialect.stop else (written, "", "")

    read = [each for each in dialect.parse(before, [ALARM]).calls if isinstance(each, ToolCall)]
    assert [(each.name, each.arguments) for each in read] == [("ring", '{"tune": "Oslo"}')]
    shown = "".join(message["content"] for message in rendered.messages)
    assert shown.index("Oslo") < shown.index("RAINY")


@pytest.mark.parametrize(
    "text",
    [
        *('Action: ring\nAction Input: {"tune": "Bergen"}', "Final Answer: 42", "x\nFinal Answer: Action: ring"),
        "a\n<think>b",
    ],
)
def test_text_that_would_hide_the_calls_behind_it_is_refused(text: str) -> None:
    for name in LOOPS:
        with pytest.raises(
            InvalidInput, match=r"messages\[1\].content: got text that hides the (tool_calls|results) behind"
        ):
            dialects.load(name).render([USER, calling(call("ring", "{}"), content=text), result("on")], [ALARM])
    block = '<tool_call>\n{"name": "ring", "arguments": {"tune": "Bergen"}}\n</tool_call>'
    with pytest.raises(InvalidInput, match=r"messages\[1\].content"):
        dialects.load("hermes").render([USER, calling(call("ring", "{}"), content=block)], [ALARM])


@pytest.mark.parametrize("name", dialects.TEXT_NAMES)
def test_a_missing_result_gives_its_place_to_no_other(name: str) -> None:
    calls = [call("ring", "{}", id) for id in "abc"]
    rendered = dialects.load(name).render([USER, calling(*calls), result("of b", "b")], [ALARM])
    shown = "".join(message["content"] for message in rendered.messages[2:])
    assert shown.count("Observation: ") == (2 if name in LOOPS else 0)
    assert [m["content"] for m in rendered.messages if m["role"] == "tool"] == (
        ["", "of b"] if name == "toolbench" else []
    )
    if name == "hermes":
        assert shown.endswith("<tool_response>\n\n</tool_response>\n<tool_response>\nof b\n</tool_response>")


@pytest.mark.parametrize(
    "thought",
    [
        *({"reasoning_content": "I think.\n"}, {"reasoning": "I think."}, {"thinking": "I think."}),
        {"reasoning_content": "", "reasoning": "I think."},
        {"reasoning_content": "I think.", "reasoning": "I think."},
        {
            "content": [
                {"type": "thinking", "thinking": "I think.", "signature": "s"},
                {"type": "text", "text": "It rang."},
            ]
        },
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "I think."}]}, "It rang."]},
        {"content": [{"type": "reasoning", "text": "I"}, {"type": "redacted_thinking", "data": "x"}, "It rang."]},
        {"content": "<think>\nI think.\n</think>\n\nIt rang."},
        {"content": "<think>I think.</think>It rang.", "reasoning_content": "I think."},
    ],
)
@pytest.mark.parametrize("name", dialects.TEXT_NAMES)
def test_reasoning_is_kept_beside_the_content(name: str, thought: dict[str, Any]) -> None:
    rendered = dialects.load(name).render([USER, said("It rang.") | thought])
    last = {"role": "assistant", "content": "It rang.", "reasoning_content": "I think."}
    assert rendered.messages[-1] | {"reasoning_content": "I think."} == last
    assert "I" in rendered.messages[-1]["reasoning_content"]

    shown = rendered.reasoning_as_text()
    assert shown.messages[-1]["content"].startswith("<think>\nI")
    assert shown.messages[-1]["content"].endswith("\n</think>\n\nIt rang.")
    assert [s.kind for s in shown.segments[-2:]] == ["reasoning", "text"]
    assert shown.segments[-2].turn == shown.segments[-1].turn == 1


@pytest.mark.parametrize("name", LOOPS)
def test_reasoning_behind_a_result_stands_in_the_text(name: str) -> None:
    """There the message has begun before."""
    dialect = dialects.load(name)
    thinking = {"reasoning_content": "I think."}
    messages = [USER, calling(call("ring", "{}")) | thinking, result("on"), said("It rang.") | {"reasoning": "So."}]
    rendered = dialect.render(messages, [ALARM])
    message = rendered.messages[-1]

    assert message["reasoning_content"] == "I think."
    assert [s.text for s in rendered.segments if s.kind == "reasoning"] == ["<think>\nSo.\n</think>\n\n"]
    asked = dialect.render(messages[:3], [ALARM])
    answer = message["content"].removeprefix(asked.messages[-1]["content"])
    assert (dialect.parse(answer, [ALARM]).thought, dialect.parse(answer, [ALARM]).content) == ("So.", "It rang.")


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ('{"tune": "rin', None),
        ('{"tune": "rin ', None),
        ('{"tune": "a\nb', None),
        ('{"tune": NaN}', None),
        ('{"tune": 1} and more', None),
        ('{"tune":' + "[" * 5_000, None),
        ("9" * 5_000, None),
        ("ring it", None),
        ("[]", None),
        ("null", None),
        ('"ring it"', None),
        ([], "[]"),
        ([{"tune": "é"}], '[{"tune": "é"}]'),
        (5, "5"),
        (False, "false"),
        ("{\ud800", "{\ufffd"),
        (None, "{}"),
        ("", "{}"),
        (" \n", "{}"),
        ('{"tune":\n"a"}', '{"tune": "a"}'),
        ("{'tune': True}", '{"tune": true}'),
        ({"tune": "é"}, '{"tune": "é"}'),
        (json.dumps('{"tune":"é"}'), '{"tune": "é"}'),
    ],
)
def test_arguments_that_are_no_object_stay_as_they_were_written(given: Any, written: str | None) -> None:
    """And the results stay beside their calls, also those of the calls around it."""
    calls = [call("ring", arguments, id) for arguments, id in (("{}", "a"), (given, "b"), ('{"tune": 1}', "c"))]
    results = [result(f"of {id}", id) for id in "cab"]
    for name in dialects.TEXT_NAMES:
        dialect = dialects.load(name)
        made = dialect.render([USER, calling(*calls), *results], [ALARM])
        text = "\n".join(message["content"] for message in made.messages[2:])
        before, after = dialect.call_frame("ring")
        places = [text.find(f"{before}{each}{after}") for each in ("{}", given if written is None else written)]
        places += [text.find(f'{before}{{"tune": 1}}{after}'), *(text.find(f"of {id}") for id in "abc")]
        assert places[0] >= 0, name
        assert places == sorted(places), name


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([{"role": "tool", "content": "x"}], r"messages\[0\]: got a tool's result; expected an assistant message"),
        ([USER, {"role": "wizard", "content": "x"}], r"messages\[1\].role: got 'wizard'; expected system, user"),
        ([{"role": "user", "content": 5}], r"messages\[0\].content: got int; expected a string or parts"),
        ([USER, {"role": "assistant", "tool_calls": [{"id": "a"}]}], r"tool_calls\[0\]: got no function with a name"),
        (
            [USER, said("x") | {"thinking": "a</think>b"}],
            r"messages\[1\].reasoning_content: got </think>, which ends it",
        ),
    ],
)
def test_what_is_no_conversation_is_refused(messages: list[dict[str, Any]], says: str) -> None:
    for name in dialects.TEXT_NAMES:
        with pytest.raises(InvalidInput, match=says):
            dialects.load(name).render(messages, [ALARM])


def test_what_is_no_tool_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"tools\[1\]: got .*; expected a function with a name"):
        dialects.load("react_en").render([USER], [ALARM, {"type": "function"}])


@pytest.mark.parametrize("name", ["react_en", "react_zh", "ms_agent", "toolbench", "agentfabric"])
@pytest.mark.parametrize(
    "cut", ["Action: ring", "Action: ring\nAction Input: ", 'Action: ring\nAction Input: {"to": "Bo']
)
def test_a_call_that_was_cut_off_hides_neither_the_call_before_it_nor_its_result(name: str, cut: str) -> None:
    dialect = dialects.load(name)
    tools = [{"type": "function", "function": {"name": "ring", "parameters": {"type": "object"}}}]
    written = 'Action: ring\nAction Input: {"to": "Al"}\n' + cut
    turn = dialect.parse(written, tools, cut=True)
    assert (turn.content, [call.arguments for call in turn.calls]) == (cut, ['{"to": "Al"}'])
    call = {"id": "0", "type": "function", "function": {"name": "ring", "arguments": '{"to": "Al"}'}}
    back = {"role": "assistant", "content": turn.content, "tool_calls": [call]}
    asked = [{"role": "user", "content": "q"}, back, {"role": "tool", "tool_call_id": "0", "content": "Rang."}]
    rendered = dialect.render(asked, tools)
    read = dialect.parse("".join(s.text for s in rendered.segments if s.turn == 1), tools)
    assert [call.arguments for call in read.calls] == ['{"to": "Al"}']
    assert "Action" in (read.content or "")
    assert sum("Rang." in message["content"] for message in rendered.messages) == 1


@pytest.mark.parametrize("name", ["react_en", "react_zh", "ms_agent", "agentfabric", "toolbench"])
@pytest.mark.parametrize(
    "shown",
    [
        "Use\nAction: ring()",
        "Use\nAction: ring\nAction Input: {}",
        "Use\n\nThought: so\nAction: ring\nAction Input: {}\nThen wait.",
        "Action: ring\nAction Input: {}",
        "Thought: so\nAction: ring\nAction Input: {}",
    ],
)
def test_an_answer_that_shows_how_a_call_is_written_makes_none(name: str, shown: str) -> None:
    """What follows `Final Answer:` is the answer; sent back without that marker it is written with it again."""
    dialect = dialects.load(name)
    if name == "toolbench" and not shown.startswith("Use"):
        return  # its calls wait for no marker: a text that opens with one is the model's own
    read = dialect.parse(f"Final Answer: {shown}", [ALARM])
    assert (read.content, read.calls) == (shown, ())
    for before in ([USER], [USER, calling(call("ring", "{}")), result("on")]):
        rendered = dialect.render([*before, said(shown)], [ALARM])
        own = [segment for segment in rendered.segments if segment.turn == len(before)]
        again = dialect.parse("".join(segment.text for segment in own), [ALARM])
        assert (again.content, again.calls) == (shown, ())
        assert not rendered.continue_final
        assert dialect.render(rendered.messages, [ALARM]).messages == rendered.messages
    raw = dialect.render([USER, said(shown), result("on")], [ALARM])
    assert any(segment.kind == "action" for segment in raw.segments), "a result behind it says that it was a call"


@pytest.mark.parametrize("name", dialects.TEXT_NAMES)
@pytest.mark.parametrize(
    "block", ["```py\nx = 1\n```", "~~~\nx\n~~~", "Look:\n```\n~~~\n```", "```\n\n```\n```\ny\n```"]
)
def test_the_fence_that_closes_a_code_block_before_a_call_is_content(name: str, block: str) -> None:
    dialect = dialects.load(name)
    tools = [{"type": "function", "function": {"name": "ring", "parameters": {"type": "object"}}}]
    before, after = dialect.call_frame("ring")
    call = f"{before}{{}}{after}"
    assert dialect.parse(f"{block}\n{call}", tools).content == block
    assert dialect.parse(f"{block}\n\n```\n{call}\n```", tools).content == block
