"""The demo's tools: what each takes, how people ask for it, what it returns and how the result is told.

Tools stand in `fields/*.yaml`, a file for each field. `takes` maps a parameter's name to `KIND | description`: the name
is followed by `?` where it is optional, by `/other names`, and has dots where it is inside an object; KIND is one of
`kinds.KINDS`, `= a, b as words for b` for an enum, `bool words for true / words for false`, where Chinese words follow
on `zh`, each with `*` for a list and `*2` for one of two. In a wording `{name}` is a parameter's value, and a part in
brackets stands where its optional parameters are given.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from callwright.demo.kinds import KINDS, LIKENESS

HELD_OUT_FIELDS = ("health", "law", "sport")
"""Fields whose tools are never trained on, nor offered in training."""
_FOLDER = Path(__file__).parent / "fields"
_SLOT = re.compile(r"\{([^}]*)\}")
_PART = re.compile(r"\[([^\[\]]*)\]")


class Choice(NamedTuple):
    """A value with the words for it."""

    value: Any
    said: str
    chinese: str


@dataclass(frozen=True)
class Parameter:
    """A parameter of a tool; either its `kind` or its `choices` are given."""

    path: str
    """Name, with dots where it is inside an object."""
    other_names: tuple[str, ...]
    required: bool
    description: str
    kind: str | None = None
    choices: tuple[Choice, ...] = ()
    """Values of an enum, or true and false."""
    many: bool = False
    """Whether it is a list."""
    length: int | None = None
    """Items of the list, where their number is fixed."""

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema of the values."""
        item: dict[str, Any]
        if self.is_boolean:
            item = {"type": "boolean"}
        elif self.choices:
            item = {"type": "string", "enum": [choice.value for choice in self.choices]}
        else:
            item = KINDS[self.kind or ""].schema
        return {"type": "array", "items": item} if self.many else dict(item)

    @property
    def is_boolean(self) -> bool:
        """Whether its value is true or false."""
        return bool(self.choices) and self.choices[0].value is True

    @property
    def likeness(self) -> str:
        """What its values look like: parameters of one likeness are told apart by their names alone."""
        return LIKENESS.get(self.kind or "", self.kind or self.path)

    @property
    def is_open(self) -> bool:
        """Whether its values are of an open kind, whose held-out ones are never trained on."""
        return self.kind is not None and KINDS[self.kind].open

    @property
    def is_open_text(self) -> bool:
        """Whether the value is one text of an open kind."""
        return self.is_open and not self.many and self.schema["type"] == "string"


@dataclass(frozen=True)
class Tool:
    """A tool with its wordings."""

    field: str
    name: str
    description: str
    parameters: tuple[Parameter, ...]
    wordings: tuple[str, ...]
    chinese: tuple[str, ...]
    result: tuple[str, str] | None
    """Name and kind of the value that it returns."""
    answer: str | None
    """How the result is told."""

    @property
    def required(self) -> tuple[Parameter, ...]:
        """Parameters that every call gives."""
        return tuple(parameter for parameter in self.parameters if parameter.required)

    @property
    def is_open(self) -> bool:
        """Whether requests for it differ in values without end, so that a held-out one is asked nowhere else."""
        return any(parameter.is_open for parameter in self.required)


@cache
def known() -> tuple[Tool, ...]:
    """Tools of the fields that are trained on."""
    return tuple(tool for tool in every() if tool.field not in HELD_OUT_FIELDS)


@cache
def unseen() -> tuple[Tool, ...]:
    """Tools of the fields that are kept out of training."""
    return tuple(tool for tool in every() if tool.field in HELD_OUT_FIELDS)


@cache
def every() -> tuple[Tool, ...]:
    """All tools, by field."""
    files = sorted(_FOLDER.glob("*.yaml"))
    return tuple(
        _tool(file.stem, name, told)
        for file in files
        for name, told in yaml.safe_load(file.read_text(encoding="utf-8")).items()
    )


def slots(text: str) -> tuple[str, ...]:
    """Return the names in braces."""
    return tuple(_SLOT.findall(text))


def optional_parts(wording: str) -> tuple[str, ...]:
    """Return the parts in brackets."""
    return tuple(_PART.findall(wording))


def with_parts(wording: str, kept: set[str]) -> str:
    """Return a wording with the bracketed parts in `kept`, and without the others."""
    return _PART.sub(lambda found: found[1] if found[1] in kept else "", wording)


def fill(text: str, values: dict[str, str]) -> str:
    """Put values in the place of the names in braces."""
    return _SLOT.sub(lambda found: values[found[1]], text)


def _tool(field: str, name: str, told: dict[str, Any]) -> Tool:
    result, answer = None, None
    if "gives" in told:
        given, answer = (part.strip() for part in told["gives"].split("|"))
        key, kind = given.split()
        result = (key, kind)
    return Tool(
        field=field,
        name=name,
        description=told["does"],
        parameters=tuple(_parameter(names, line) for names, line in told["takes"].items()),
        wordings=_lines(told["asks"]),
        chinese=_lines(told.get("zh", "")),
        result=result,
        answer=answer,
    )


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _parameter(names: str, line: str) -> Parameter:
    path, *others = names.replace("?", "").split("/")
    kind, description = (part.strip() for part in line.split("|"))
    kind, star, length = kind.partition("*")
    kind = kind.strip()
    choices: tuple[Choice, ...] = ()
    if kind.startswith("="):
        choices = tuple(_choice(part) for part in kind.removeprefix("=").split(","))
    elif kind.startswith("bool "):
        told = kind.removeprefix("bool ").split(" / ")
        choices = tuple(_choice(part, value) for part, value in zip(told, (True, False), strict=True))
    return Parameter(
        path=path,
        other_names=tuple(others),
        required="?" not in names,
        description=description,
        kind=None if choices else kind,
        choices=choices,
        many=bool(star),
        length=int(length) if length else None,
    )


def _choice(part: str, value: Any = None) -> Choice:
    english, _, chinese = part.strip().partition(" zh ")
    name, _, said = english.partition(" as ")
    return Choice(name if value is None else value, said or name, chinese or said or name)
