"""Writes a call's arguments as JSON, member by member; its pieces add up to what `write_json` makes of all."""

import re

from callwright.dialects.literals import Json, write_json

_HIGH_SURROGATE = re.compile("[\ud800-\udbff]\\Z")


class ArgumentWriter:
    """Writes one object. Text may be written while it comes; what is held back of it is half a pair of surrogates."""

    def __init__(self) -> None:
        self._lead = "{"
        self._half = ""

    def member(self, key: str, value: Json) -> str:
        """Return a whole member."""
        return f"{self._key(key)}{write_json(value)}"

    def begin_text(self, key: str) -> str:
        """Return the beginning of a member that is text."""
        return f'{self._key(key)}"'

    def text(self, text: str) -> str:
        """Return more of that text."""
        text = self._half + text
        self._half = text[-1:] if _HIGH_SURROGATE.search(text) else ""
        return write_json(text[: len(text) - len(self._half)])[1:-1]

    def end_text(self) -> str:
        """Return what ends that text."""
        half, self._half = self._half, ""
        return write_json(half)[1:]

    def end(self) -> str:
        """Return what ends the object."""
        return "{}" if self._lead == "{" else "}"

    def _key(self, key: str) -> str:
        lead, self._lead = self._lead, ", "
        return f"{lead}{write_json(key)}: "
