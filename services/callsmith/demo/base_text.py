"""Generated text for the demo's base model: chats that copy, look up, restate as JSON, fill in forms and choose a desk.

Everything is drawn from a seeded generator and from words of everyday English. There is no tool list in it, no call
in any dialect and no result of one: the base can continue text, copy, choose and fill in, and has never seen a tool
call. Knows nothing of tokenizers or models.
"""

import json
import random
from collections.abc import Callable, Iterator
from typing import Literal

from callsmith.demo.values import KINDS, Value, draw, pseudo_word

Chat = list[tuple[str, str]]
"""Messages as (role, text)."""

_VERBS = """
add answer ask begin book bring build buy call cancel carry change check choose clean close collect compare convert
cook copy count create cut delete describe draw drive email enter erase find follow format get give heat help hold
interact join keep know lend list listen load lock look lose make mark measure meet mix move name need observe open
order pack paint park pay pick plan plant play print put read record remind remove rent repair repeat reserve ring
save scan search see sell send set share show sign sort start stop store take talk teach tell test thank think throw
tidy time track transfer translate travel try turn use visit wait wake walk want wash watch water weigh work wrap
write
""".split()
_NOUNS = """
access account action address alarm amount answer api arrival artist author balance bicycle bill bird boat book
bottle box bread bridge cake calendar camera car card case chair city class clock coat code coffee content contact
copy count country course crew cup currency date day degree desk destination dish doctor dog door dozen drawer email
engine event example file film final flight flower forecast form format friend game garden gate group guest guide
hand hat history horse hotel hour house image input integer item job journey key kitchen knife lamp language length
lesson letter library light line list location lunch machine map market meal meeting member message minute money
month movie museum music name night note number observation office option orange order origin output owner page
paint paper parameter parcel park part path person phone photo picture piece plan plane plant plate price product
question rain reason record reminder report request response restaurant result ring road room route salary school
season seat share shelf ship shirt shop sign sms snow something somebody song source space stamp station status
stock stone store story street string student subject sugar sum table target task taxi tea teacher team temperature
test text thing thought ticket tiger time timer title tool tower town toy track train translation tree type umbrella
unit user value visit voice wall watch water way weather week weight window wine winter word work world year
""".split()
_ADJECTIVES = """
able bad best big blue bright broken calm cheap clean clear closed cold cool dark deep dry early easy empty fair
fast final fine first flat free fresh full good great green happy hard heavy high hot kind large last late light
little long loud low lucky nearest new nice old open quick quiet ready red rich right round sad safe second short
slow small soft sour strong sweet tall thick thin true useful warm weak wet white whole wide wild wise wrong yellow
young
""".split()
_FUNCTION_WORDS = """
a about above access after again all also always am an and another any are as at away back be because been before
being below best between both but by can could did do does done down each either else end every few following for
from had has have having he her here him his how i if in into is it its just know least left less like many may me
more most much must my near never next no not now of off often on once one only or original other our out over own
please possible rather repeated require required said same she should since so some soon still such than that the
their them then there these they this those through times to together too top towards true false two under until up
upon us very was we well were what when where whether which while who whose why will with without would yes you your
zero
""".split()
WORDS = tuple(sorted({"API", "JSON", *_VERBS, *_NOUNS, *_ADJECTIVES, *_FUNCTION_WORDS}))

_FIELDS: dict[str, tuple[str, ...]] = {
    "person": ("name", "owner", "author", "artist", "person", "guest", "student"),
    "city": ("city", "town", "origin", "destination", "place", "home"),
    "date": ("date", "day", "arrival", "deadline"),
    "time": ("time", "start", "hour"),
    "count": ("count", "guests", "nights", "minutes", "age", "pieces", "degrees", "copies"),
    "amount": ("amount", "price", "salary", "sum"),
    "code": ("code", "order", "flight", "parcel", "account", "ticket", "product", "member"),
    "title": ("title", "subject", "text", "song", "task", "book"),
    "email": ("email", "to", "sender"),
    "path": ("path", "file", "source", "target"),
    "address": ("address", "street"),
    "phone": ("phone", "number"),
    "currency": ("currency", "money"),
    "language": ("language", "tongue"),
    "word": ("brand", "restaurant", "shop", "team"),
    "ticker": ("symbol", "sign"),
    "year": ("year", "since"),
    "room": ("room", "seat", "shelf"),
}
_PREPOSITIONS: dict[str, tuple[str, ...]] = {
    "city": ("in", "to", "from", "near"),
    "date": ("on", "for"),
    "time": ("at", "from"),
    "person": ("for", "by", "with", "of"),
    "count": ("for", "with"),
    "amount": ("for", "of"),
    "room": ("in", "for", "of"),
    "year": ("from", "of"),
    "language": ("in", "into"),
    "address": ("to", "at"),
    "email": ("to", "from"),
    "path": ("of", "from", "to", "in"),
}


