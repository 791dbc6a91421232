"""Chooses a base's dialect: the one that reads back what the base's own chat template makes of a conversation.

    choice = choose("native", load_tokenizer(base_dir))
    choice.dialect, choice.template, choice.notes

A template that shows no tools can have none: its base speaks a dialect of text.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from callwright import dialects
from callwright.datasets.native_turns import ANSWER, ASKED, CALLING, RESULT, NativeTurns
from callwright.datasets.rendering import TOOL, RefusedError
from callwright.datasets.template import ChatTemplate
from callwright.datasets.tokenizer import Tokenizer
from callwright.dialects.native import Native
from callwright.dialects.types import REASONING, Dialect, Message, ToolCall, Turn
from callwright.errors import InvalidInput
from callwright.store import Template

NATIVE = "native"
"""Stands for the dialect that the base's own template writes."""
WITHOUT_TOOLS = "react_en"
"""The dialect of a base whose template shows no tools."""
_NAME = str(TOOL["function"]["name"])
_CALL = ToolCall("", _NAME, '{"city": "Oslo"}')


class Choice(NamedTuple):
    """A base's dialect."""

    dialect: Dialect
    template: Template
    """How the base's chat template is called with it."""
    stop: tuple[str, ...] = ()
    """Strings at which the engine is to stop: the dialect's, and tokens that end a turn where special tokens are
    shown."""
    notes: tuple[str, ...] = ()
    """What a person should know of it, a line each."""

    @property
    def is_native(self) -> bool:
        """Whether the base's template writes it."""
        return self.template.tools


def choose(name: str | None, tokenizer: Tokenizer, arguments: Mapping[str, Any] | None = None) -> Choice:
    """Return the dialect that `name` means for the base of `tokenizer`; None is the native one, or one of text where
    that is unknown.

    Raises `InvalidInput` for an unknown name, and for a native dialect that the base's template does not write.
    """
    if name in dialects.TEXT_NAMES:
        return _of_text(name, tokenizer, arguments)
    if name not in (None, NATIVE, *dialects.NATIVE_NAMES):
        expected = ", ".join((NATIVE, *dialects.NAMES))
        raise InvalidInput(f"dialect: got {name!r}; expected one of {expected}; correct the name")
    template = ChatTemplate(tokenizer, arguments, with_tools=True)
    tried = [NativeTurns(_native(each), template, tokenizer) for each in dialects.NATIVE_NAMES]
    base, is_named = template.renderer.name, name not in (None, NATIVE)
    of_text = ", ".join(dialects.TEXT_NAMES)
    if not any(map(_shows_tools, tried)):
        if is_named:
            raise InvalidInput(
                f"dialect: {name} is written by a base's own chat template; that of {base} shows no tools; set dialect "
                f"to one of {of_text}"
            )
        note = f"the chat template of {base} shows no tools: the dialect is {WITHOUT_TOOLS}"
        return _of_text(WITHOUT_TOOLS, tokenizer, arguments, note)
    readers = [turns for turns in tried if _reads(turns)]
    readers = list(filter(_writes_alike, readers)) or readers
    if is_named:
        readers = [turns for turns in readers if turns.dialect.name == name]
    if not readers:
        others = name if is_named else ", ".join(dialects.NATIVE_NAMES)
        said = f"the chat template of {base} writes a call otherwise than {others}: got "
        said += repr(_written(tried[0])[:200])
        if name is None:
            return _of_text(WITHOUT_TOOLS, tokenizer, arguments, f"{said}; the dialect is {WITHOUT_TOOLS}")
        raise InvalidInput(f"dialect: {said}; set dialect to one of {of_text}")
    turns = readers[0]
    try:
        settings = turns.settings
        return Choice(turns.dialect, settings, turns.stop, tuple(_notes(turns, base, settings)))
    except RefusedError as error:
        raise InvalidInput(
            f"dialect: {turns.dialect.name} is written by the chat template of {base}, which refuses a conversation: "
            f"{error}; set dialect to one of {of_text}"
        ) from None


def _of_text(name: str, tokenizer: Tokenizer, arguments: Mapping[str, Any] | None, *notes: str) -> Choice:
    dialect = dialects.load(name)
    return Choice(dialect, ChatTemplate(tokenizer, arguments).settings, dialect.stop, notes)


def _native(name: str) -> Native:
    dialect = dialects.load(name, native=True)
    assert isinstance(dialect, Native)
    return dialect


def _shows_tools(turns: NativeTurns) -> bool:
    try:
        return _NAME in turns.prompt([ASKED], [TOOL])
    except RefusedError:
        return False


def _reads(turns: NativeTurns) -> bool:
    try:
        turns.turn([ASKED, CALLING], 1, [TOOL])
    except RefusedError:
        return False
    return True


def _writes_alike(turns: NativeTurns) -> bool:
    """Return whether the dialect writes a call as the template does, white space aside."""
    template, own = ("".join(text.split()) for text in (_written(turns), turns.dialect.write(Turn((_CALL,)), [TOOL])))
    return template.endswith(own)


def _written(turns: NativeTurns) -> str:
    try:
        return turns.written([ASKED, CALLING], [TOOL])[1]
    except RefusedError as error:
        return str(error)


def _notes(turns: NativeTurns, base: str, settings: Template) -> Iterator[str]:
    """Say which dialect the base's template writes, and what it loses: rows with that are refused by line."""
    yield f"the chat template of {base} writes the dialect {turns.dialect.name}"
    for what, said in _FACTS.items():
        try:
            turns.turn([ASKED, said], 1, [TOOL])
        except RefusedError as error:
            yield f"{what} can't be trained: {error}"
    if not settings.shows_reasoning:
        yield f"the chat template of {base} leaves thoughts out: they stand in the text, in think tags"
    try:
        if RESULT["content"] not in turns.prompt([ASKED, CALLING, RESULT], [TOOL]):
            raise RefusedError("the prompt does not show it")
    except RefusedError as error:
        yield f"a result can't be shown: {error}"


_FACTS: dict[str, Message] = {
    "an answer": ANSWER,
    "two calls in a turn": {**CALLING, "tool_calls": [*CALLING["tool_calls"], {**CALLING["tool_calls"][0], "id": "1"}]},
    "text beside a call": {**CALLING, "content": "I look."},
    "a thought before a call": {**CALLING, REASONING: "I must look."},
    "a thought before an answer": {**ANSWER, REASONING: "Now I know."},
}
