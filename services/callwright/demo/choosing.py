"""Chats in which the assistant chooses from a directory by what a request is about, in ever new layouts."""

import json
import random

from callwright.demo.phrases import (
    Chat,
    as_json,
    field_lines,
    identifier,
    marker,
    noise,
    some_fields,
    some_value,
    spoken_request,
)
from callwright.demo.values import Value, pseudo_word
from callwright.demo.words import ADJECTIVES, FIELDS, FUNCTION_WORDS, NOUNS, TOPICS, VERBS, WORDS


def choose_desk(rng: random.Random) -> Chat:
    """Pick from a directory by what the request is about, then fill in that desk's form."""
    style, desks = rng.randrange(3), []
    for _ in range(rng.choice((2, 3, 3, 4, 4, 5, 6))):
        verb, noun = rng.choice(VERBS), rng.choice(NOUNS) if rng.random() < 0.85 else pseudo_word(rng)
        extra = rng.choice(
            (
                "",
                "",
                f" of a {rng.choice(NOUNS)}",
                f" in the {rng.choice(NOUNS)}",
                f" that is {rng.choice(ADJECTIVES)}",
            )
        )
        named = f"{verb}_{noun}" if rng.random() < 0.5 else identifier(rng)
        fields = some_fields(rng, rng.choice((0, 1, 1, 2, 2, 3)))
        desks.append((named, verb, noun, extra, fields, field_lines(rng, fields, style)))
    first, second = rng.choice(
        (("Desk", "Form"), ("Place", "Card"), ("Room", "Paper"), (identifier(rng), identifier(rng)))
    )
    lines = [f"{i}. {n}: {v.capitalize()} the {o}{e}. {f}" for i, (n, v, o, e, _, f) in enumerate(desks, 1)]
    names = ", ".join(desk[0] for desk in desks)
    chat: Chat = [
        (
            "system",
            "These are the desks:\n"
            + rng.choice(("\n", "\n\n")).join(lines)
            + f"\n\n{first}: the right desk, one of [{names}]\n{second}: its form",
        )
    ]
    for _ in range(rng.choice((2, 3, 4, 5))):
        name, verb, noun, _, fields, _ = rng.choice(desks)
        fields = {field: some_value(rng, kind) for field, (kind, _) in fields.items()}
        subject = rng.choice(
            (f"{verb} the {noun}", f"{verb} a {noun}", f"{verb} {noun}", f"{noun}, {verb} it,", f"the {noun}")
        )
        chat += [
            ("user", spoken_request(rng, subject, fields)),
            ("assistant", f"{first}: {name}\n{second}: {as_json(fields)}"),
        ]
    return chat


def pick(rng: random.Random) -> Chat:
    """Name what a request is about, again and again, from a short directory."""
    count = rng.randint(2, 8)
    verbs, nouns = rng.sample(VERBS, count), rng.sample(NOUNS, count)
    names = [f"{v}_{n}" if rng.random() < 0.75 else identifier(rng) for v, n in zip(verbs, nouns, strict=True)]
    style = rng.randrange(3)
    rows = []
    for number, (name, verb, noun) in enumerate(zip(names, verbs, nouns, strict=True), 1):
        match style:
            case 0:
                rows.append(f"{name}: {verb.capitalize()} the {noun}.")
            case 1:
                rows.append(f"{name}: {noise(rng, 1, 5)} {noun} {noise(rng, 1, 3)}.")
            case _:
                rows.append(f"{number}. {name}: {verb.capitalize()} a {noun} {noise(rng, 1, 3)}.")
    chat: Chat = [("system", f"{noise(rng, 1, 6).capitalize()}:\n" + rng.choice(("\n", "\n\n")).join(rows))]
    for _ in range(rng.randint(4, 9)):
        index = rng.randrange(count)
        fields = some_fields(rng, rng.choice((0, 0, 0, 1)))
        chat += [
            ("user", spoken_request(rng, _clear_subject(rng, verbs[index], nouns[index]), fields)),
            ("assistant", names[index]),
        ]
    return chat


def swap(rng: random.Random) -> Chat:
    """Say the names that belong to words, densely: every line is a look-up against the order of reading."""
    count = rng.randint(3, 10)
    nouns = rng.sample(NOUNS, count)
    names = [f"{rng.choice(VERBS)}_{rng.choice(NOUNS)}" if rng.random() < 0.6 else identifier(rng) for _ in nouns]
    sign = rng.choice((":", ",", " -"))
    rows = [f"{name}{sign} {noise(rng, 1, 4)} {noun}" for name, noun in zip(names, nouns, strict=True)]
    order = rng.sample(range(count), count)
    arrow = rng.choice((": ", " -> ", " is ", ", ask "))
    return [
        ("system", f"{noise(rng, 1, 6).capitalize()}:\n" + "\n".join(rows)),
        ("user", f"Who has {', '.join(nouns[i] for i in order)}?"),
        ("assistant", "\n".join(f"{nouns[i]}{arrow}{names[i]}" for i in order)),
    ]


def name_topic(rng: random.Random) -> Chat:
    """Say what requests are about, in a word."""
    lead = rng.choice(("", f"{noise(rng, 1, 4).capitalize()} ", f"{marker(rng)}: {noise(rng, 0, 3)} "))
    lead = lead.replace("  ", " ")
    chat: Chat = [("system", f"{noise(rng, 2, 9).capitalize()}. Begin with: {lead}" if lead else "What is it about?")]
    topics = list(TOPICS)
    for _ in range(rng.randint(4, 9)):
        topic = rng.choice(topics)
        chosen = rng.sample(TOPICS[topic], rng.choice((1, 1, 2, 2)))
        words = [*chosen, *rng.choices(FUNCTION_WORDS, k=rng.randint(1, 5))]
        rng.shuffle(words)
        fields = some_fields(rng, rng.choice((0, 0, 1, 1, 2)))
        chat += [("user", spoken_request(rng, " ".join(words), fields)), ("assistant", f"{lead}{topic}")]
    return chat