Text = Literal["plain", "varied", "clear"]
"""Three courses of text: `plain` layouts, in which copying is learned; `varied` ones, new in every chat; and `clear`
requests in varied layouts, in which choosing is learned."""


def chats(seed: int, text: Text = "plain") -> Iterator[Chat]:
    """Yield chats of one course without end."""
    rng = random.Random(seed)
    clear = text == "clear"
    kinds: tuple[tuple[Callable[[random.Random], Chat], int], ...] = (
        (_repeat, 1 if clear else 2),
        (_lookup, 1 if clear else 2),
        (_restate, 1 if clear else 3),
        (_fill_form, 3 if clear else 4),
        {"plain": (_choose_desk, 9), "varied": (_varied_desk, 16), "clear": (_clear_desk, 16)}[text],
        (_tell, 1 if clear else 2),
        (general_chat, 3),
        *([(_pick, 8)] if clear else []),
    )
    makers, weights = zip(*kinds, strict=True)
    while True:
        yield rng.choices(makers, weights)[0](rng)


def general_chat(rng: random.Random) -> Chat:
    """One chat without any form, as people talk: what the replay set and the forgetting measure are drawn from."""
    return rng.choice((_small_talk, _passage, _word_game))(rng)


def _value(rng: random.Random, kind: str = "") -> tuple[str, Value]:
    kind = kind or rng.choice(KINDS)
    return kind, draw(rng, kind, "train")


def _name(rng: random.Random) -> str:
    words = [rng.choice(WORDS) if rng.random() < 0.65 else pseudo_word(rng) for _ in range(rng.choice((1, 2, 2, 2, 3)))]
    match rng.randrange(5):
        case 0:
            return words[0] + "".join(word.capitalize() for word in words[1:])
        case _:
            return "_".join(words)


def _words(rng: random.Random, low: int, high: int) -> list[str]:
    return [
        rng.choice(WORDS) if rng.random() < 0.7 else str(_value(rng)[1]) if rng.random() < 0.6 else pseudo_word(rng)
        for _ in range(rng.randint(low, high))
    ]


def _repeat(rng: random.Random) -> Chat:
    text = rng.choice((" ", " ", ", ", "\n")).join(_words(rng, 4, 30))
    order = rng.choice(("Repeat this:", "Say this again:", "Copy the following text:", "Write this once more:"))
    return [("user", f"{order}\n{text}"), ("assistant", text)]


def _lookup(rng: random.Random) -> Chat:
    size = rng.randint(3, 9)
    keys = list({_name(rng) for _ in range(size)})
    pairs = {key: _value(rng)[1] if rng.random() < 0.8 else _name(rng) for key in keys}
    sign = rng.choice((": ", " = ", " is "))
    table = "\n".join(f"{key}{sign}{value}" for key, value in pairs.items())
    chat: Chat = [("system", f"Here is a list.\n{table}")]
    for key in rng.sample(keys, min(len(keys), rng.randint(2, 6))):
        ask = rng.choice(("What is {}?", "Tell me {}.", "Look up {}.", "And {}?"))
        chat += [("user", ask.format(key)), ("assistant", str(pairs[key]))]
    return chat


def _fields(rng: random.Random, count: int) -> dict[str, tuple[str, Value]]:
    fields: dict[str, tuple[str, Value]] = {}
    while len(fields) < count:
        kind, value = _value(rng)
        name = rng.choice(_FIELDS[kind]) if rng.random() < 0.75 else _name(rng)
        fields[name] = (kind, value)
    return fields


def _json(fields: dict[str, tuple[str, Value]]) -> str:
    return json.dumps({name: value for name, (_, value) in fields.items()}, ensure_ascii=False)


def _restate(rng: random.Random) -> Chat:
    fields = _fields(rng, rng.randint(1, 5))
    shown = list(fields.items())
    rng.shuffle(shown)
    text = rng.choice((", ", "\n", "; ", " and ")).join(f"{name} {value}" for name, (_, value) in shown)
    order = rng.choice(("Write this as JSON with {}:", "Give me a JSON record with {}:", "As JSON, keys {}:"))
    return [("user", f"{order.format(', '.join(fields))}\n{text}"), ("assistant", _json(fields))]


