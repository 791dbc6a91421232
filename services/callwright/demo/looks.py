"""How a tool is shown: its plain look, and others with the same meaning under other names and types.

Training shows tools under many names, so that a model learns to copy them from the declaration.
"""

import random
import re
from dataclasses import dataclass, field
from typing import Any

from callwright.demo.catalogue import Parameter, Tool

_VERBS = {
    "get": ("fetch", "lookup", "retrieve"),
    "find": ("search", "locate", "lookup"),
    "calculate": ("compute", "calc", "estimate"),
    "create": ("make", "new", "add"),
    "book": ("reserve",),
    "set": ("update", "change"),
    "search": ("find", "query"),
    "convert": ("change",),
    "send": ("deliver",),
    "log": ("record", "store"),
    "check": ("verify", "get"),
    "add": ("insert", "create"),
    "track": ("locate", "follow"),
    "compare": ("contrast",),
}
_TEXT_SHARE = 0.06
"""Share of numbers that a look declares as text."""


@dataclass(frozen=True)
class Look:
    """Names and types under which a tool is declared; empty is its plain look."""

    name: str = ""
    paths: dict[str, str] = field(default_factory=dict)
    """Other names of parameters, by path."""
    as_text: frozenset[str] = frozenset()
    """Paths of numbers that are declared as text."""
    as_number: frozenset[str] = frozenset()
    """Paths of integers that are declared as numbers."""
    remarks: dict[str, str] = field(default_factory=dict)
    """What is added to descriptions, by path."""


PLAIN = Look()


def some_look(rng: random.Random, tool: Tool) -> Look:
    """Return a look of a tool: the plain one as often as not."""
    if rng.random() < 0.5:
        return PLAIN
    paths = {p.path: rng.choice(p.other_names) for p in tool.parameters if p.other_names and rng.random() < 0.4}
    if rng.random() < 0.15:
        paths = {p.path: _camel(paths.get(p.path, p.path)) for p in tool.parameters if "." not in p.path}
    shown = [paths.get(p.path, p.path) for p in tool.parameters]
    numbers = [p for p in tool.parameters if p.schema["type"] in ("integer", "number")]
    integers = [p for p in numbers if p.schema["type"] == "integer"]
    return Look(
        name=_other_name(rng, tool),
        paths=paths if len(set(shown)) == len(shown) else {},
        as_text=frozenset(p.path for p in numbers if rng.random() < _TEXT_SHARE),
        as_number=frozenset(p.path for p in integers if rng.random() < 0.2),
        remarks={p.path: _remark(rng, p) for p in tool.parameters if not p.required and rng.random() < 0.6},
    )


def name_of(tool: Tool, look: Look) -> str:
    """Return the tool's name as declared."""
    return look.name or tool.name


def declared(tool: Tool, look: Look) -> dict[str, Any]:
    """Return the tool as an OpenAI function tool."""
    top: dict[str, Any] = {"type": "object", "properties": {}, "required": []}
    for parameter in tool.parameters:
        *groups, name = look.paths.get(parameter.path, parameter.path).split(".")
        place = top
        for group in groups:
            if group not in place["properties"]:
                place["properties"][group] = {"type": "object", "properties": {}, "required": []}
                if parameter.required:
                    place["required"].append(group)
            place = place["properties"][group]
        place["properties"][name] = _declared_type(parameter, look) | {
            "description": parameter.description + look.remarks.get(parameter.path, "")
        }
        if parameter.required:
            place["required"].append(name)
    function = {"name": name_of(tool, look), "description": tool.description, "parameters": top}
    return {"type": "function", "function": function}


def arguments(values: dict[str, Any], look: Look) -> dict[str, Any]:
    """Return the arguments of a call from values by path."""
    top: dict[str, Any] = {}
    for path, value in values.items():
        *groups, name = look.paths.get(path, path).split(".")
        place = top
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = str(value) if path in look.as_text else value
    return top


def _declared_type(parameter: Parameter, look: Look) -> dict[str, Any]:
    if parameter.path in look.as_text:
        return {"type": "string"}
    if parameter.path in look.as_number:
        return {"type": "number"}
    return parameter.schema


def _other_name(rng: random.Random, tool: Tool) -> str:
    verb, _, rest = tool.name.partition("_")
    if verb in _VERBS and rng.random() < 0.4:
        verb = rng.choice(_VERBS[verb])
    name = f"{verb}_{rest}" if rest else verb
    match rng.randrange(5):
        case 0:
            return _camel(name)
        case 1 | 2:
            return f"{tool.field}.{name}"
        case _:
            return name


def _camel(name: str) -> str:
    return re.sub(r"_(\w)", lambda found: found[1].upper(), name)


def _remark(rng: random.Random, parameter: Parameter) -> str:
    if parameter.is_boolean:
        return rng.choice((". Default is false", " (optional, default False)"))
    if parameter.choices and not parameter.many:
        default = parameter.choices[0].value
        return rng.choice((f". Default is '{default}'", f" (default {default})"))
    return rng.choice((" (optional)", ". Optional"))
