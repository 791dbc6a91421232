"""ToolBench: the prompt `toolbench` of ms-swift, its misspellings included, and the tool Finish that ends a task.

A result is a message of the role tool, without a marker (`Rendered.tool_as_user`: for a template without the role). An
answer is a call of Finish, and read back as content; giving up is read as a malformed call that says so. Where Finish
is declared among the tools, it is a tool like others.
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from callwright.dialects.history import Piece
from callwright.dialects.literals import write_json
from callwright.dialects.react import ReactDialect
from callwright.dialects.react_call import GIVE_UP
from callwright.dialects.tools import Tool, read_tools
from callwright.dialects.types import ToolSpec

_FINISH: dict[str, Any] = {
    "name": "Finish",
    "parameters": {
        "type": "object",
        "properties": {
            "return_type": {"type": "string", "enum": ["give_answer", GIVE_UP]},
            "final_answer": {"type": "string"},
        },
        "required": ["return_type"],
    },
}


def answer_in(name: str, arguments: Mapping[str, Any]) -> str | None:
    """Return the answer that a call of Finish holds; None for any other call."""
    answer = arguments.get("final_answer") if name == _FINISH["name"] else None
    return answer if answer is None or isinstance(answer, str) else write_json(answer)


def without_finish(tools: Iterable[ToolSpec]) -> tuple[ToolSpec, ...]:
    """Return the tools that do something."""
    return tuple(tool for tool in tools if tool.get("function", tool).get("name") != _FINISH["name"])


class ToolBench(ReactDialect):
    """The dialect `toolbench`."""

    name: ClassVar[str] = "toolbench"
    prompt: ClassVar[str] = """\
You can use many tools(functions) to do the following task.
First I will give you the task description, and your task start.
At each step, you need to give your thought to analyze the status now and what to do next, \
with a function call to actually excute your step. Your output should follow this format:
Thought:
Action:
Action Input:

After the call, you will get the call result, and you are now in a new state.
Then you will analyze your status now, then decide what to do next...
After many (Thought-call) pairs, you finally perform the task, then you can give your finial answer.
Remember:
1.the state change is irreversible, you can't go back to one of the former state, if you want to restart the task, \
say "I give up and restart".
2.All the thought is short, at most in 5 sentence.
3.You can do more then one trys, so if your plan is to continusly try some conditions, \
you can do one of the conditions per try.
Let's Begin!
Task description: You should use functions to help handle the real time user querys. Remember:
1.ALWAYS call "Finish" function at the end of the task. And the final answer should contain enough information \
to show to the user,If you can't handle the task, \
or you find that function calls always fail(the function is not valid now), \
use function Finish->give_up_and_restart.
2.Do not use origin tool names, use only subfunctions' names.
Specifically, you have access to the following APIs: {tools}"""
    stop: ClassVar[tuple[str, ...]] = ()
    results_inside: ClassVar[bool] = False
    closing_tool: ClassVar[Tool | None] = read_tools([_FINISH])[0]

    def thought(self, text: str) -> list[Piece]:
        """The format always opens with a thought, an empty one if need be."""
        return [("thought", f"Thought: {text}\n" if text else "Thought:\n")]

    def final(self, text: str, thought: str, *, resumed: bool, tools: tuple[Tool, ...]) -> list[Piece]:
        """Return the answer as a call of Finish."""
        if not tools:
            return super().final(text, thought, resumed=resumed, tools=tools)
        arguments = write_json({"return_type": "give_answer", "final_answer": text})
        return [
            *self.thought(thought),
            ("action", "Action: Finish\n"),
            ("action_input", f"Action Input: {arguments}"),
        ]

    def answer_frame(self) -> tuple[str, str]:
        """Return a call of Finish, whose answer may be any JSON."""
        before, end = self.call_frame("Finish")
        return f'{before}{{"return_type": "give_answer", "final_answer": ', f"}}{end}"
