"""The demo's rows: conversations to train on, and held-out requests with the calls that they should lead to."""

import json
import random
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from callwright.demo import asking, looks
from callwright.demo.asking import Asked
from callwright.demo.catalogue import Tool, fill, known
from callwright.demo.kinds import Split, draw, is_held_out
from callwright.demo.looks import PLAIN, Look

Row = dict[str, Any]
Message = dict[str, Any]
Offer = list[tuple[Tool, Look]]

_CHINESE_SHARE = 0.1
_REFUSALS = (
    "Sorry, none of my tools can do that.",
    "Sorry, I have no tool for that.",
    "Sorry, I cannot do that: I have no tool for it.",
)
_CHINESE_REFUSALS = ("抱歉，我没有可以做这件事的工具。", "抱歉，现有的工具做不到这件事。")
_ASK_BACK = "Please tell me the {}."
_DONE = ({"status": "ok"}, "That is done.")


class Chat(NamedTuple):
    """A general question with its answer."""

    question: str
    answer: str

    @property
    def is_chinese(self) -> bool:
        """Whether it is in Chinese."""
        return any("一" <= character <= "鿿" for character in self.question)


@cache
def chats(split: Split) -> tuple[Chat, ...]:
    """General questions of a split."""
    told = yaml.safe_load(Path(__file__).with_name("chats.yaml").read_text(encoding="utf-8"))
    found = (Chat(each["question"], each["answer"]) for each in told)
    return tuple(chat for chat in found if is_held_out(chat.question) == (split == "held_out"))


class Deck:
    """Tools dealt in random order, each once before any comes again."""

    def __init__(self, rng: random.Random, tools: Sequence[Tool]) -> None:
        """Deal `tools`."""
        self._rng, self._tools = rng, tools
        self._left: list[Tool] = []

    def deal(self) -> Tool:
        """Return the next tool."""
        if not self._left:
            self._left = self._rng.sample(self._tools, len(self._tools))
        return self._left.pop()


def training_rows(rng: random.Random, count: int) -> Iterator[Row]:
    """Make conversations with tools, to train on."""
    deck, chinese = Deck(rng, known()), Deck(rng, [tool for tool in known() if tool.chinese])
    for number in range(count):
        row = _chinese_row(rng, chinese) if rng.random() < _CHINESE_SHARE else _row(rng, deck)
        yield {"id": f"agent-{number}"} | row


def replay_rows(rng: random.Random, count: int) -> Iterator[Row]:
    """Make conversations without tools, to train on, so that the model keeps what it knew."""
    pool = chats("train")
    for number in range(count):
        chosen = rng.sample(pool, rng.choice((1, 1, 2)))
        messages = [message for chat in chosen for message in _told(chat.question, chat.answer)]
        yield {"id": f"replay-{number}", "messages": messages}


def call_rows(rng: random.Random, name: str, count: int, tools: Sequence[Tool], pool: Sequence[Tool]) -> Iterator[Row]:
    """Make held-out requests for one call each; the tools take turns, and others of `pool` are offered beside them."""
    asked_for = [tool for tool in tools if tool.is_open]
    for number in range(count):
        tool = asked_for[number % len(asked_for)]
        chinese = bool(tool.chinese) and rng.random() < _CHINESE_SHARE * 3
        asked = asking.ask(rng, tool, PLAIN, "held_out", chinese=chinese)
        yield _held_out(f"{name}-{number}", asked.text, _offer(rng, [(tool, PLAIN)], pool), [asked.call])


def two_call_rows(rng: random.Random, name: str, count: int, tools: Sequence[Tool]) -> Iterator[Row]:
    """Make held-out requests for two calls each."""
    deck = Deck(rng, [tool for tool in tools if tool.is_open])
    for number in range(count):
        text, asked, offer = _two(rng, deck, "held_out")
        yield _held_out(f"{name}-{number}", text, offer, [one.call for one in asked])