def _phrase(rng: random.Random, name: str, kind: str, value: Value) -> str:
    spoken = name.replace("_", " ")
    style = rng.random()
    if style < 0.55 and kind in _PREPOSITIONS:
        return f"{rng.choice(_PREPOSITIONS[kind])} {value}"
    if style < 0.75:
        return f"{spoken} {value}"
    return rng.choice(
        (f"the {spoken} is {value}", f"with {spoken} {value}", f"{value}", f"called {value}", f"{spoken}: {value}")
    )


def _field_lines(rng: random.Random, fields: dict[str, tuple[str, Value]], style: int) -> str:
    described = {
        name: f"{rng.choice(_FIELDS[kind])} of the {rng.choice(_NOUNS)}" if rng.random() < 0.7 else f"the {name}"
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


def _request(rng: random.Random, subject: str, fields: dict[str, tuple[str, Value]]) -> str:
    parts = [_phrase(rng, name, kind, value) for name, (kind, value) in fields.items()]
    rng.shuffle(parts)
    lead = rng.choice(("", "", "Please ", "Can you ", "I want to ", "I need to ", "Hello, ", "Could you "))
    cut = rng.choice((0, 0, 0, 1)) if parts else 0
    before, after = parts[:cut], parts[cut:]
    glue = rng.choice((" ", " ", ", ", " and "))
    text = f"{lead}{subject} {glue.join(after)}".strip()
    text = f"{' '.join(before)} {text}".strip() if before else text
    return text[0].upper() + text[1:] + rng.choice((".", "?", "", "."))


def _fill_form(rng: random.Random) -> Chat:
    fields = _fields(rng, rng.randint(1, 4))
    chat: Chat = [("system", f"Fill in the form as JSON. {_field_lines(rng, fields, rng.randrange(3))}")]
    for _ in range(rng.choice((1, 1, 2, 3))):
        fields = {name: _value(rng, kind) for name, (kind, _) in fields.items()}
        chat += [
            ("user", _request(rng, f"{rng.choice(_VERBS)} the {rng.choice(_NOUNS)}", fields)),
            ("assistant", _json(fields)),
        ]
    return chat


def _choose_desk(rng: random.Random) -> Chat:
    """Pick from a directory by what the request is about, then fill in that desk's form."""
    style, desks = rng.randrange(3), []
    for _ in range(rng.choice((2, 3, 3, 4, 4, 5, 6))):
        verb, noun = rng.choice(_VERBS), rng.choice(_NOUNS) if rng.random() < 0.85 else pseudo_word(rng)
        extra = rng.choice(
            (
                "",
                "",
                f" of a {rng.choice(_NOUNS)}",
                f" in the {rng.choice(_NOUNS)}",
                f" that is {rng.choice(_ADJECTIVES)}",
            )
        )
        named = f"{verb}_{noun}" if rng.random() < 0.5 else _name(rng)
        fields = _fields(rng, rng.choice((0, 1, 1, 2, 2, 3)))
        desks.append((named, verb, noun, extra, fields, _field_lines(rng, fields, style)))
    first, second = rng.choice((("Desk", "Form"), ("Place", "Card"), ("Room", "Paper"), (_name(rng), _name(rng))))
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
        fields = {field: _value(rng, kind) for field, (kind, _) in fields.items()}
        subject = rng.choice(
            (f"{verb} the {noun}", f"{verb} a {noun}", f"{verb} {noun}", f"{noun}, {verb} it,", f"the {noun}")
        )
        chat += [("user", _request(rng, subject, fields)), ("assistant", f"{first}: {name}\n{second}: {_json(fields)}")]
    return chat


def _noise(rng: random.Random, low: int, high: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(low, high)))


def _marker(rng: random.Random) -> str:
    return " ".join(rng.choice(WORDS).capitalize() for _ in range(rng.choice((1, 1, 2))))


