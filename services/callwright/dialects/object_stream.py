"""The base of streams whose calls are JSON objects: what is read of one, and the tool that its head names."""

import re
from typing import ClassVar

from callwright.dialects.object_scanner import ObjectScanner
from callwright.dialects.stream import Stream
from callwright.dialects.tools import Names, Tool
from callwright.dialects.types import MalformedCall

_LONGEST_HEAD = 512
"""Characters in which an eager call's name has to stand; without it there the call is emitted when it is complete."""


class ObjectStream(Stream):
    """Reads one turn; a subclass says where an object begins, and what follows it."""

    outside: ClassVar[re.Pattern[str]]
    """What matters outside strings, see `object_scanner.outside`."""
    object_head: ClassVar[re.Pattern[str]]
    """Matches an object up to its arguments; its group is the name."""

    def __init__(self, names: Names, *, eager: bool, opened: bool) -> None:
        super().__init__(opened=opened)
        self._names = names
        self._eager = eager
        self._raw: list[str] = []
        """The call's text up to what the scanner reads, which is in `_body`; content, if it is no call after all."""
        self._body: list[str] = []
        self._scanner = ObjectScanner(self.outside)
        self._may_begin_eagerly = False
        self._fault: MalformedCall | None = None
        """Why it is no call; its text is emitted with it where it ends."""

    def _tool_at_head(self) -> tuple[Tool, int] | None:
        """Return the tool that the object names at its head, and where in it the arguments begin.

        None where that has not come yet, which ends the wait for it once it cannot come.
        """
        text = "".join(self._body)
        found = self.object_head.match(text)
        self._may_begin_eagerly = found is None and len(text) < _LONGEST_HEAD
        tool = self._names.exact(found[1]) if found else None
        return (tool, found.end()) if found and tool else None
