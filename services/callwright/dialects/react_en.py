"""ReAct in English: ms-swift's `react_en` prompt. Tools as Python reprs, one after another, names joined by commas."""

from typing import ClassVar

from callwright.dialects.react import ReactDialect
from callwright.dialects.tools import Tool

_PROMPT = """\
Answer the following questions as best you can. You have access to the following tools:

{tools}

Use the following format:

Thought: you should always think about what to do
Action: the action to take, should be one of [{names}]
Action Input: the input to the action
Observation: the result of the action
... (this Thought/Action/Action Input/Observation can be repeated zero or more times)
Final Answer: the final answer to the original input question

Begin!
"""


class ReactEn(ReactDialect):
    """The dialect `react_en`."""

    name: ClassVar[str] = "react_en"

    def tools_text(self, tools: tuple[Tool, ...]) -> str:
        """The prompt, its newline at the end included."""
        return _PROMPT.format(
            tools="\n\n".join(str(dict(tool.function)) for tool in tools), names=",".join(tool.name for tool in tools)
        )
