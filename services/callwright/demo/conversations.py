"""The demo's rows: conversations to train on, and held-out requests with the calls that they should lead to."""

import itertools
import json
import random
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import yaml

from callwright.demo import asking, looks
from callwright.demo.asking import Request
from callwright.demo.catalogue import Parameter, Tool, fill, known
from callwright.demo.kinds import Split, draw
from callwright.demo.looks import PLAIN, Look

T = TypeVar("T")
Fields = dict[str, Any]
Message = dict[str, Any]
Offer = list[tuple[Tool, Look]]
Requests = tuple[Request, ...]

_CHINESE_SHARE = 0.1
"""Share of conversations in Chinese."""
_TWO_CALLS, _NO_CALL, _QUESTION_BACK = 0.16, 0.22, 0.11
"""Shares of conversations that begin with two calls, with none, and with a question for values that are missing."""
_LATER_NO_CALL = 0.35
"""Share of the later requests of a conversation that no call is due to."""
_ENDS_WITH_ANSWER = 0.15
"""Share of the conversations whose last call is followed by its result and the answer."""
_CHAT_SHARE = 0.3
"""Share of the requests without a call that are general questions, which are answered."""
_NO_CALL_WEIGHT = 2
"""Loss weight of an answer where a call might have stood: that none is due is decided in a single token of it."""
_NEAR_SHARE = 0.35
"""Share of the refused requests that are for another tool of the field that is offered."""
_TOO_NEAR = (
    {"get_weather", "get_forecast"},
    {"send_sms", "post_message", "schedule_message"},
    {"find_route", "get_train_times"},
    {"add_event", "create_task", "request_leave"},
    {"set_alarm", "set_timer"},
    {"convert_units", "convert_temperature"},
    {"search_products", "check_stock", "compare_prices"},
    {"exchange_money", "get_exchange_history"},
    {"add_to_shopping_list", "add_to_wishlist", "place_order"},
    {"create_ticket", "create_task"},
    {"find_case", "search_rulings"},
)
"""Tools that could serve a request for one another: where one is offered, the other is not refused."""
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
    """General questions of a split, one in five of them held out."""
    return tuple(chat for place, chat in enumerate(_chats("chats.yaml")) if (place % 5 == 0) == (split == "held_out"))


def _chats(file: str) -> Iterator[Chat]:
    told = yaml.safe_load(Path(__file__).with_name(file).read_text(encoding="utf-8"))
    return (Chat(each["question"], each["answer"]) for each in told)


class Deck(Generic[T]):
    """Cards dealt in random order, each once before any comes again."""

    def __init__(self, rng: random.Random, cards: Sequence[T]) -> None:
        """Deal `cards`."""
        self._rng, self._cards = rng, cards
        self._left: list[T] = []

    def deal(self) -> T:
        """Return the next card."""
        if not self._left:
            self._left = self._rng.sample(self._cards, len(self._cards))
        return self._left.pop()


def training_rows(rng: random.Random, count: int) -> Iterator[Fields]:
    """Make conversations with tools, to train on."""
    deck, chinese = Deck(rng, known()), Deck(rng, [tool for tool in known() if tool.chinese])
    for number in range(count):
        row = _chinese_row(rng, chinese) if rng.random() < _CHINESE_SHARE else _row(rng, deck)
        yield {"id": f"agent-{number}"} | row


def replay_rows(rng: random.Random, count: int) -> Iterator[Fields]:
    """Make conversations without tools, to train on, so that the model keeps what it knew."""
    deck = Deck(rng, chats("train"))
    for number in range(count):
        chosen = [deck.deal() for _ in range(rng.choice((1, 1, 2)))]
        messages = [message for chat in chosen for message in _told(chat.question, chat.answer)]
        yield {"id": f"replay-{number}", "messages": messages}


def call_rows(
    rng: random.Random, name: str, count: int, tools: Sequence[Tool], pool: Sequence[Tool]
) -> Iterator[Fields]:
    """Make held-out requests for one call each; the tools take turns, and others of `pool` are offered beside them."""
    wanted = [tool for tool in tools if tool.is_open]
    for number in range(count):
        tool = wanted[number % len(wanted)]
        chinese = bool(tool.chinese) and rng.random() < _CHINESE_SHARE * 3
        request = asking.request(rng, tool, PLAIN, "held_out", chinese=chinese)
        yield _held_out(f"{name}-{number}", request.text, _offer(rng, [(tool, PLAIN)], pool), [request.call])


def two_call_rows(rng: random.Random, name: str, count: int, tools: Sequence[Tool]) -> Iterator[Fields]:
    """Make held-out requests for two calls each."""
    deck = Deck(rng, [tool for tool in tools if tool.is_open])
    for number in range(count):
        text, requests, offer = _two(rng, deck, "held_out")
        yield _held_out(f"{name}-{number}", text, offer, [request.call for request in requests])


