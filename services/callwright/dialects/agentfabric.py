"""AgentFabric: the prompts of modelscope-agent's RolePlay, as of 0.7.1, in Chinese and English.

The system message is the knowledge, if there is any, the tools, then the role; every user message names role and tools
again. `Answer:` follows each result, also before a further action. A turn is rendered as one assistant message;
RolePlay itself appends to the user's message instead, and `roleplay_steps` makes its requests of what is rendered.
AgentFabric's page always has a section of knowledge, `NO_KNOWLEDGE` at least; other programs on RolePlay need not.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar, Literal, NamedTuple

from callwright.dialects.history import Piece
from callwright.dialects.react import ReactDialect, awaits_result
from callwright.dialects.tools import Names, Tool
from callwright.dialects.types import REASONING, Rendered, Segment

Language = Literal["zh", "en"]
Release = Literal["0.6.2", "0.7.1"]
NO_KNOWLEDGE = "Empty Response"
"""What AgentFabric's page writes as knowledge where it has none."""
_KNOWLEDGE: dict[Language, str] = {"zh": "\n\n# 知识库\n\n{text}\n\n", "en": "\n\n# Knowledge Base\n\n{text}\n\n"}
_KNOWLEDGE_SECTION = re.compile(r"\A\s*# (?:知识库|Knowledge Base)\n\n.*?\n\n(?=\n|\Z)", re.DOTALL)
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
_PREFIX: dict[Language, str] = {
    "zh": "({role}。你可以使用工具：[{names}]{knowledge})",
    "en": "({role}. you can use tools: [{names}]{knowledge})",
}
_PREFIX_ROLE: dict[Language, str] = {"zh": "你正在扮演", "en": "You are playing as "}
_PREFIX_KNOWLEDGE: dict[Language, str] = {
    "zh": "。请查看前面的知识库",
    "en": ". Please read the knowledge base at the beginning",
}
_ROLE_NAME = re.compile("^(?:下面你将开始扮演|Now you will start playing as)(.+)$", re.MULTILINE)
_CHINESE = re.compile("[\u4e00-\u9fff]")
_ANSWER = "Answer:"
_OBSERVATION = "Observation:"


class AgentFabric(ReactDialect):
    """The dialect `agentfabric`, in `language`, by default that of the tools' descriptions.

    `knowledge` is that of every conversation which brings none of its own.
    """

    name: ClassVar[str] = "agentfabric"
    answer_marker: ClassVar[bool] = True

    def __init__(self, language: Language | None = None, knowledge: str = "") -> None:
        super().__init__()
        self._language = language
        self._knowledge = knowledge

    @property
    def marker_in_result(self) -> re.Pattern[str] | None:
        return re.compile(rf"{self._markers.in_result.pattern}|(?<=<)(?=/?result>)", re.IGNORECASE)

    def tools_text(self, tools: tuple[Tool, ...]) -> str:
        """Return the part of the system message that shows the tools."""
        return _TOOLS[self._language_of(tools)].format(
            tools="\n\n".join(_write_tool(tool) for tool in tools), names=_names(tools)
        )

    def system_text(self, given: str, tools: tuple[Tool, ...]) -> str:
        """Return the knowledge, the tools, then what was given as the role; the text as it is, if it is RolePlay's own
        already.

        What was given may begin with a section of knowledge, as RolePlay writes it; two empty lines end it.
        """
        block = self.tools_text(tools)
        if block.strip() in given:
            return given
        language = self._language_of(tools)
        section = _KNOWLEDGE_SECTION.match(given)
        role = given[section.end() :] if section else given
        knowledge = section[0].strip().partition("\n\n")[2] if section else self._knowledge
        before = _KNOWLEDGE[language].format(text=knowledge) if knowledge else ""
        return before + block + _ROLE[language].format(role=role.strip() or _NO_ROLE[language])

    def user_prefix(self, tools: tuple[Tool, ...], system: str) -> str:
        """Return the role's name and the tools' names, and that there is knowledge."""
        language = self._language_of(tools)
        *_, role = ["", *_ROLE_NAME.findall(system)]
        return _PREFIX[language].format(
            role=role and _PREFIX_ROLE[language] + role,
            names=_names(tools),
            knowledge=_PREFIX_KNOWLEDGE[language] if _KNOWLEDGE_SECTION.match(system) else "",
        )

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

    def final_with_calls(self, text: str, thought: str, *, tools: tuple[Tool, ...]) -> list[Piece]:
        """Return the answer in ReAct's own form: RolePlay has none that could hold it."""
        return super().final(text, thought, resumed=True, tools=tools)

    def answer_frame(self) -> tuple[str, str]:
        """Nothing: a reply without a call is plain, and `Answer:` stands there already after a result."""
        return "", ""

    def thought_frame(self) -> tuple[str, str]:
        """Nothing: prose before an action has no marker."""
        return "", ""

    def _ends_with_result(self, text: str, names: Names) -> bool:
        stripped = text.rstrip()
        is_open = stripped.endswith(f"\n{_ANSWER}")
        return super()._ends_with_result(stripped.removesuffix(_ANSWER) if is_open else text, names)

    def _language_of(self, tools: tuple[Tool, ...]) -> Language:
        if self._language is not None:
            return self._language
        return "zh" if any(_CHINESE.search(tool.description) for tool in tools) else "en"


