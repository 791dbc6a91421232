"""Reads the tools that a client declares, and finds the one that a model means by a name.

names = read_names([{"type": "function", "function": {"name": "get_weather"}}])
names.exact("**Get_Weather**()"), names.mentioned("Use the get weather API.")     the tool, both times
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from callwright.dialects.coercion import Schemas
from callwright.dialects.declarations import read_function
from callwright.dialects.types import ToolSpec
from callwright.errors import InvalidInput


@dataclass(frozen=True)
class Tool:
    """One declared tool."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    """JSON schema of the arguments; empty for a tool that declares none."""
    function: Mapping[str, Any]
    """The declaration without its wrapper, in OpenAI's words."""
    spec: ToolSpec
    """The declaration, wrapper included."""

    @cached_property
    def schemas(self) -> Schemas:
        """The schemas of its parameters."""
        return Schemas(self.parameters)

    @cached_property
    def properties(self) -> Mapping[str, Any]:
        """Schema of each parameter, by name, also where it stands behind a `$ref` or in alternatives."""
        written = [schema.get("properties") for schema in self._schemas]
        found: list[Mapping[str, Any]] = [inner for inner in written if isinstance(inner, Mapping)]
        if len(found) == 1:
            return found[0]
        return {name: schema for inner in found for name, schema in inner.items()}

    @cached_property
    def required(self) -> tuple[str, ...]:
        """Names of the parameters that a call must give, whichever alternative it takes."""
        written = [schema.get("required") for schema in self._schemas]
        listed = [names if isinstance(names, list | tuple) else () for names in written]
        first, *others = ([name for name in names if isinstance(name, str)] for names in listed)
        shared = set(first).intersection(*others)
        return tuple(name for name in first if name in shared)

    @property
    def _schemas(self) -> Sequence[Mapping[str, Any]]:
        """The schemas of which a call's arguments have to fit one."""
        own = "properties" in self.parameters or not self.parameters
        return [self.parameters] if own else self.schemas.of(self.parameters).schemas or [self.parameters]


class Toolbox(tuple[ToolSpec, ...]):
    """Declared tools for many turns: they are read once, and must not be changed in place."""

    @cached_property
    def tools(self) -> tuple[Tool, ...]:
        """The tools, read. Raises InvalidInput."""
        return tuple(_read_tool(spec, index) for index, spec in enumerate(self))

    @cached_property
    def names(self) -> "Names":
        """Finds the tool that a model meant. Raises InvalidInput."""
        return Names(self.tools)


def read_tools(specs: Sequence[ToolSpec] | None) -> tuple[Tool, ...]:
    """Reads OpenAI tools and bare ToolBench objects alike. Raises InvalidInput on what is neither."""
    return (specs if isinstance(specs, Toolbox) else Toolbox(specs or ())).tools


def read_names(specs: Sequence[ToolSpec] | None) -> "Names":
    """Names of declared tools; with None any name is a tool's. Raises InvalidInput."""
    if specs is None:
        return Names(None)
    return (specs if isinstance(specs, Toolbox) else Toolbox(specs)).names


def choose(tools: tuple[Tool, ...], tool_choice: object) -> tuple[Tool, ...]:
    """Return the tools to show to the model: none for `none`, one for a named choice, otherwise all. Raises
    InvalidInput.
    """
    match tool_choice:
        case None | "auto" | "required":
            return tools
        case "none":
            return ()
        case {"function": {"name": str(name)}} | {"type": "function", "name": str(name)}:
            chosen = tuple(tool for tool in tools if tool.name == name)
            if not chosen:
                names = ", ".join(tool.name for tool in tools) or "no tools"
                raise InvalidInput(
                    f"tool_choice: got {name!r}; expected one of the tools: {names}; declare it in tools"
                )
            return chosen
        case _:
            raise InvalidInput(
                f"tool_choice: got {str(tool_choice)[:80]!r}; expected none, auto, required or "
                '{"type": "function", "function": {"name": …}}; correct the request'
            )