def _pick(rng: random.Random) -> Chat:
    """Name what a request is about, again and again, from a short directory."""
    count = rng.randint(3, 8)
    pairs = list(zip(rng.sample(_VERBS, count), rng.sample(_NOUNS, count), strict=True))
    names = [f"{verb}_{noun}" if rng.random() < 0.8 else _name(rng) for verb, noun in pairs]
    rows = [f"{name}: {verb.capitalize()} the {noun}." for name, (verb, noun) in zip(names, pairs, strict=True)]
    chat: Chat = [("system", f"{_noise(rng, 1, 6).capitalize()}:\n" + "\n".join(rows))]
    for _ in range(rng.randint(4, 8)):
        index = rng.randrange(count)
        fields = _fields(rng, rng.choice((0, 0, 1, 2)))
        chat += [("user", _request(rng, _clear_subject(rng, *pairs[index]), fields)), ("assistant", names[index])]
    return chat


def _clear_subject(rng: random.Random, verb: str, noun: str) -> str:
    article = rng.choice(("a", "the", "my"))
    forms = (f"{verb} {article} {noun}", f"{verb} {article} {noun}", f"{verb} {noun}", f"what is the {noun}",
             f"where is {article} {noun}", f"{article} {noun}")  # fmt: skip
    return rng.choice(forms)


def _clear_desk(rng: random.Random) -> Chat:
    return _varied_desk(rng, clear=True)


def _varied_desk(rng: random.Random, *, clear: bool = False) -> Chat:
    """Pick from a directory and fill in a form, where every directory has its own layout and unrelated words in it.

    When `clear`, no two desks share a word and every request says what it is about.
    """
    lead, ask = _noise(rng, 0, 8), _noise(rng, 0, 7)
    form_word, typed = _marker(rng), rng.random() < 0.5
    desks: dict[str, tuple[str, str, dict[str, tuple[str, Value]]]] = {}
    lines = []
    verbs, nouns = (rng.sample(_VERBS, 4), rng.sample(_NOUNS, 4)) if clear else ([], [])
    for number in range(1, rng.choice((2, 3, 3, 4, 4)) + 1):
        verb, noun = (verbs.pop(), nouns.pop()) if clear else (rng.choice(_VERBS), rng.choice(_NOUNS))
        name = f"{verb}_{noun}" if rng.random() < (0.85 if clear else 0.7) else _name(rng)
        fields = _fields(rng, rng.choice((0, 1, 1, 2) if clear else (0, 1, 1, 2, 2, 3)))
        desks[name] = (verb, noun, fields)
        about = f"{verb.capitalize()} {rng.choice(('a', 'the', 'a', 'the', ''))} {noun}".replace("  ", " ")
        about += rng.choice(
            ("", f" of a {rng.choice(_NOUNS)}", f" in a {rng.choice(_NOUNS)}", f" by {rng.choice(_NOUNS)}")
        )
        spoken = name.replace("_", rng.choice((" ", "")))
        opening = f"{lead} {spoken} {rng.choice(WORDS)}. {ask} {spoken}? ".strip().capitalize() + " " if lead else ""
        listed = [
            {
                "name": field,
                "description": (f"{'integer' if isinstance(value, int) else 'string'}. " if typed else "")
                + rng.choice(
                    (f"{rng.choice(_FIELDS[kind])} of the {noun}", f"the {field}", f"{field} {_noise(rng, 1, 3)}")
                ),
                "required": "True",
            }
            for field, (kind, value) in fields.items()
        ]
        lines.append(f"{number}. {name}: {opening}{about}. {form_word}: {json.dumps(listed)}")
    first, second = _marker(rng), _marker(rng)
    before = f"{_marker(rng)}: {_noise(rng, 2, 6)}\n" if rng.random() < 0.6 else ""
    naming = clear and before and rng.random() < 0.6
    if naming:
        before = f"{before.rstrip()} ({first})\n"
    guide = [f"{_marker(rng)}: {_noise(rng, 2, 9)}" for _ in range(rng.randint(0, 4))]
    format_lines = [f"{first}: {_noise(rng, 2, 8)}[{', '.join(desks)}]", f"{second}: {_noise(rng, 2, 5)}", *guide]
    chat: Chat = [
        (
            "system",
            f"{_noise(rng, 3, 16).capitalize()}:\n"
            + rng.choice(("\n", "\n\n")).join(lines)
            + f"\n\n{_noise(rng, 1, 4).capitalize()}:\n\n{before}"
            + "\n".join(format_lines),
        )
    ]
    short = clear and rng.random() < 0.4
    for _ in range(rng.randint(3, 8) if clear else rng.choice((2, 3, 4, 5))):
        name = rng.choice(list(desks))
        verb, noun, fields = desks[name]
        fields = {field: _value(rng, kind) for field, (kind, _) in fields.items()}
        article = rng.choice(("a", "the", "my"))
        subject = rng.choice(
            (
                f"{verb} {article} {noun}",
                f"{verb} {article} {noun}",
                f"{verb} {noun}",
                f"where is {article} {noun}",
                f"what is the {noun}",
                f"{article} {noun}",
                f"{rng.choice(_VERBS)} {article} {noun}",
                f"{verb} {article} {rng.choice(_NOUNS)}",
            )
        )
        if clear:
            subject = _clear_subject(rng, verb, noun)
        said = before.replace(f"({first})", f"{name}.") if naming else before
        answer = f"{said}{first}: {name}" + ("" if short else f"\n{second}: {_json(fields)}")
        chat += [("user", _request(rng, subject, fields)), ("assistant", answer)]
    return chat