def _clear_subject(rng: random.Random, verb: str, noun: str) -> str:
    article = rng.choice(("a", "the", "my"))
    forms = (f"{verb} {article} {noun}", f"{rng.choice(VERBS)} {article} {noun}", f"what is the {noun}",
             f"where is {article} {noun}", f"{article} {noun}", f"{rng.choice(VERBS)} {noun}",
             f"{noise(rng, 1, 3)} {noun}")  # fmt: skip
    return rng.choice(forms)


def clear_desk(rng: random.Random) -> Chat:
    """Return a directory in its own layout whose desks share no word, and requests that say what they are about."""
    return varied_desk(rng, clear=True)


def bare_desk(rng: random.Random) -> Chat:
    """Return the same, answered with the name and the form alone."""
    return varied_desk(rng, clear=True, bare=True)


def varied_desk(rng: random.Random, *, clear: bool = False, bare: bool = False) -> Chat:
    """Pick from a directory and fill in a form, where every directory has its own layout and unrelated words in it.

    When `clear`, no two desks share a word and every request says what it is about. A `bare` answer is the name and the
    form alone, without the marks that the directory asks for.
    """
    lead, ask = noise(rng, 0, 8), noise(rng, 0, 7)
    form_word, typed = marker(rng), rng.random() < 0.5
    desks: dict[str, tuple[str, str, dict[str, tuple[str, Value]]]] = {}
    lines = []
    verbs, nouns = (rng.sample(VERBS, 4), rng.sample(NOUNS, 4)) if clear else ([], [])
    for number in range(1, rng.choice((2, 3, 3, 4, 4)) + 1):
        verb, noun = (verbs.pop(), nouns.pop()) if clear else (rng.choice(VERBS), rng.choice(NOUNS))
        name = f"{verb}_{noun}" if rng.random() < (0.85 if clear else 0.7) else identifier(rng)
        fields = some_fields(rng, rng.choice((0, 1, 1, 2) if clear else (0, 1, 1, 2, 2, 3)))
        desks[name] = (verb, noun, fields)
        about = f"{verb.capitalize()} {rng.choice(('a', 'the', 'a', 'the', ''))} {noun}".replace("  ", " ")
        about += rng.choice(
            ("", f" of a {rng.choice(NOUNS)}", f" in a {rng.choice(NOUNS)}", f" by {rng.choice(NOUNS)}")
        )
        spoken = name.replace("_", rng.choice((" ", "")))
        opening = f"{lead} {spoken} {rng.choice(WORDS)}. {ask} {spoken}? ".strip().capitalize() + " " if lead else ""
        listed = [
            {
                "name": field,
                "description": (f"{'integer' if isinstance(value, int) else 'string'}. " if typed else "")
                + rng.choice(
                    (f"{rng.choice(FIELDS[kind])} of the {noun}", f"the {field}", f"{field} {noise(rng, 1, 3)}")
                ),
                "required": "True",
            }
            for field, (kind, value) in fields.items()
        ]
        lines.append(f"{number}. {name}: {opening}{about}. {form_word}: {json.dumps(listed)}")
    first, second = marker(rng), marker(rng)
    before = f"{marker(rng)}: {noise(rng, 2, 6)}\n" if rng.random() < 0.6 else ""
    naming = clear and before and rng.random() < 0.6
    if naming:
        before = f"{before.rstrip()} ({first})\n"
    guide = [f"{marker(rng)}: {noise(rng, 2, 9)}" for _ in range(rng.randint(0, 4))]
    format_lines = [f"{first}: {noise(rng, 2, 8)}[{', '.join(desks)}]", f"{second}: {noise(rng, 2, 5)}", *guide]
    chat: Chat = [
        (
            "system",
            f"{noise(rng, 3, 16).capitalize()}:\n"
            + rng.choice(("\n", "\n\n")).join(lines)
            + f"\n\n{noise(rng, 1, 4).capitalize()}:\n\n{before}"
            + "\n".join(format_lines),
        )
    ]
    short, gap = clear and rng.random() < 0.4, rng.choice(("\n", " "))
    for _ in range(rng.randint(3, 8) if clear else rng.choice((2, 3, 4, 5))):
        name = rng.choice(list(desks))
        verb, noun, fields = desks[name]
        fields = {field: some_value(rng, kind) for field, (kind, _) in fields.items()}
        article = rng.choice(("a", "the", "my"))
        subject = rng.choice(
            (
                f"{verb} {article} {noun}",
                f"{verb} {article} {noun}",
                f"{verb} {noun}",
                f"where is {article} {noun}",
                f"what is the {noun}",
                f"{article} {noun}",
                f"{rng.choice(VERBS)} {article} {noun}",
                f"{verb} {article} {rng.choice(NOUNS)}",
            )
        )
        if clear:
            subject = _clear_subject(rng, verb, noun)
        said = before.replace(f"({first})", f"{name}.") if naming else before
        parts = (
            (name, f"{gap}{as_json(fields)}") if bare else (f"{said}{first}: {name}", f"\n{second}: {as_json(fields)}")
        )
        answer = parts[0] if short else "".join(parts)
        chat += [("user", spoken_request(rng, subject, fields)), ("assistant", answer)]
    return chat
