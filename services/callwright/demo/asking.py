"""Requests for the demo's tools: what a user says, and the calls that it should lead to."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from callwright.demo import looks
from callwright.demo.catalogue import Parameter, Tool, fill, optional_parts, slots, with_parts
from callwright.demo.kinds import SENTENCES, Split, draw, in_quotes, spoken
from callwright.demo.looks import Look

_GREETINGS = ("", "", "", "", "", "Hello. ", "Please help me. ", "Hi! ")
_OPTIONAL_SHARE = 0.3
"""Share of a wording's optional parts that are said."""
_COMMANDS = ("Please {}.", "Can you {}?", "I want you to {}.", "Could you {} for me?", "I'd like to {}.")
_BOTH = ("{} and {}", "{} and also {}", "{} as well as {}")
_AGAIN = (" Do the same for {}.", " And the same for {}.", " Then the same with {}.")
_AGAIN_SHARE = 0.5
"""Share of requests for the same twice that ask the second time in a sentence of its own, where that is clear."""
_LINKS = (" Also, ", " And ", " Then ", " ")
_ORDERED = ("date", "time")
"""Kinds of which a request tells the earlier value first."""


@dataclass(frozen=True)
class Request:
    """A request for a tool: its text, and the values by parameter."""

    tool: Tool
    look: Look
    text: str
    values: dict[str, Any]
    begins_with_value: bool = False
    """Whether its first word is a value's, which keeps its capitals."""

    @property
    def call(self) -> dict[str, Any]:
        """Name and arguments of the call."""
        return {"name": looks.name_of(self.tool, self.look), "arguments": looks.arguments(self.values, self.look)}


def request(
    rng: random.Random,
    tool: Tool,
    look: Look,
    split: Split,
    *,
    chinese: bool = False,
    greet: bool = True,
    followed: bool = False,
) -> Request:
    """Return a request for one call, with a greeting now and then; its last sentence ends where it is `followed`."""
    wording = _wording(rng, tool, chinese)
    drawn = _draw_all(rng, tool, slots(wording), look, split, chinese)
    greeting = "" if chinese or not greet else rng.choice(_GREETINGS)
    text = greeting + _told(rng, tool, wording, {path: said for path, (_, said) in drawn.items()}, followed)
    return Request(tool, look, text, _values(drawn), begins_with_value=not greeting and wording.startswith("{"))


def request_twice(rng: random.Random, tool: Tool, look: Look, split: Split) -> tuple[str, tuple[Request, Request]]:
    """Return a request for two calls of one tool that differ in one value where the tool allows it."""
    wording = _wording(rng, tool, chinese=False)
    drawn = _draw_all(rng, tool, slots(wording), look, split, chinese=False)
    varied = [p for p in tool.required if p.is_open_text and (p.kind not in _ORDERED or _is_alone(p, tool))]
    if not varied:
        return request_both(rng, (tool, look), (tool, look), split)
    parameter = rng.choice(varied)
    other, said = drawn[parameter.path]
    other_said = said
    while _is_taken(other, drawn):
        other, other_said = _draw_value(rng, parameter, look, split, chinese=False)
    texts = {path: told for path, (_, told) in drawn.items()}
    if parameter.kind in SENTENCES:
        said, other_said = in_quotes(rng, said), in_quotes(rng, other_said)
    if _is_alone(parameter, tool) and rng.random() < _AGAIN_SHARE:
        text = _told(rng, tool, wording, texts | {parameter.path: said}, followed=True)
        text += rng.choice(_AGAIN).format(other_said)
    else:
        both = rng.choice(_BOTH).format(said, other_said)
        text = _told(rng, tool, wording, texts | {parameter.path: both})
    first = Request(tool, look, text, _values(drawn))
    return text, (first, Request(tool, look, text, first.values | {parameter.path: other}))


def request_both(
    rng: random.Random, one: tuple[Tool, Look], other: tuple[Tool, Look], split: Split
) -> tuple[str, tuple[Request, Request]]:
    """Return one request for two calls that are asked for one after the other."""
    first = request(rng, *one, split, followed=True)
    second = request(rng, *other, split, greet=False)
    while second.call == first.call:
        second = request(rng, *other, split, greet=False)
    link, text = rng.choice(_LINKS), second.text
    if link.strip() and not second.begins_with_value and text.split()[0] not in ("I", "I'd"):
        text = text[0].lower() + text[1:]
    return first.text + link + text, (first, second)


def request_without_values(rng: random.Random, tool: Tool) -> str:
    """Return a request for a tool that tells none of its values."""
    wish = tool.description.rstrip(".")
    return rng.choice(_COMMANDS).format(wish[0].lower() + wish[1:])


def request_with_gap(rng: random.Random, tool: Tool, look: Look, split: Split) -> tuple[str, Parameter, Request]:
    """Return a request that tells all required values but one, the parameter that is missing, and what a user answers
    who is asked for it.
    """
    drawn = _draw_all(rng, tool, tuple(p.path for p in tool.required), look, split, chinese=False)
    missing = rng.choice(tool.required)
    told = [p for p in tool.required if p != missing]
    text = f"{request_without_values(rng, tool)} {_values_told(rng, told, look, drawn)}"
    return text, missing, Request(tool, look, _values_told(rng, [missing], look, drawn), _values(drawn))


