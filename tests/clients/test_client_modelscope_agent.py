"""modelscope-agent 0.7.1's RolePlay with the configuration that ms-swift prints: no function calls, no stream.

It writes its own prompt and reads the text, so requests have no tools; the engine plays a model trained on
agentfabric. AMap's service and its table of cities are stand-ins.
"""

import sys
from pathlib import Path
from typing import Any

import pytest
from playing import needs

from fakes import Engine, Text

needs("modelscope_agent")

CALL = '我来查询。\nAction: amap_weather\nAction Input: {"location": "朝阳区"}'
ANSWER = "朝阳区今天晴，温度32度。"


def play(request: dict[str, Any]) -> Text:
    """Call the tool, then answer where RolePlay has put the result: at the end of the user's message."""
    last = request["messages"][-1]["content"]
    text = ANSWER if last.endswith("</result>\nAnswer:") else f"{CALL}\nObservation: <result>雨</result>\nAnswer: 雨"
    cuts = [text.find(stop) for stop in request.get("stop") or () if stop in text]
    return Text([text[: min(cuts, default=len(text))]])


class Weather:
    """AMap's answer."""

    def json(self) -> dict[str, Any]:
        """The weather."""
        return {"status": "1", "lives": [{"weather": "晴", "temperature": "32"}]}


@pytest.fixture
def role_play(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The class, importable beside LangChain 1, whose old path its unused knowledge base asks for."""
    import langchain_core.documents

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "langchain.schema", langchain_core.documents)
    monkeypatch.setenv("AMAP_TOKEN", "none")
    from modelscope_agent.agents.role_play import RolePlay
    from modelscope_agent.tools import amap_weather

    monkeypatch.setattr(amap_weather.pd, "read_excel", _cities(amap_weather.pd))
    monkeypatch.setattr(amap_weather.requests, "get", lambda url: Weather())
    return RolePlay


def _cities(pandas: Any) -> Any:
    return lambda url: pandas.DataFrame({"中文名": ["朝阳区"], "adcode": ["110105"]})


def test_role_play(
    role_play: Any, sidecar: str, engine: Engine, base_url: str, asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "answer", play)
    role_template = "你扮演一个天气预报助手，你需要查询相应地区的天气，并调用给你的画图工具绘制一张城市的图。"
    llm_config = {
        "model_server": "openai",
        "model": "agentfabric",
        "api_base": base_url,
        "is_chat": True,
        "is_function_call": False,
        "support_stream": False,
    }
    function_list = ["amap_weather"]
    bot = role_play(function_list=function_list, llm=llm_config, instruction=role_template)
    response = bot.run("朝阳区天气怎样？")
    text = ""
    for chunk in response:
        text += chunk
    assert text == f"{CALL}\n\nObservation: <result>朝阳区的天气是晴温度是32度。</result>\nAnswer:{ANSWER}"
    first, second = asked()
    assert "工具调用\nAction: 工具的名称，必须是[amap_weather]之一" in first["messages"][0]["content"]
    assert second["messages"][-1]["role"] == "user"
