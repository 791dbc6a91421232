"""modelscope-agent's RolePlay, as AgentFabric's page drives it: two questions, the second with the first's history.

Takes the base URL, the model and the tool's result from argv; prints one line of JSON.
"""

import json
import sys
from typing import Any

from modelscope_agent.agents.role_play import RolePlay
from modelscope_agent.tools.base import BaseTool, register_tool

base_url, model, result = sys.argv[1:]
places: list[str] = []


@register_tool("get_weather")
class Weather(BaseTool):
    """A tool as modelscope-agent has them."""

    name = "get_weather"
    description = "获取对应城市的天气数据"
    parameters = [{"name": "location", "description": "城市", "required": True, "type": "string"}]  # noqa: RUF012

    def call(self, params: str, **rest: Any) -> str:
        """The weather."""
        places.append(self._verify_args(params)["location"])
        return result


bot = RolePlay(
    function_list=["get_weather"],
    llm={
        "model_server": "openai",
        "model": model,
        "api_base": base_url,
        "api_key": "none",
        "is_chat": True,
        "is_function_call": False,
        "support_stream": False,
    },
    instruction={"name": "天气助手", "description": "查询天气", "instruction": "你扮演一个天气预报助手。"},
)
history: list[dict[str, str]] = []
for question in ("朝阳区天气怎样？", "海淀区呢？"):
    said = "".join(bot.run(question, history=list(history), ref_doc="Empty Response"))
    history += [{"role": "user", "content": question}, {"role": "assistant", "content": said}]
print(json.dumps({"history": history, "places": places, "tool": bot.function_map["get_weather"].function}))
