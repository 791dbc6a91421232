"""The pieces that generated text is made of: names, values, fields, requests."""

import json
import random

from callwright.demo.values import KINDS, Value, draw, pseudo_word
from callwright.demo.words import FIELDS, NOUNS, PREPOSITIONS, WORDS

Chat = list[tuple[str, str]]
"""Messages as (role, text)."""


def some_value(rng: random.Random, kind: str = "") -> tuple[str, Value]:
    """Return a kind of value, drawn where none is given, and a value of the training split."""
    kind = kind or rng.choice(KINDS)
    return kind, draw(rng, kind, "train")


def identifier(rng: random.Random) -> str:
    """Return a name as programs have them, in snake or camel case, of known and unknown words."""
    words = [rng.choice(WORDS) if rng.random() < 0.65 else pseudo_word(rng) for _ in range(rng.choice((1, 2, 2, 2, 3)))]
    match rng.randrange(5):
        case 0:
            return words[0] + "".join(word.capitalize() for word in words[1:])
        case _:
            return "_".join(words)


def some_words(rng: random.Random, low: int, high: int) -> list[str]:
    """From `low` to `high` words, values and unknown words."""
    return [
        rng.choice(WORDS) if rng.random() < 0.7 else str(some_value(rng)[1]) if rng.random() < 0.6 else pseudo_word(rng)
        for _ in range(rng.randint(low, high))
    ]


def noise(rng: random.Random, low: int, high: int) -> str:
    """From `low` to `high` words that mean nothing."""
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(low, high)))


def marker(rng: random.Random) -> str:
    """Return a word or two with capitals, such as a layout marks its parts with."""
    return " ".join(rng.choice(WORDS).capitalize() for _ in range(rng.choice((1, 1, 2))))


def some_fields(rng: random.Random, count: int) -> dict[str, tuple[str, Value]]:
    """`count` fields of a form: kind and value by name."""
    fields: dict[str, tuple[str, Value]] = {}
    while len(fields) < count:
        kind, value = some_value(rng)
        name = rng.choice(FIELDS[kind]) if rng.random() < 0.75 else identifier(rng)
        fields[name] = (kind, value)
    return fields


def as_json(fields: dict[str, tuple[str, Value]]) -> str:
    """Return the fields' values as a JSON object."""
    return json.dumps({name: value for name, (_, value) in fields.items()}, ensure_ascii=False)


def _phrase(rng: random.Random, name: str, kind: str, value: Value) -> str:
    spoken = name.replace("_", " ")
    style = rng.random()
    if style < 0.55 and kind in PREPOSITIONS:
        return f"{rng.choice(PREPOSITIONS[kind])} {value}"
    if style < 0.75:
        return f"{spoken} {value}"
    return rng.choice(
        (f"the {spoken} is {value}", f"with {spoken} {value}", f"{value}", f"called {value}", f"{spoken}: {value}")
    )


def field_lines(rng: random.Random, fields: dict[str, tuple[str, Value]], style: int) -> str:
    """Return the fields as a directory lists them, in one of three styles."""
    described = {
        name: f"{rng.choice(FIELDS[kind])} of the {rng.choice(NOUNS)}" if rng.random() < 0.7 else f"the {name}"
        for name, (kind, _) in fields.items()
    }
    match style:
        case 0:
            return "Form: " + json.dumps(
                [{"name": n, "description": d, "required": "True"} for n, d in described.items()]
            )
        case 1:
            return "Needs: " + ", ".join(f"{n} ({d})" for n, d in described.items())
        case _:
            return f"Form with {', '.join(described)}."


def spoken_request(rng: random.Random, subject: str, fields: dict[str, tuple[str, Value]]) -> str:
    """Return a sentence that asks for `subject` and tells the fields' values in some order."""
    parts = [_phrase(rng, name, kind, value) for name, (kind, value) in fields.items()]
    rng.shuffle(parts)
    lead = rng.choice(("", "", "Please ", "Can you ", "I want to ", "I need to ", "Hello, ", "Could you "))
    cut = rng.choice((0, 0, 0, 1)) if parts else 0
    before, after = parts[:cut], parts[cut:]
    glue = rng.choice((" ", " ", ", ", " and "))
    text = f"{lead}{subject} {glue.join(after)}".strip()
    text = f"{' '.join(before)} {text}".strip() if before else text
    return text[0].upper() + text[1:] + rng.choice((".", "?", "", "."))