class _Written(NamedTuple):
    """A message and its segments."""

    message: dict[str, Any]
    segments: list[Segment]


def roleplay_steps(rendered: Rendered, release: Release = "0.7.1") -> tuple[Rendered, ...]:
    """Return the requests that RolePlay makes of one rendered conversation, each with the output it should get.

    RolePlay sends no assistant message within a turn: it appends each output, its result and `Answer:` to the last user
    message and asks again. Only that message names role and tools. An earlier turn is one assistant message, of its
    outputs and results as a page has shown them. One step a model output; the last message of each is that output, with
    the `Observation:` that the client stops at.
    """
    steps: list[Rendered] = []
    history: list[_Written] = []
    asked: _Written | None = None
    for written in map(_Written, rendered.messages, rendered.by_message()):
        role = written.message["role"]
        if asked and role == "assistant" and isinstance(asked.message["content"], str):
            steps += (_rendered([*history, *step]) for step in _steps_of_turn(asked, written, release))
        if asked:
            history.append(_without_prefix(asked))
        asked = written if role == "user" else None
        if not asked:
            history.append(_as_shown(written) if role == "assistant" else written)
    return tuple(steps)


def _steps_of_turn(asked: _Written, turn: _Written, release: Release) -> Iterator[tuple[_Written, _Written]]:
    """Yield the user message and the output of each step."""
    line_end = "\n" if release == "0.7.1" else ""  # 0.6.2 takes it off the output
    reasoning = {key: value for key, value in turn.message.items() if key == REASONING}
    said = asked.segments
    for output, results in _rounds(turn.segments):
        if said is not asked.segments:  # `Answer:` stands there already
            output = [replace(output[0], text=output[0].text.removeprefix(_ANSWER)), *output[1:]] if output else []
        text = "".join(segment.text for segment in output)
        if text.strip():
            output[-1] = replace(output[-1], text=output[-1].text.rstrip("\n"))
            marker = [replace(results[0], text=f"\n{_OBSERVATION}")] if results else []
            answer = _of("assistant", [*output, *marker])
            yield _of("user", said), _Written(answer.message | reasoning, answer.segments)
        reasoning = {}
        told = "".join(segment.text for segment in results)
        said = [*said, Segment("user", f"{text.rstrip()}{line_end}\n{told.rstrip()}\n{_ANSWER}")]


def _rounds(segments: list[Segment]) -> list[tuple[list[Segment], list[Segment]]]:
    """Return what the model wrote and the results that followed, in turns; a bare `Observation:` ends the last."""
    rounds: list[tuple[list[Segment], list[Segment]]] = []
    for segment in segments:
        is_result = segment.kind == "observation"
        if not rounds or (rounds[-1][1] and not is_result):
            rounds.append(([], []))
        rounds[-1][is_result].append(segment)
    return rounds


def _as_shown(turn: _Written) -> _Written:
    """Return an earlier turn: before a result stands the line end of the model's call, then that of RolePlay."""
    shown: list[Segment] = []
    for segment in turn.segments:
        if (
            segment.kind == "observation"
            and shown
            and shown[-1].kind != "observation"
            and not awaits_result(segment.text)
        ):
            shown[-1] = replace(shown[-1], text=shown[-1].text.rstrip("\n") + "\n\n")
        shown.append(segment)
    return _of("assistant", shown)


def _without_prefix(user: _Written) -> _Written:
    own = [segment for segment in user.segments if segment.kind == "user"]
    content = user.message["content"]
    if isinstance(content, str):
        return _of("user", own)
    prefix = "".join(segment.text for segment in user.segments if segment.kind != "user")
    skipped = bool(prefix) and content[:1] == [{"type": "text", "text": prefix}]
    return _Written({**user.message, "content": content[skipped:]}, own)


def _of(role: str, segments: list[Segment]) -> _Written:
    kept = [segment for segment in segments if segment.text]
    return _Written({"role": role, "content": "".join(segment.text for segment in kept)}, kept)


def _rendered(written: list[_Written]) -> Rendered:
    segments = tuple(replace(segment, message=index) for index, (_, own) in enumerate(written) for segment in own)
    return Rendered(tuple(message for message, _ in written), False, segments)


def _write_tool(tool: Tool) -> str:
    schema = dict(tool.parameters) or {"type": "object", "properties": {}, "required": []}
    return _TOOL["zh" if _CHINESE.search(tool.description) else "en"].format(
        name=tool.name, description=tool.description, parameters=json.dumps(schema, ensure_ascii=False)
    )


def _names(tools: tuple[Tool, ...]) -> str:
    return ",".join(tool.name for tool in tools)