def tell_values(rng: random.Random, tool: Tool, look: Look, split: Split) -> Request:
    """Return what a user answers who is asked for a tool's required values."""
    drawn = _draw_all(rng, tool, tuple(p.path for p in tool.required), look, split, chinese=False)
    return Request(tool, look, _values_told(rng, tool.required, look, drawn), _values(drawn))


def spoken_name(parameter: Parameter, look: Look) -> str:
    """Return a parameter's name as people say it."""
    name = look.paths.get(parameter.path, parameter.path).rsplit(".", 1)[-1]
    return re.sub(r"([a-z])([A-Z])", r"\1 \2", name).replace("_", " ").lower()


Drawn = dict[str, tuple[Any, str]]
"""Values, each with the words for it, by parameter."""


def _values(drawn: Drawn) -> dict[str, Any]:
    return {path: value for path, (value, _) in drawn.items()}


def _values_told(rng: random.Random, parameters: Sequence[Parameter], look: Look, drawn: Drawn) -> str:
    told = []
    for p in parameters:
        name, said = spoken_name(p, look), drawn[p.path][1]
        verb = "are" if name.endswith("s") and not name.endswith(("ss", "us")) else "is"
        told.append(f"the {name} {verb} {in_quotes(rng, said) if p.kind in SENTENCES else said}")
    text = " and ".join([", ".join(told[:-1]), told[-1]] if len(told) > 1 else told)
    return f"{text[0].upper()}{text[1:]}."


def _told(rng: random.Random, tool: Tool, wording: str, said: dict[str, str], followed: bool = False) -> str:
    """Fill a wording. A message stands in quotes, but for one that nothing follows."""
    messages = {p.path for p in tool.parameters if p.kind in SENTENCES and p.path in said}
    last = "" if followed or not wording.endswith("}") else slots(wording)[-1]
    quoted = {path: in_quotes(rng, said[path]) for path in said if path in messages - {last}}
    text = fill(wording, said | quoted)
    return text if not followed or text[-1] in ".?!。？" else f"{text}."


def _is_alone(parameter: Parameter, tool: Tool) -> bool:
    """Return whether a value says by its looks alone which of the tool's parameters it is for."""
    return all(other == parameter or other.likeness != parameter.likeness for other in tool.parameters)


def _wording(rng: random.Random, tool: Tool, chinese: bool) -> str:
    wording = rng.choice(tool.chinese if chinese and tool.chinese else tool.wordings)
    return with_parts(wording, {part for part in optional_parts(wording) if rng.random() < _OPTIONAL_SHARE})


def _draw_all(rng: random.Random, tool: Tool, paths: tuple[str, ...], look: Look, split: Split, chinese: bool) -> Drawn:
    """Draw a value for each of `paths`: no two texts are equal, and dates and times come in order."""
    drawn: Drawn = {}
    parameters = [parameter for parameter in tool.parameters if parameter.path in paths]
    for parameter in parameters:
        found = _draw_value(rng, parameter, look, split, chinese)
        while _is_taken(found[0], drawn):
            found = _draw_value(rng, parameter, look, split, chinese)
        drawn[parameter.path] = found
    for kind in _ORDERED:
        same = [p.path for p in parameters if p.kind == kind and not p.many]
        drawn |= dict(zip(same, sorted(drawn[path] for path in same), strict=True))
    return drawn


def _is_taken(value: Any, drawn: Drawn) -> bool:
    return isinstance(value, str) and any(value == other for other, _ in drawn.values())


def _draw_value(rng: random.Random, parameter: Parameter, look: Look, split: Split, chinese: bool) -> tuple[Any, str]:
    """Return a value and the words for it."""
    if not parameter.many:
        return _draw_item(rng, parameter, look, split, chinese)
    if parameter.choices:
        chosen = rng.sample(parameter.choices, rng.randint(1, min(3, len(parameter.choices))))
        words = [choice.chinese if chinese else choice.said for choice in chosen]
        return [choice.value for choice in chosen], _listed(rng, words, chinese)
    count = parameter.length or rng.choice((2, 2, 2, 3, 3))
    items: dict[str, tuple[Any, str]] = {}
    while len(items) < count:
        value, said = _draw_item(rng, parameter, look, split, chinese)
        items[str(value)] = (value, said)
    words = [said for _, said in items.values()]
    told = ", ".join(words) if parameter.length else _listed(rng, words, chinese)
    return [value for value, _ in items.values()], told


def _draw_item(rng: random.Random, parameter: Parameter, look: Look, split: Split, chinese: bool) -> tuple[Any, str]:
    if parameter.choices:
        choice = rng.choice(parameter.choices)
        return choice.value, choice.chinese if chinese else choice.said
    kind = parameter.kind or ""
    found = draw(rng, kind, split, chinese=chinese)
    is_plain = parameter.many or chinese or parameter.path in look.as_text
    return found, str(found) if is_plain else spoken(rng, kind, found)


def _listed(rng: random.Random, said: list[str], chinese: bool) -> str:
    if len(said) == 1:
        return said[0]
    if chinese:
        return "、".join(said[:-1]) + "和" + said[-1]
    last = rng.choice((" and ", ", and ", ", ")) if len(said) > 2 else " and "
    return ", ".join(said[:-1]) + last + said[-1]