def quiet_rows(
    rng: random.Random, name: str, count: int, tools: Sequence[Tool], pool: Sequence[Tool]
) -> Iterator[Fields]:
    """Make held-out requests that no call is due to, of five kinds in turn: for a tool of another field, for another
    tool of the field that is offered, a general question, one that tells no values, and one that lacks a value.
    """
    deck = Deck(rng, [tool for tool in tools if len(tool.required) > 1])
    general = Deck(rng, chats("held_out"))
    for number in range(count):
        tool = deck.deal()
        offer: Offer = [(tool, PLAIN)]
        match number % 5:
            case 0:
                offer = [(rng.choice([other for other in pool if other.field != tool.field]), PLAIN)]
                text = asking.request(rng, tool, PLAIN, "held_out").text
            case 1:
                near = [other for other in pool if other.field == tool.field and not _may_serve(other, tool)]
                offer = [(rng.choice(near), PLAIN)]
                text = asking.request(rng, tool, PLAIN, "held_out").text
            case 2:
                offer, text = _offer(rng, offer, pool), general.deal().question
            case 3:
                text = asking.request_without_values(rng, tool)
            case _:
                text, _, _ = asking.request_with_gap(rng, tool, PLAIN, "held_out")
        yield _held_out(f"{name}-{number}", text, offer, [])


def general_rows(name: str) -> Iterator[Fields]:
    """Make held-out conversations without tools; the loss on their answers tells what was forgotten."""
    for number, chat in enumerate(_chats("general.yaml")):
        yield {"id": f"{name}-{number}", "messages": _told(chat.question, chat.answer)}


def _held_out(id: str, text: str, offer: Offer, calls: list[Fields]) -> Fields:
    return {
        "id": id,
        "messages": [{"role": "user", "content": text}],
        "tools": [looks.declared(tool, look) for tool, look in offer],
        "expected": calls,
    }


def _row(rng: random.Random, deck: Deck[Tool]) -> Fields:
    """Return a conversation of one to three requests about the same tools."""
    requests: Requests
    drawn = rng.random()
    if drawn < _TWO_CALLS:
        text, requests, offer = _two(rng, deck, "train")
        messages = _called(text, requests)
    else:
        tool = deck.deal()
        offer = _offer(rng, [(tool, looks.some_look(rng, tool))], known(), looks_too=True)
        if drawn < _TWO_CALLS + _NO_CALL:
            requests, messages = (), _quiet(rng, offer)
        elif drawn < _TWO_CALLS + _NO_CALL + _QUESTION_BACK and _may_lack(tool):
            requests, messages = _asked_back(rng, offer, tool)
        else:
            requests, messages = _one_call(rng, offer, tool)
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        if requests:
            messages += _ending(rng, requests)
        if rng.random() < _LATER_NO_CALL:
            requests, more = (), _quiet(rng, offer)
        else:
            requests, more = _one_call(rng, offer, rng.choice(offer)[0])
        messages += more
    if requests and rng.random() < _ENDS_WITH_ANSWER:
        messages += _ending(rng, requests)
    return _conversation(offer, messages)


def _chinese_row(rng: random.Random, deck: Deck[Tool]) -> Fields:
    tool = deck.deal()
    offer = _offer(rng, [(tool, looks.some_look(rng, tool))], known(), looks_too=True, most=2)
    request = asking.request(rng, tool, dict(offer)[tool], "train", chinese=True)
    if rng.random() < 0.7:
        return _conversation(offer, _called(request.text, (request,)))
    if rng.random() < 0.5:
        chat = rng.choice([chat for chat in chats("train") if chat.is_chinese])
        return _conversation(offer, _answered(chat.question, chat.answer))
    others = _offer(rng, [], [other for other in known() if other.field != tool.field], looks_too=True, most=2)
    return _conversation(others, _answered(request.text, rng.choice(_CHINESE_REFUSALS)))


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


def _two(rng: random.Random, deck: Deck[Tool], split: Split) -> tuple[str, tuple[Request, Request], Offer]:
    """Return a request for two calls, of one tool or of two, with what is offered."""
    training = split == "train"
    first = deck.deal()
    look = looks.some_look(rng, first) if training else PLAIN
    if rng.random() < 0.6:
        text, requests = asking.request_twice(rng, first, look, split)
        return text, requests, _offer(rng, [(first, look)], known(), looks_too=training, most=2)
    second = deck.deal()
    while second == first:
        second = deck.deal()
    wanted = [(first, look), (second, PLAIN)]
    if looks.name_of(first, look) == second.name:
        wanted[0] = (first, PLAIN)
    text, requests = asking.request_both(rng, wanted[0], wanted[1], split)
    return text, requests, _offer(rng, wanted, known(), most=2)


