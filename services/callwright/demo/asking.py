"""Requests for the demo's tools: what a user says, and the calls that it should lead to."""

import random
import re
from dataclasses import dataclass
from typing import Any

from callwright.demo import looks
from callwright.demo.catalogue import Parameter, Tool, fill, optional_parts, slots, with_parts
from callwright.demo.kinds import Split, draw, spoken
from callwright.demo.looks import Look

_GREETINGS = ("", "", "", "", "", "Hello. ", "Please help me. ", "Hi! ")
_OPTIONAL_SHARE = 0.3
"""Share of a wording's optional parts that are said."""
_COMMANDS = ("Please {}.", "Can you {}?", "I want you to {}.", "Could you {} for me?", "I'd like to {}.")


@dataclass(frozen=True)
class Asked:
    """A request for a tool: its text, and the values by parameter."""

    tool: Tool
    look: Look
    text: str
    values: dict[str, Any]

    @property
    def call(self) -> dict[str, Any]:
        """Name and arguments of the call."""
        return {"name": looks.name_of(self.tool, self.look), "arguments": looks.arguments(self.values, self.look)}


def ask(
    rng: random.Random, tool: Tool, look: Look, split: Split, *, chinese: bool = False, greet: bool = True
) -> Asked:
    """Return a request for one call, with a greeting now and then."""
    wording = _wording(rng, tool, chinese)
    drawn = _draw_all(rng, tool, slots(wording), split, chinese)
    text = fill(wording, {path: said for path, (_, said) in drawn.items()})
    greeting = "" if chinese or not greet else rng.choice(_GREETINGS)
    return Asked(tool, look, greeting + text, {path: value for path, (value, _) in drawn.items()})


def ask_twice(rng: random.Random, tool: Tool, look: Look, split: Split) -> tuple[str, tuple[Asked, Asked]]:
    """Return a request for two calls of one tool that differ in one value where the tool allows it."""
    wording = _wording(rng, tool, chinese=False)
    drawn = _draw_all(rng, tool, slots(wording), split, chinese=False)
    varied = [p for p in tool.required if p.is_open_text and p.path in drawn]
    if not varied:
        return ask_both(rng, (ask(rng, tool, look, split), ask(rng, tool, look, split, greet=False)))
    parameter = rng.choice(varied)
    value, said = drawn[parameter.path]
    other, other_said = value, said
    while other == value:
        other, other_said = _draw_value(rng, parameter, split, chinese=False)
    texts = {path: text for path, (_, text) in drawn.items()}
    values = {path: found for path, (found, _) in drawn.items()}
    if rng.random() < 0.65:
        both = rng.choice(("{} and {}", "{} and also {}", "both {} and {}", "{} as well as {}"))
        text = fill(wording, texts | {parameter.path: both.format(said, other_said)})
    else:
        again = rng.choice((" Do the same for {}.", " And the same for {}.", " Then the same with {}, please."))
        text = fill(wording, texts) + again.format(other_said)
    first = Asked(tool, look, text, values)
    return text, (first, Asked(tool, look, text, values | {parameter.path: other}))


def ask_both(rng: random.Random, asked: tuple[Asked, Asked]) -> tuple[str, tuple[Asked, Asked]]:
    """Return one request for two calls that are asked for one after the other."""
    first, second = (one.text for one in asked)
    link = rng.choice((" Also, ", " And ", " Then ", " "))
    if link.strip() and second.split()[0] not in ("I", "I'd"):
        second = second[0].lower() + second[1:]
    return first + link + second, asked


def ask_bare(rng: random.Random, tool: Tool) -> str:
    """Return a request for a tool that tells none of its values."""
    wish = tool.description.rstrip(".")
    return rng.choice(_COMMANDS).format(wish[0].lower() + wish[1:])


def tell_values(rng: random.Random, tool: Tool, look: Look, split: Split) -> Asked:
    """Return what a user answers who is asked for a tool's required values."""
    drawn = {p.path: _draw_value(rng, p, split, chinese=False) for p in tool.required}
    told = [f"{spoken_name(p, look)} {said}" for p in tool.required for said in [drawn[p.path][1]]]
    text = f"The {' and the '.join(told)}." if len(told) < 3 else f"{', '.join(told)}."
    return Asked(tool, look, text, {path: value for path, (value, _) in drawn.items()})


def spoken_name(parameter: Parameter, look: Look) -> str:
    """Return a parameter's name as people say it."""
    name = look.paths.get(parameter.path, parameter.path).rsplit(".", 1)[-1]
    return re.sub(r"([a-z])([A-Z])", r"\1 \2", name).replace("_", " ").lower()


def _wording(rng: random.Random, tool: Tool, chinese: bool) -> str:
    wording = rng.choice(tool.chinese if chinese and tool.chinese else tool.wordings)
    return with_parts(wording, {part for part in optional_parts(wording) if rng.random() < _OPTIONAL_SHARE})


def _draw_all(
    rng: random.Random, tool: Tool, paths: tuple[str, ...], split: Split, chinese: bool
) -> dict[str, tuple[Any, str]]:
    return {p.path: _draw_value(rng, p, split, chinese) for p in tool.parameters if p.path in paths}


def _draw_value(rng: random.Random, parameter: Parameter, split: Split, chinese: bool) -> tuple[Any, str]:
    """Return a value and the words for it."""
    if not parameter.many:
        return _draw_item(rng, parameter, split, chinese)
    if parameter.choices:
        chosen = rng.sample(parameter.choices, rng.randint(1, min(3, len(parameter.choices))))
        return [value for value, _ in chosen], _listed(rng, [said for _, said in chosen], chinese)
    count = rng.choice((2, 2, 3, 3, 4))
    items = {str(value): (value, said) for value, said in (
        _draw_item(rng, parameter, split, chinese) for _ in range(count)
    )}  # fmt: skip
    return [value for value, _ in items.values()], _listed(rng, [said for _, said in items.values()], chinese)


def _draw_item(rng: random.Random, parameter: Parameter, split: Split, chinese: bool) -> tuple[Any, str]:
    if parameter.choices:
        return rng.choice(parameter.choices)
    if parameter.words:
        value = rng.random() < 0.5
        return value, parameter.words[0 if value else 1]
    kind = parameter.kind or ""
    found = draw(rng, kind, split, chinese=chinese)
    return found, str(found) if parameter.many or chinese else spoken(rng, kind, found)


def _listed(rng: random.Random, said: list[str], chinese: bool) -> str:
    if len(said) == 1:
        return said[0]
    if chinese:
        return "、".join(said[:-1]) + "和" + said[-1]
    last = rng.choice((" and ", ", and ", ", ")) if len(said) > 2 else " and "
    return ", ".join(said[:-1]) + last + said[-1]
