"""The demo's conversations: a tool-use corpus in the ms_agent format, a replay corpus, and held-out requests.

Training rows use values of the split `train` and all wordings of a tool but its last; held-out rows use values that no
training row holds. Knows the ms_agent format through its dialect only.
"""

import itertools
import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from callwright import dialects
from callwright.demo import talk
from callwright.demo.phrases import Chat
from callwright.demo.tools import SEEN, UNSEEN, DemoTool, fill
from callwright.demo.values import Split, Value, draw

_GREETINGS = ("", "", "", "", "Hello. ", "Please help me. ", "Hi! ")


@dataclass(frozen=True)
class Sizes:
    """Rows of each file."""

    conversations: int = 2400
    """Tool-use conversations, of two to four requests each."""
    replay: int = 800
    seen: int = 200
    wordings: int = 40
    unseen: int = 60
    general: int = 60


@dataclass(frozen=True)
class Corpus:
    """The files of the demo."""

    folder: Path

    @property
    def agent(self) -> Path:
        """Tool-use conversations to train on, in the ms_agent format."""
        return self.folder / "agent.jsonl"

    @property
    def replay(self) -> Path:
        """General conversations to train on, in the ms_agent format."""
        return self.folder / "replay.jsonl"

    def held_out(self, name: str) -> Path:
        """Held-out rows in OpenAI form: `seen`, `wordings`, `unseen`, `general`."""
        return self.folder / f"{name}.jsonl"


def write_corpus(folder: Path, *, seed: int = 11, sizes: Sizes = Sizes()) -> Corpus:
    """Write the demo's files below `folder`, the same for the same seed."""
    folder.mkdir(parents=True, exist_ok=True)
    corpus = Corpus(folder)
    rng = random.Random(seed)
    agent = (_agent_row(rng, f"demo-agent-{i}") for i in range(sizes.conversations))
    _write(corpus.agent, agent)
    replay = list(itertools.islice(_new_chats(rng), sizes.replay))
    _write(corpus.replay, (_replay_row(chat, f"demo-replay-{i}") for i, chat in enumerate(replay)))
    rng = random.Random(seed + 1)
    every = SEEN + UNSEEN
    sets: tuple[tuple[str, int, tuple[DemoTool, ...], tuple[DemoTool, ...], slice], ...] = (
        ("seen", sizes.seen, SEEN, SEEN, slice(0, -1)),
        ("wordings", sizes.wordings, SEEN, SEEN, slice(-1, None)),
        ("unseen", sizes.unseen, UNSEEN, every, slice(0, None)),
    )
    for name, count, asked, offered, wordings in sets:
        rows = (_request_row(rng, f"{name}-{i}", asked[i % len(asked)], offered, wordings) for i in range(count))
        _write(corpus.held_out(name), rows)
    fresh = itertools.islice(_new_chats(rng, known=replay), sizes.general)
    _write(corpus.held_out("general"), ({"id": f"general-{i}", "messages": _messages(c)} for i, c in enumerate(fresh)))
    return corpus


def _new_chats(rng: random.Random, *, known: Iterable[Chat] = ()) -> Iterator[Chat]:
    """General chats that open in no way that a known one or one before opens."""
    openings = {chat[0] for chat in known}
    while True:
        chat = talk.general_chat(rng)
        if chat[0] not in openings:
            openings.add(chat[0])
            yield chat


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as lines:
        for row in rows:
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")


def _messages(chat: Chat) -> list[dict[str, Any]]:
    return [{"role": role, "content": text} for role, text in chat]


def _offer(rng: random.Random, wanted: list[DemoTool], pool: tuple[DemoTool, ...]) -> list[DemoTool]:
    """Return the wanted tools among others, two to four in all, in random order."""
    others = [tool for tool in pool if tool not in wanted]
    count = max(0, rng.choice((2, 3, 4)) - len(wanted))
    offered = [*wanted, *rng.sample(others, count)]
    rng.shuffle(offered)
    return offered


def _request(rng: random.Random, tool: DemoTool, split: Split, wordings: slice) -> tuple[str, dict[str, Value]]:
    values = {p.name: draw(rng, p.kind, split) for p in tool.parameters}
    return rng.choice(_GREETINGS) + fill(rng.choice(tool.requests[wordings]), values), values


def _request_row(
    rng: random.Random, id: str, tool: DemoTool, pool: tuple[DemoTool, ...], wordings: slice
) -> dict[str, Any]:
    """Return a held-out request and the call that it should lead to."""
    text, values = _request(rng, tool, "held_out", wordings)
    return {
        "id": id,
        "messages": [{"role": "user", "content": text}],
        "tools": [offered.schema for offered in _offer(rng, [tool], pool)],
        "expected": [{"name": tool.name, "arguments": values}],
    }


def _agent_row(rng: random.Random, id: str) -> dict[str, Any]:
    """Return a conversation of two to four requests to the same tools, each with its thought, call, result and
    answer.
    """
    offered = _offer(rng, rng.sample(SEEN, 1), SEEN)
    tools = [tool.schema for tool in offered]
    messages: list[dict[str, Any]] = []
    for number in range(rng.choice((2, 3, 3, 4))):
        tool = rng.choice(offered)
        text, values = _request(rng, tool, "train", slice(0, -1))
        result = draw(rng, tool.result, "train")
        call = {"name": tool.name, "arguments": json.dumps(values, ensure_ascii=False)}
        messages += [
            {"role": "user", "content": text},
            {
                "role": "assistant",
                "content": f"I should use {tool.name}.",
                "tool_calls": [{"id": f"call_{number}", "type": "function", "function": call}],
            },
            {"role": "tool", "tool_call_id": f"call_{number}", "content": json.dumps({"result": result})},
            {"role": "assistant", "content": fill(tool.answer, {**values, "r": result})},
        ]
    rendered = dialects.load("ms_agent").render(messages, tools)
    return {"id": id, "conversations": [{"from": m["role"], "value": m["content"]} for m in rendered.messages]}


def _replay_row(chat: Chat, id: str) -> dict[str, Any]:
    return {"id": id, "conversations": [{"from": role, "value": text} for role, text in chat]}