def _may_serve(offered: Tool, wanted: Tool) -> bool:
    """Return whether an offered tool could serve a request for another, or for itself."""
    return offered == wanted or any({offered.name, wanted.name} <= near for near in _TOO_NEAR)


def _quiet(rng: random.Random, offer: Offer) -> list[Message]:
    """Return a request that none of the tools serves, and words that say so or answer it."""
    if rng.random() < _CHAT_SHARE:
        chat = rng.choice([chat for chat in chats("train") if not chat.is_chinese])
        return _answered(chat.question, chat.answer)
    tools = [tool for tool, _ in offer]
    fields = {tool.field for tool in tools}
    others = [wanted for wanted in known() if not any(_may_serve(tool, wanted) for tool in tools)]
    near = [tool for tool in others if tool.field in fields]
    tool = rng.choice(near if rng.random() < _NEAR_SHARE else others)
    return _answered(asking.request(rng, tool, PLAIN, "train").text, rng.choice(_REFUSALS))


def _one_call(rng: random.Random, offer: Offer, tool: Tool) -> tuple[Requests, list[Message]]:
    """Return a request for a call, and the call."""
    request = asking.request(rng, tool, dict(offer)[tool], "train")
    return (request,), _called(request.text, (request,))


def _may_lack(tool: Tool) -> bool:
    return bool(tool.required) and not any(parameter.is_boolean or parameter.many for parameter in tool.required)


def _asked_back(rng: random.Random, offer: Offer, tool: Tool) -> tuple[Requests, list[Message]]:
    """Return a request that lacks all values or one of several, the question for them, the values in half of the cases,
    and the call.
    """
    look = dict(offer)[tool]
    missing: Sequence[Parameter] = tool.required
    if len(tool.required) > 1 and rng.random() < 0.5:
        text, gap, request = asking.request_with_gap(rng, tool, look, "train")
        missing = [gap]
    else:
        text, request = asking.request_without_values(rng, tool), asking.tell_values(rng, tool, look, "train")
    names = [asking.spoken_name(parameter, look) for parameter in missing]
    question = _ASK_BACK.format(" and the ".join([", the ".join(names[:-1]), names[-1]] if len(names) > 1 else names))
    messages = _answered(text, question)
    if rng.random() < 0.5:
        return (), messages
    return (request,), messages + _called(request.text, (request,))


def _told(question: str, answer: str) -> list[Message]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _answered(request: str, answer: str) -> list[Message]:
    """Return a request that no call is due to, with its answer."""
    asked, answered = _told(request, answer)
    return [asked, answered | {"weight": _NO_CALL_WEIGHT}]


def _called(text: str, requests: Sequence[Request]) -> list[Message]:
    calls = [
        {
            "type": "function",
            "function": {"name": call["name"], "arguments": json.dumps(call["arguments"], ensure_ascii=False)},
        }
        for call in (request.call for request in requests)
    ]
    return [{"role": "user", "content": text}, {"role": "assistant", "content": None, "tool_calls": calls}]


def _ending(rng: random.Random, requests: Sequence[Request]) -> list[Message]:
    """Return the results of calls, and the answer that tells them."""
    results, answers = zip(*(_result(rng, request) for request in requests), strict=True)
    told = [{"role": "tool", "content": json.dumps(result, ensure_ascii=False)} for result in results]
    return [*told, {"role": "assistant", "content": " ".join(dict.fromkeys(answers))}]


def _result(rng: random.Random, request: Request) -> tuple[Fields, str]:
    if request.tool.result is None or request.tool.answer is None:
        return _DONE
    name, kind = request.tool.result
    value = draw(rng, kind, "train")
    said = {path: str(given) for path, given in request.values.items()}
    return {name: value}, fill(request.tool.answer, said | {name: str(value)})


def _conversation(offer: Offer, messages: list[Message]) -> Fields:
    return {"messages": _numbered(messages), "tools": [looks.declared(tool, look) for tool, look in offer]}


def _numbered(messages: list[Message]) -> list[Message]:
    """Return messages whose calls and results, which follow in the calls' order, have ids that count up."""
    calls, results = itertools.count(), itertools.count()
    numbered: list[Message] = []
    for message in messages:
        if "tool_calls" in message:
            message = message | {"tool_calls": [{"id": f"call_{next(calls)}"} | call for call in message["tool_calls"]]}
        elif message["role"] == "tool":
            message = {"role": "tool", "tool_call_id": f"call_{next(results)}"} | message
        numbered.append(message)
    return numbered
