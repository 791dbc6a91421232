"""Generated text for the demo's base model: chats that copy, look up, restate as JSON, fill in forms and choose a desk.

Everything is drawn from a seeded generator and from words of everyday English. There is no tool list in it, no call
in any dialect and no result of one: the base can continue text, copy, choose and fill in, and has never seen a tool
call. Knows nothing of tokenizers or models.
"""

import random
from collections.abc import Callable, Iterator
from typing import Literal

from callwright.demo.choosing import bare_desk, choose_desk, clear_desk, name_topic, pick, swap, varied_desk
from callwright.demo.phrases import (
    Chat,
    as_json,
    field_lines,
    identifier,
    some_fields,
    some_value,
    some_words,
    spoken_request,
)
from callwright.demo.talk import general_chat
from callwright.demo.words import NOUNS, VERBS

Text = Literal["plain", "varied", "clear", "about", "bare"]
"""Courses of text: `plain` layouts, in which copying is learned; `varied` ones, new in every chat; `clear` requests in
varied layouts, in which choosing is learned; the same with what words are `about`; and with `bare` answers, which leave
out the marks that a directory asks for."""


_Kind = tuple[Callable[[random.Random], Chat], int]
"""What makes chats of a kind, and how often it is drawn."""


def chats(seed: int, text: Text = "plain") -> Iterator[Chat]:
    """Yield chats of one course without end."""
    rng = random.Random(seed)
    clear = text in ("clear", "about", "bare")
    choosing: dict[Text, list[_Kind]] = {
        "plain": [(choose_desk, 9)],
        "varied": [(varied_desk, 16)],
        "clear": [(clear_desk, 16), (pick, 8)],
        "about": [(clear_desk, 12), (pick, 10), (swap, 5), (name_topic, 9)],
        "bare": [(bare_desk, 12), (pick, 10), (swap, 5), (name_topic, 9)],
    }
    kinds: list[_Kind] = [
        (_repeat, 1 if clear else 2),
        (_lookup, 1 if clear else 2),
        (_restate, 1 if clear else 3),
        (_fill_form, 3 if clear else 4),
        *choosing[text],
        (_tell, 1 if clear else 2),
        (general_chat, 3),
    ]
    makers, weights = zip(*kinds, strict=True)
    while True:
        yield rng.choices(makers, weights)[0](rng)


def _repeat(rng: random.Random) -> Chat:
    text = rng.choice((" ", " ", ", ", "\n")).join(some_words(rng, 4, 30))
    order = rng.choice(("Repeat this:", "Say this again:", "Copy the following text:", "Write this once more:"))
    return [("user", f"{order}\n{text}"), ("assistant", text)]


def _lookup(rng: random.Random) -> Chat:
    size = rng.randint(3, 9)
    keys = list({identifier(rng) for _ in range(size)})
    pairs = {key: some_value(rng)[1] if rng.random() < 0.8 else identifier(rng) for key in keys}
    sign = rng.choice((": ", " = ", " is "))
    table = "\n".join(f"{key}{sign}{value}" for key, value in pairs.items())
    chat: Chat = [("system", f"Here is a list.\n{table}")]
    for key in rng.sample(keys, min(len(keys), rng.randint(2, 6))):
        ask = rng.choice(("What is {}?", "Tell me {}.", "Look up {}.", "And {}?"))
        chat += [("user", ask.format(key)), ("assistant", str(pairs[key]))]
    return chat


def _restate(rng: random.Random) -> Chat:
    fields = some_fields(rng, rng.randint(1, 5))
    shown = list(fields.items())
    rng.shuffle(shown)
    text = rng.choice((", ", "\n", "; ", " and ")).join(f"{name} {value}" for name, (_, value) in shown)
    order = rng.choice(("Write this as JSON with {}:", "Give me a JSON record with {}:", "As JSON, keys {}:"))
    return [("user", f"{order.format(', '.join(fields))}\n{text}"), ("assistant", as_json(fields))]


def _fill_form(rng: random.Random) -> Chat:
    fields = some_fields(rng, rng.randint(1, 4))
    chat: Chat = [("system", f"Fill in the form as JSON. {field_lines(rng, fields, rng.randrange(3))}")]
    for _ in range(rng.choice((1, 1, 2, 3))):
        fields = {name: some_value(rng, kind) for name, (kind, _) in fields.items()}
        chat += [
            ("user", spoken_request(rng, f"{rng.choice(VERBS)} the {rng.choice(NOUNS)}", fields)),
            ("assistant", as_json(fields)),
        ]
    return chat


def _tell(rng: random.Random) -> Chat:
    """Restate a record in a sentence."""
    fields = some_fields(rng, rng.randint(1, 3))
    name, (_, value) = rng.choice(list(fields.items()))
    spoken = name.replace("_", " ")
    ask, answer = rng.choice(
        (
            (f"What is the {spoken}?", f"The {spoken} is {value}."),
            (f"Tell me the {spoken}.", f"It is {value}."),
            (f"Which {spoken}?", f"{value} is the {spoken}."),
        )
    )
    return [("user", f"{as_json(fields)}\n{ask}"), ("assistant", answer)]