def _tell(rng: random.Random) -> Chat:
    """Restate a record in a sentence."""
    fields = _fields(rng, rng.randint(1, 3))
    name, (_, value) = rng.choice(list(fields.items()))
    spoken = name.replace("_", " ")
    ask, answer = rng.choice(
        (
            (f"What is the {spoken}?", f"The {spoken} is {value}."),
            (f"Tell me the {spoken}.", f"It is {value}."),
            (f"Which {spoken}?", f"{value} is the {spoken}."),
        )
    )
    return [("user", f"{_json(fields)}\n{ask}"), ("assistant", answer)]


def _passage(rng: random.Random) -> Chat:
    facts = []
    for _ in range(rng.randint(2, 5)):
        person, city, thing = _value(rng, "person")[1], _value(rng, "city")[1], rng.choice(_NOUNS)
        facts.append((person, city, f"{rng.choice(_ADJECTIVES)} {thing}", _value(rng, "count")[1]))
    text = " ".join(f"{p} lives in {c} and has {n} {t}s." for p, c, t, n in facts)
    person, city, thing, number = rng.choice(facts)
    ask, answer = rng.choice(
        (
            (f"Where does {person} live?", f"{person} lives in {city}."),
            (f"Who lives in {city}?", f"{person} lives in {city}."),
            (f"How many {thing}s does {person} have?", f"{person} has {number} {thing}s."),
            (f"What does {person} have?", f"{person} has {number} {thing}s."),
        )
    )
    return [("user", f"{text}\n{ask}"), ("assistant", answer)]


def _small_talk(rng: random.Random) -> Chat:
    noun, adjective, other = rng.choice(_NOUNS), rng.choice(_ADJECTIVES), rng.choice(_NOUNS)
    person = _value(rng, "person")[1]
    return list(
        rng.choice(
            (
                [("user", f"Hello, I am {person}."), ("assistant", f"Hello {person}, how can I help you?")],
                [
                    ("user", f"I like my {adjective} {noun}."),
                    ("assistant", f"It is nice that you like your {adjective} {noun}."),
                ],
                [("user", "Thank you!"), ("assistant", "You are welcome.")],
                [
                    ("user", f"My {noun} is {adjective}. What should I do?"),
                    ("assistant", f"If your {noun} is {adjective}, look for another {noun}."),
                ],
                [
                    ("user", f"Do you want the {noun} or the {other}?"),
                    ("assistant", f"I would take the {rng.choice((noun, other))}."),
                ],
                [
                    ("user", f"Write a line about a {noun}."),
                    ("assistant", f"The {adjective} {noun} is near the {other}."),
                ],
                [("user", "Who are you?"), ("assistant", "I am a small model that helps people with their questions.")],
            )
        )
    )


def _word_game(rng: random.Random) -> Chat:
    words = rng.sample(_NOUNS, rng.randint(3, 6))
    listed = ", ".join(words)
    index = rng.randrange(len(words))
    ordinal = ("first", "second", "third", "fourth", "fifth", "sixth")[index]
    return list(
        rng.choice(
            (
                [("user", f"Sort these words: {listed}"), ("assistant", ", ".join(sorted(words)))],
                [
                    ("user", f"Write these words backwards in order: {listed}"),
                    ("assistant", ", ".join(reversed(words))),
                ],
                [("user", f"How many words are these? {listed}"), ("assistant", f"These are {len(words)} words.")],
                [
                    ("user", f"What is the {ordinal} word? {listed}"),
                    ("assistant", f"The {ordinal} word is {words[index]}."),
                ],
                [
                    ("user", f"Make one word in capitals of each: {listed}"),
                    ("assistant", ", ".join(w.capitalize() for w in words)),
                ],
            )
        )
    )
