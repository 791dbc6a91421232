"""AgentFabric: the prompts of modelscope-agent's RolePlay, as of 0.7.1, in Chinese and English.

The system message is the tools, then the role; every user message names the tools again. `Answer:` follows each result,
also before a further action. A turn is rendered as one assistant message; RolePlay itself appends to the user's message
instead, and `roleplay_steps` makes its requests of a rendered conversation.
"""

import json
import re
from dataclasses import replace
from typing import Any, ClassVar, Literal

from callwright.dialects.history import Piece
from callwright.dialects.react import ReactDialect
from callwright.dialects.tools import Names, Tool
from callwright.dialects.types import Rendered, Segment

Language = Literal["zh", "en"]
_TOOLS: dict[Language, str] = {
    "zh": """
# 工具

## 你拥有如下工具：

{tools}

## 当你需要调用工具时，请在你的回复中穿插如下的工具调用命令，可以根据需求调用零次或多次：

工具调用
Action: 工具的名称，必须是[{names}]之一
Action Input: 工具的输入
Observation: <result>工具返回的结果</result>
Answer: 根据Observation总结本次工具调用返回的结果，如果结果中出现url，请使用如下格式展示出来：![图片](url)

""",
    "en": """
# Tools

## You have the following tools:

{tools}

## When you need to call a tool, please intersperse the following tool command in your reply. \
You can call zero or more times according to your needs:

Tool Invocation
Action: The name of the tool, must be one of [{names}]
Action Input: Tool input
Observation: <result>Tool returns result</result>
Answer: Summarize the results of this tool call based on Observation. If the result contains url, \
please display it in the following format:![Image](URL)

""",
}
_TOOL: dict[Language, str] = {
    "zh": "{name}: {name} API。{description} 输入参数: {parameters} Format the arguments as a JSON object.",
    "en": "{name}: {name} API. {description} Parameters: {parameters} Format the arguments as a JSON object.",
}
_ROLE: dict[Language, str] = {
    "zh": "\n# 指令\n\n{role}\n\n请注意：你具有图像和视频的展示能力，也具有运行代码的能力，不要在回复中说你做不到。\n",
    "en": "\n#Instructions\n\n{role}\n\nNote: you have the ability to display images and videos, as well as "
    "the ability to run code. Don't say you can't do it.\n",
}
_NO_ROLE: dict[Language, str] = {
    "zh": "你扮演AI-Agent，\n你具有下列具体功能：\n下面你将开始扮演",
    "en": "You are playing as an AI-Agent, \nYou have the following specific functions:\nNow you will start playing as",
}
_PREFIX: dict[Language, str] = {"zh": "(。你可以使用工具：[{names}])", "en": "(. you can use tools: [{names}])"}
_CHINESE = re.compile("[\u4e00-\u9fff]")
_ANSWER = "Answer:"


