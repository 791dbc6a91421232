"""ReAct in English: the prompt `react_en` of ms-swift."""

from typing import ClassVar

from callwright.dialects.react import ReactDialect


class ReactEn(ReactDialect):
    """The dialect `react_en`."""

    name: ClassVar[str] = "react_en"
    prompt: ClassVar[str] = """\
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