def quiet_rows(rng: random.Random, name: str, count: int, tools: Sequence[Tool], pool: Sequence[Tool]) -> Iterator[Row]:
    """Make held-out requests that no call is due to, of four kinds in turn: for a tool of another field, for another
    tool of the field that is offered, a general question, and one that tells no values.
    """
    deck = Deck(rng, tools)
    general = chats("held_out")
    for number in range(count):
        tool = deck.deal()
        match number % 4:
            case 0:
                offered = [(rng.choice([other for other in pool if other.field != tool.field]), PLAIN)]
                text = asking.ask(rng, tool, PLAIN, "held_out").text
            case 1:
                offered = [
                    (rng.choice([other for other in pool if other.field == tool.field and other != tool]), PLAIN)
                ]
                text = asking.ask(rng, tool, PLAIN, "held_out").text
            case 2:
                offered, text = _offer(rng, [(tool, PLAIN)], pool), general[number // 4 % len(general)].question
            case _:
                offered, text = [(tool, PLAIN)], asking.ask_bare(rng, tool)
        yield _held_out(f"{name}-{number}", text, offered, [])


def general_rows(name: str) -> Iterator[Row]:
    """Make held-out conversations without tools; the loss on their answers tells what was forgotten."""
    for number, chat in enumerate(chats("held_out")):
        yield {"id": f"{name}-{number}", "messages": _told(chat.question, chat.answer)}


def _held_out(id: str, text: str, offer: Offer, calls: list[Row]) -> Row:
    return {
        "id": id,
        "messages": [{"role": "user", "content": text}],
        "tools": [looks.declared(tool, look) for tool, look in offer],
        "expected": calls,
    }


def _row(rng: random.Random, deck: Deck) -> Row:
    """Return a conversation of one to three requests about the same tools."""
    asked: tuple[Asked, ...]
    drawn = rng.random()
    if drawn < 0.16:
        text, asked, offer = _two(rng, deck, "train")
        messages = _called(text, asked)
    else:
        tool = deck.deal()
        offer = _offer(rng, [(tool, looks.some_look(rng, tool))], known(), looks_too=True)
        if drawn < 0.38:
            asked, messages = (), _quiet(rng, offer)
        elif drawn < 0.49 and _may_lack(tool):
            asked, messages = _asked_back(rng, offer, tool)
        else:
            asked, messages = _one_call(rng, offer, tool)
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        if asked:
            messages += _ending(rng, asked)
        if rng.random() < 0.35:
            asked, more = (), _quiet(rng, offer)
        else:
            asked, more = _one_call(rng, offer, rng.choice(offer)[0])
        messages += more
    if asked and rng.random() < 0.15:
        messages += _ending(rng, asked)
    return _conversation(offer, messages)


def _chinese_row(rng: random.Random, deck: Deck) -> Row:
    tool = deck.deal()
    offer = _offer(rng, [(tool, looks.some_look(rng, tool))], known(), looks_too=True, most=2)
    asked = asking.ask(rng, tool, dict(offer)[tool], "train", chinese=True)
    if rng.random() < 0.7:
        return _conversation(offer, _called(asked.text, (asked,)))
    if rng.random() < 0.5:
        chat = rng.choice([chat for chat in chats("train") if chat.is_chinese])
        return _conversation(offer, _told(chat.question, chat.answer))
    others = _offer(rng, [], [other for other in known() if other.field != tool.field], looks_too=True, most=2)
    return _conversation(others, _told(asked.text, rng.choice(_CHINESE_REFUSALS)))


def _offer(rng: random.Random, wanted: Offer, pool: Sequence[Tool], *, looks_too: bool = False, most: int = 3) -> Offer:
    """Return the wanted tools among others, one to three in all, in random order."""
    count = min(most, rng.choice((1, 1, 1, 1, 1, 2, 2, 2, 3)))
    taken = [tool for tool, _ in wanted]
    fields = {tool.field for tool in taken}
    others: Offer = []
    while len(wanted) + len(others) < max(count, 1):
        near = [tool for tool in pool if tool.field in fields]
        tool = rng.choice(near if near and rng.random() < 0.4 else pool)
        look = looks.some_look(rng, tool) if looks_too else PLAIN
        offered = [looks.name_of(*each) for each in (*wanted, *others)]
        if tool not in taken and looks.name_of(tool, look) not in offered:
            others.append((tool, look))
            taken.append(tool)
    offer = [*wanted, *others]
    rng.shuffle(offer)
    return offer


def _two(rng: random.Random, deck: Deck, split: Split) -> tuple[str, tuple[Asked, Asked], Offer]:
    """Return a request for two calls, of one tool or of two, with what is offered."""
    training = split == "train"
    first = deck.deal()
    look = looks.some_look(rng, first) if training else PLAIN
    if rng.random() < 0.6:
        text, asked = asking.ask_twice(rng, first, look, split)
        return text, asked, _offer(rng, [(first, look)], known(), looks_too=training, most=2)
    second = deck.deal()
    while second == first:
        second = deck.deal()
    wanted = [(first, look), (second, PLAIN)]
    if looks.name_of(first, look) == second.name:
        wanted[0] = (first, PLAIN)
    pair = (asking.ask(rng, *wanted[0], split), asking.ask(rng, *wanted[1], split, greet=False))
    text, asked = asking.ask_both(rng, pair)
    return text, asked, _offer(rng, wanted, known(), most=2)


def _quiet(rng: random.Random, offer: Offer) -> list[Message]:
    """Return a request that none of the tools serves, and words that say so or answer it."""
    if rng.random() < 0.3:
        chat = rng.choice([chat for chat in chats("train") if not chat.is_chinese])
        return _told(chat.question, chat.answer)
    tools = [tool for tool, _ in offer]
    fields = {tool.field for tool in tools}
    others = [tool for tool in known() if tool not in tools]
    near = [tool for tool in others if tool.field in fields]
    tool = rng.choice(near if rng.random() < 0.35 else others)
    return _told(asking.ask(rng, tool, PLAIN, "train").text, rng.choice(_REFUSALS))


def _one_call(rng: random.Random, offer: Offer, tool: Tool) -> tuple[tuple[Asked, ...], list[Message]]:
    """Return a request for a call, and the call."""
    asked = asking.ask(rng, tool, dict(offer)[tool], "train")
    return (asked,), _called(asked.text, (asked,))


def _may_lack(tool: Tool) -> bool:
    return bool(tool.required) and not any(parameter.words or parameter.many for parameter in tool.required)


def _asked_back(rng: random.Random, offer: Offer, tool: Tool) -> tuple[tuple[Asked, ...], list[Message]]:
    """Return a request without values, the question for them, their values in half of the cases, and the call."""
    look = dict(offer)[tool]
    names = [asking.spoken_name(parameter, look) for parameter in tool.required]
    question = _ASK_BACK.format(" and the ".join([", the ".join(names[:-1]), names[-1]] if len(names) > 1 else names))
    messages = _told(asking.ask_bare(rng, tool), question)
    if rng.random() < 0.5:
        return (), messages
    asked = asking.tell_values(rng, tool, look, "train")
    return (asked,), messages + _called(asked.text, (asked,))


def _told(question: str, answer: str) -> list[Message]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _called(text: str, asked: Sequence[Asked]) -> list[Message]:
    calls = [
        {
            "id": f"call_{number}",
            "type": "function",
            "function": {"name": call["name"], "arguments": json.dumps(call["arguments"], ensure_ascii=False)},
        }
        for number, call in enumerate(one.call for one in asked)
    ]
    return [{"role": "user", "content": text}, {"role": "assistant", "content": None, "tool_calls": calls}]


def _ending(rng: random.Random, asked: Sequence[Asked]) -> list[Message]:
    """Return the results of calls, and the answer that tells them."""
    results, answers = zip(*(_result(rng, one) for one in asked), strict=True)
    told = [
        {"role": "tool", "tool_call_id": f"call_{number}", "content": json.dumps(result, ensure_ascii=False)}
        for number, result in enumerate(results)
    ]
    return [*told, {"role": "assistant", "content": " ".join(dict.fromkeys(answers))}]


def _result(rng: random.Random, asked: Asked) -> tuple[Row, str]:
    if asked.tool.result is None or asked.tool.answer is None:
        return _DONE
    name, kind = asked.tool.result
    value = draw(rng, kind, "train")
    said = {path: str(given) for path, given in asked.values.items()}
    return {name: value}, fill(asked.tool.answer, said | {name: str(value)})


def _conversation(offer: Offer, messages: list[Message]) -> Row:
    return {"messages": messages, "tools": [looks.declared(tool, look) for tool, look in offer]}