class AgentFabric(ReactDialect):
    """The dialect `agentfabric`, in `language`, by default that of the tools' descriptions."""

    name: ClassVar[str] = "agentfabric"
    answer_marker: ClassVar[bool] = True

    def __init__(self, language: Language | None = None) -> None:
        super().__init__()
        self._language = language

    @property
    def marker_in_result(self) -> re.Pattern[str] | None:
        return re.compile(rf"{self._markers.in_result.pattern}|(?<=<)(?=/?result>)", re.IGNORECASE)

    def tools_text(self, tools: tuple[Tool, ...]) -> str:
        """Return the part of the system message that shows the tools."""
        return _TOOLS[self._language_of(tools)].format(
            tools="\n\n".join(_write_tool(tool) for tool in tools), names=_names(tools)
        )

    def system_text(self, given: str, tools: tuple[Tool, ...]) -> str:
        """Return the tools, then what was given as the role; knowledge and all, if it is RolePlay's own text
        already.
        """
        block = self.tools_text(tools)
        if block.strip() in given:
            return given
        language = self._language_of(tools)
        return block + _ROLE[language].format(role=given.strip() or _NO_ROLE[language])

    def user_prefix(self, tools: tuple[Tool, ...]) -> str:
        """Return the tools' names."""
        return _PREFIX[self._language_of(tools)].format(names=_names(tools)) if tools else ""

    def observation(self, result: str) -> str:
        """Return a result between tags, as a line."""
        return f"Observation: <result>{result}</result>\n"

    def resume(self) -> str:
        """RolePlay asks for the answer right after the results."""
        return _ANSWER

    def thought(self, text: str) -> list[Piece]:
        """Prose before an action; there is no marker for it here."""
        return [("text", f"{text}\n")] if text else []

    def final(self, text: str, thought: str, *, resumed: bool, tools: tuple[Tool, ...]) -> list[Piece]:
        """Return the answer, which is plain."""
        return [*self.thought(thought), ("text", text)]

    def answer_frame(self) -> tuple[str, str]:
        """Nothing: a reply without a call is plain, and `Answer:` stands there already after a result."""
        return "", ""

    def _ends_with_result(self, text: str, names: Names) -> bool:
        stripped = text.rstrip()
        is_open = stripped.endswith(f"\n{_ANSWER}")
        return super()._ends_with_result(stripped.removesuffix(_ANSWER) if is_open else text, names)

    def _language_of(self, tools: tuple[Tool, ...]) -> Language:
        if self._language is not None:
            return self._language
        return "zh" if any(_CHINESE.search(tool.description) for tool in tools) else "en"


def roleplay_steps(rendered: Rendered) -> tuple[Rendered, ...]:
    """Return the requests that RolePlay makes of one rendered conversation, each with the answer it should get.

    RolePlay sends no assistant message within a turn: it appends each output, its result and `Answer:` to the last user
    message and asks again. One step a model output; the last message of each is that output.
    """
    steps: list[Rendered] = []
    for index, message in enumerate(rendered.messages):
        if message["role"] == "assistant" and index and rendered.messages[index - 1]["role"] == "user":
            own = [segment for segment in rendered.segments if segment.message == index]
            steps.extend(_steps_of_turn(rendered, index, own))
    return tuple(steps)


def _steps_of_turn(rendered: Rendered, index: int, own: list[Segment]) -> list[Rendered]:
    before = tuple(segment for segment in rendered.segments if segment.message < index)
    steps: list[Rendered] = []
    said: list[Segment] = []
    output: list[Segment] = []
    resumed = False
    for segment in [*own, Segment("observation", "", index)]:
        if segment.kind != "observation":
            if resumed and segment.kind == "final" and segment.text.startswith(_ANSWER):
                said.append(Segment("user", _ANSWER, index - 1))
                segment = replace(segment, text=segment.text.removeprefix(_ANSWER).lstrip())
                resumed = False
            output.append(segment)
            continue
        text = "".join(piece.text for piece in output).strip()
        if text:
            steps.append(_step(rendered, index, (*before, *said), _strip(output)))
            said.append(Segment("user", f"{text}\n", index - 1))
            output = []
        said.append(Segment("user", segment.text, index - 1))
        resumed = True
    return steps


def _step(rendered: Rendered, index: int, before: tuple[Segment, ...], output: list[Segment]) -> Rendered:
    asked: dict[str, Any] = {
        "role": "user",
        "content": "".join(segment.text for segment in before if segment.message == index - 1),
    }
    answer = {"role": "assistant", "content": "".join(segment.text for segment in output)}
    return Rendered((*rendered.messages[: index - 1], asked, answer), False, (*before, *output))


def _strip(output: list[Segment]) -> list[Segment]:
    kept = [segment for segment in output if segment.text]
    kept[-1] = replace(kept[-1], text=kept[-1].text.rstrip("\n"))
    return kept


def _write_tool(tool: Tool) -> str:
    schema = dict(tool.parameters) or {"type": "object", "properties": {}, "required": []}
    return _TOOL["zh" if _CHINESE.search(tool.description) else "en"].format(
        name=tool.name, description=tool.description, parameters=json.dumps(schema, ensure_ascii=False)
    )


def _names(tools: tuple[Tool, ...]) -> str:
    return ",".join(tool.name for tool in tools)
