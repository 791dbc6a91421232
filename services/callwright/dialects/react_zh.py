"""ReAct in Chinese: the prompt `react_zh` of ms-swift, with full-width punctuation. The markers stay English."""

from typing import ClassVar

from callwright.dialects.react import ReactDialect


class ReactZh(ReactDialect):
    """The dialect `react_zh`."""

    name: ClassVar[str] = "react_zh"
    prompt: ClassVar[str] = """\
尽你所能回答以下问题。你拥有如下工具：

{tools}

使用以下格式回答：

Thought: 思考你应该做什么
Action: 工具的名称，必须是[{names}]之一
Action Input: 工具的输入
Observation: 工具返回的结果
... (Thought/Action/Action Input/Observation的过程可以重复零次或多次)
Final Answer: 对输入问题的最终答案

开始！
"""
