"""modelscope-agent 0.7.1's RolePlay as it is, configured as ms-swift prints: no function calls, no stream.

It writes its own prompt and reads the text, so requests have no tools; the engine plays a model trained on
agentfabric.
"""

import json
from typing import Any

import pytest
from playing import LEARNED, RESULT, TOOL, script
from serving import PLACES, answer, question
from serving import ROLE as LEARNED_ROLE

from callwright.dialects.agentfabric import NO_KNOWLEDGE, AgentFabric, roleplay_steps
from fakes import Engine, Text

WEATHER = "天气是晴，温度是32度。"
ROLE = (
    "你扮演AI-Agent，你的名字是天气助手。查询天气\n你具有下列具体功能：你扮演一个天气预报助手。\n"
    "下面你将开始扮演天气助手"
)

TASK = {
    "lang": "zh",
    "role": {"name": "天气助手", "description": "查询天气", "instruction": "你扮演一个天气预报助手。"},
    "tool": {
        "name": "get_weather",
        "description": "获取对应城市的天气数据",
        "parameters": [{"name": "location", "description": "城市", "required": True, "type": "string"}],
    },
    "result": WEATHER,
    "questions": ["朝阳区天气怎样？", "海淀区呢？"],
}


def play(request: dict[str, Any]) -> Text:
    """Call the tool, then answer where RolePlay has put the result: at the end of the user's message."""
    last = request["messages"][-1]["content"]
    place = "朝阳区" if "朝阳区" in last else "海淀区"
    call = f'我来查询。\nAction: get_weather\nAction Input: {{"location": "{place}"}}'
    text = (
        f" {place}{WEATHER}"
        if last.endswith("</result>\nAnswer:")
        else f"{call}\nObservation: <result>雨</result>\nAnswer: 雨"
    )
    cuts = [text.find(stop) for stop in request.get("stop") or () if stop in text]
    return Text([text[: min(cuts, default=len(text))]])


def test_role_play_sends_what_the_dialect_is_trained_on(
    base_url: str, engine: Engine, asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "answer", play)
    told = script("roleplay", "role_play", base_url, "agentfabric", json.dumps(TASK))
    assert told["places"] == ["朝阳区", "海淀区"]
    messages: list[dict[str, Any]] = [{"role": "system", "content": ROLE}]
    for number, place in enumerate(told["places"]):
        function = {"name": "get_weather", "arguments": json.dumps({"location": place}, ensure_ascii=False)}
        messages += [
            {"role": "user", "content": told["history"][2 * number]["content"]},
            {"role": "assistant", "content": "我来查询。", "tool_calls": [{"id": place, "function": function}]},
            {"role": "tool", "tool_call_id": place, "content": WEATHER},
            {"role": "assistant", "content": f"{place}{WEATHER}"},
        ]
    steps = roleplay_steps(AgentFabric(knowledge=NO_KNOWLEDGE).render(messages, [told["tool"]]))
    assert [request["messages"] for request in asked()] == [list(step.messages[:-1]) for step in steps]
    for position, output in ((1, steps[1]), (3, steps[3])):
        assert told["history"][position]["content"].endswith(f"\nAnswer:{output.messages[-1]['content']}")


@pytest.mark.parametrize("model", [LEARNED], indirect=True)
def test_role_play_with_a_model_that_is_trained_and_served(base_url: str, model: str) -> None:
    """Two questions: its calls and its answers are those that the model has learned, behind RolePlay's own prompts."""
    function = TOOL["function"]
    location = {"name": "location", "description": "Where", "required": True, "type": "string"}
    tool = {"name": function["name"], "description": function["description"], "parameters": [location]}
    questions = [question(number) for number in range(2)]
    task = {"lang": "en", "role": LEARNED_ROLE, "tool": tool, "result": RESULT, "questions": questions}
    told = script("roleplay", "role_play", base_url, model, json.dumps(task))
    assert told["places"] == list(PLACES)
    for number in range(2):
        assert told["history"][2 * number + 1]["content"].endswith(f"\nAnswer: {answer(number)}")