def _read_tool(spec: ToolSpec, index: int) -> Tool:
    try:
        function = read_function(spec)
    except ValueError as error:
        raise InvalidInput(f"tools[{index}]: {error}; correct the request") from None
    description, parameters = function.get("description"), function.get("parameters")
    return Tool(
        name=function["name"],
        description=description if isinstance(description, str) else "",
        parameters=parameters if isinstance(parameters, Mapping) else {},
        function=function,
        spec=spec,
    )


_EDGES = " \t\r\n`'\"*“”‘’「」《》<>.,;:。，；：!！"
_IDENTIFIER = re.compile(r"[\w.\-/]{1,128}")


class Names:
    """Finds the tool that a model means; without declared tools (`None`) every identifier is a tool's name."""

    def __init__(self, tools: tuple[Tool, ...] | None) -> None:
        self.known = tools is not None
        self._tools = {tool.name: tool for tool in tools or ()}
        self._declared = tools or ()

    def learn(self, name: str) -> None:
        """Know, from here on, a tool that the conversation has called without its being declared."""
        if name in self._tools:
            return
        self.known, key, tool = True, _fold(name), _undeclared(name)
        self._tools[name] = tool
        self._folded[key] = None if key in self._folded else tool
        self._beginnings.update(_beginnings(key))

    def exact(self, written: str) -> Tool | None:
        """Return the tool whose name this is, markdown and capitals aside."""
        text = written.strip().replace("\\_", "_")
        if not self.known:
            text = text.strip(_EDGES)
            return _undeclared(text) if _IDENTIFIER.fullmatch(text) else None
        for candidate in (text, text.strip(_EDGES), text.strip(_EDGES).removesuffix("()")):
            if candidate in self._tools:
                return self._tools[candidate]
        return self._folded.get(_fold(text.strip(_EDGES).removesuffix("()")))

    def begins(self, written: str) -> bool:
        """Return whether a declared tool's name begins so."""
        return any(name.startswith(written) for name in self._tools)

    def mentioned(self, written: str) -> Tool | None:
        """Return the one tool that a sentence such as `Use the fire_recognition API` names; None where it names two."""
        tool = self.exact(written)
        if tool is not None or not self._declared:
            return tool
        text = written.replace("\\_", "_")
        found = {match[0] for match in self._mention.finditer(text)}
        if len(found) == 1:
            return self._tools[found.pop()]
        if found:
            return None
        keys = self._spelled_by([_fold(word) for word in re.split(r"[^\w-]+", text)])
        return self._folded[keys.pop()] if len(keys) == 1 else None

    def _spelled_by(self, words: list[str]) -> set[str]:
        """Return the folded names of which words beside each other are the parts."""
        found = set()
        for start, first in enumerate(words):
            run, end = first, start + 1
            while run in self._beginnings:
                if self._folded.get(run) is not None:
                    found.add(run)
                if end == len(words):
                    break
                run, end = f"{run}_{words[end]}", end + 1
        return found

    @cached_property
    def _folded(self) -> dict[str, Tool | None]:
        """Tools by their names without capitals and punctuation; None where two share one."""
        folded: dict[str, Tool | None] = {}
        for tool in self._declared:
            key = _fold(tool.name)
            folded[key] = None if key in folded else tool
        return folded

    @cached_property
    def _beginnings(self) -> set[str]:
        """Folded names, and what they begin with, up to a `_`."""
        return {beginning for key in self._folded for beginning in _beginnings(key)}

    @cached_property
    def _mention(self) -> "re.Pattern[str]":
        """Declared names, compiled when needed: most turns name their tool exactly, which costs less."""
        names = sorted((re.escape(tool.name) for tool in self._declared), key=len, reverse=True)
        return re.compile(rf"(?<![\w-])(?:{'|'.join(names)})(?![\w-])")


def _beginnings(key: str) -> Iterator[str]:
    if key:
        yield from (key[: match.start()] for match in re.finditer("_", key))
        yield key


def _undeclared(name: str) -> Tool:
    return Tool(name=name, description="", parameters={}, function={"name": name}, spec={"name": name})


def _fold(name: str) -> str:
    """Return the name in lower case, with one `_` for every run of other characters."""
    return re.sub(r"[^\w]+|_+", "_", name.lower()).strip("_")
