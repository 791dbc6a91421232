"""What AgentFabric's page sends: the requests that it was seen to make, and what a turn's requests have in common."""

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import pytest
from contract import conversations, harmless
from hypothesis import given, settings

from callwright import dialects
from callwright.dialects.agentfabric import NO_KNOWLEDGE, AgentFabric, Release, roleplay_steps

RING = {"name": "ring", "description": "Rings.", "parameters": {"type": "object"}}
PAGE = AgentFabric(knowledge=NO_KNOWLEDGE)
TOLD = re.compile(r"^(\w+): \w+ API。(.*?) 输入参数: (\{.*\}) Format the arguments as a JSON object\.$", re.MULTILINE)


def calling(number: str, name: str, arguments: str) -> dict[str, Any]:
    call = {"id": number, "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"role": "assistant", "content": "我来处理。", "tool_calls": [call]}


def captured(shared: Path, release: Release) -> tuple[list[Any], list[Any], list[list[dict[str, str]]]]:
    """The conversation and tools that the page was shown, and the messages of each of its requests."""
    path = shared / "agentfabric" / f"af_requests_{release.replace('.', '')}.json"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    sent = [
        [{key: message[key] for key in ("role", "content")} for message in request["messages"]]
        for request in json.loads(path.read_text(encoding="utf-8"))
    ]
    system = sent[0][0]["content"]
    tools = [
        {"name": name, "description": description, "parameters": json.loads(schema)}
        for name, description, schema in TOLD.findall(system)
    ]
    picture = '{"text": "北京朝阳区的城市风光", "resolution": "1024*1024"}'
    drawn = "![IMAGEGEN](http://127.0.0.1:8300/wanx.png)"
    messages = [
        {"role": "system", "content": system.split("# 指令\n\n")[1].split("\n\n请注意")[0]},
        {"role": "user", "content": "朝阳区天气怎样？"},
        calling("1", "amap_weather", '{"location": "朝阳区"}'),
        {"role": "tool", "tool_call_id": "1", "content": "朝阳区的天气是晴温度是32度。"},
        {"role": "assistant", "content": "查询结果如下：朝阳区的天气是晴温度是32度。"},
        {"role": "user", "content": "请画一张北京的图"},
        calling("2", "image_gen", picture),
        {"role": "tool", "tool_call_id": "2", "content": drawn},
        {"role": "assistant", "content": f"查询结果如下：{drawn}"},
        {"role": "user", "content": "谢谢，还能做什么？"},
        {"role": "assistant", "content": "还能画图。"},
    ]
    return messages, tools, sent


@pytest.mark.parametrize("release", get_args(Release))
@pytest.mark.parametrize("whole", [False, True], ids=["the role is given", "the whole system message is given"])
def test_the_steps_are_the_requests_of_the_page(shared: Path, release: Release, whole: bool) -> None:
    messages, tools, sent = captured(shared, release)
    if whole:
        messages[0] = sent[0][0]
    rendered = PAGE.render(messages, tools)
    steps = roleplay_steps(rendered, release)
    assert [list(step.messages[:-1]) for step in steps] == sent
    assert list(rendered.messages[:2]) == sent[0]
    assert [step.messages[-1]["content"] for step in steps] == [
        '我来处理。\nAction: amap_weather\nAction Input: {"location": "朝阳区"}\nObservation:',
        " 查询结果如下：朝阳区的天气是晴温度是32度。",
        "我来处理。\nAction: image_gen\nAction Input: "
        '{"text": "北京朝阳区的城市风光", "resolution": "1024*1024"}\nObservation:',
        " 查询结果如下：![IMAGEGEN](http://127.0.0.1:8300/wanx.png)",
        "还能画图。",
    ]


@given(conversations(harmless))
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
def test_a_request_is_the_one_before_with_what_was_written_and_its_result(messages: list[dict[str, Any]]) -> None:
    """As the client makes it; an earlier turn is what the client has shown, and no segment is lost."""
    steps = roleplay_steps(PAGE.render(messages, [RING]))
    for step in steps:
        for number, message in enumerate(step.messages):
            assert "".join(s.text for s in step.segments if s.message == number) == message["content"]
    for before, after in pairwise(steps):
        asked, output = (message["content"] for message in before.messages[-2:])
        if len(after.messages) == len(before.messages):
            shown = output.removesuffix("Observation:")
            assert after.messages[-2]["content"].startswith(f"{asked}{shown}\nObservation: <result>")
            assert after.messages[-2]["content"].endswith("</result>\nAnswer:")
        elif not output.endswith("\nObservation:"):  # the turn has an answer
            assert after.messages[len(before.messages) - 2]["content"] in asked  # without the prefix
            assert after.messages[len(before.messages) - 1]["content"].endswith(output)


@pytest.mark.parametrize("given_", ["\n\n# Knowledge Base\n\nA bell.\n\nIt rings.\n\n\nYou ring.", "You ring."])
def test_knowledge_comes_first_and_is_named_in_the_prefix(given_: str) -> None:
    messages = [{"role": "system", "content": given_}, {"role": "user", "content": "Ring!"}]
    own = "A bell." in given_
    for dialect, knowledge in ((AgentFabric(), ""), (PAGE, NO_KNOWLEDGE)):
        knowledge = "A bell.\n\nIt rings." if own else knowledge
        system, user = (message["content"] for message in dialect.render(messages, [RING]).messages)
        before, _, role = system.partition("\n# Tools\n\n")
        assert before == (f"\n\n# Knowledge Base\n\n{knowledge}\n\n" if knowledge else "")
        assert "\n#Instructions\n\nYou ring.\n\nNote: " in role
        please = ". Please read the knowledge base at the beginning" if knowledge else ""
        assert user == f"(. you can use tools: [ring]{please})Ring!"


def test_a_role_s_name_stands_in_the_prefix() -> None:
    for before, name, prefix in (
        ("你扮演AI-Agent，\n下面你将开始扮演", "天气 助手", "(你正在扮演天气 助手. "),
        ("You are playing as an AI-Agent, \nNow you will start playing as", "Bell", "(You are playing as Bell. "),
        ("Now you will start playing as", "", "(. "),
        ("Once: Now you will start playing as", "nobody", "(. "),
    ):
        messages = [{"role": "system", "content": before + name}, {"role": "user", "content": "Ring!"}]
        user = dialects.load("agentfabric").render(messages, [RING]).messages[-1]["content"]
        assert user == f"{prefix.replace('你正在扮演', 'You are playing as ')}you can use tools: [ring])Ring!"


def test_pictures_stay_in_earlier_messages_and_no_output_is_appended_to_them() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:,"}}
    shown = {"role": "user", "content": [{"type": "text", "text": "Look!"}, picture]}
    messages = [shown, {"role": "assistant", "content": "A bell."}, {"role": "user", "content": "Ring!"}]
    (step,) = roleplay_steps(PAGE.render([*messages, {"role": "assistant", "content": "No."}], [RING]))
    assert step.messages[1:3] == (shown, {"role": "assistant", "content": "A bell."})
