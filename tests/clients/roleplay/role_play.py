"""modelscope-agent's RolePlay, as AgentFabric's page drives it: two questions, the second with the first's history.

Takes the base URL, the model and a task in JSON from argv (`lang`, `role`, `tool`, `result`, `questions`); prints one
line of JSON.
"""

import json
import sys
from typing import Any

from modelscope_agent.agents.role_play import RolePlay
from modelscope_agent.tools.base import BaseTool, register_tool

base_url, model = sys.argv[1:3]
task = json.loads(sys.argv[3])
places: list[str] = []


@register_tool(task["tool"]["name"])
class Weather(BaseTool):
    """A tool as modelscope-agent has them."""

    name = task["tool"]["name"]
    description = task["tool"]["description"]
    parameters = task["tool"]["parameters"]

    def call(self, params: str, **rest: Any) -> str:
        """The weather."""
        places.append(self._verify_args(params)["location"])
        return str(task["result"])


bot = RolePlay(
    function_list=[task["tool"]["name"]],
    llm={
        "model_server": "openai",
        "model": model,
        "api_base": base_url,
        "api_key": "none",
        "is_chat": True,
        "is_function_call": False,
        "support_stream": False,
    },
    instruction=task["role"],
)
history: list[dict[str, str]] = []
for question in task["questions"]:
    said = "".join(bot.run(question, history=list(history), ref_doc="Empty Response", lang=task["lang"]))
    history += [{"role": "user", "content": question}, {"role": "assistant", "content": said}]
print(json.dumps({"history": history, "places": places, "tool": bot.function_map[task["tool"]["name"]].function}))
