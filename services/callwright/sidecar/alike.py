"""`Alike`: the text of an event that differs from an earlier one in its text only, without reading its JSON.

An engine writes nearly every event of a stream in the same bytes around the text; to read it so costs a quarter.
"""

import re
from typing import Any

from callwright.sidecar.events import BEGIN, END, loads

_plain = re.compile(r'[^"\\\x00-\x1f]+').fullmatch
_BEFORE = b'"content":"'
_WITHOUT, _WITH = 2, 6
"""Events that pass before the first is learnt from, since short answers are not worth it, and before none is more."""


class Alike:
    """What stands before and after the text in the events of one stream, once it is learnt."""

    def __init__(self) -> None:
        self._before = self._after = b""
        self._around = -1
        self._seen = 0

    def text(self, event: bytes) -> str | None:
        """The text of an event on the wire that is like the one learnt; None for any other, and for one without."""
        text = event.removeprefix(self._before).removesuffix(self._after)
        if len(event) - len(text) != self._around:
            return None
        try:
            said = text.decode()
        except UnicodeDecodeError:
            return None
        return said if _plain(said) else None

    def learn(self, data: bytes, chunk: dict[str, Any], text: str) -> bool:
        """Remember `data`, read as `chunk`, whose only choice says `text`; False when it can't be parted surely."""
        self._seen += 1
        if not _WITHOUT < self._seen <= _WITH:
            return False
        before, found, after = data.partition(_BEFORE + text.encode("utf-8", "surrogatepass") + b'"')
        if not found:
            return False
        before, after = before + _BEFORE, b'"' + after
        other = "!" if text == "?" else "?"
        try:
            probe = loads(before + other.encode() + after)
            delta = probe["choices"][0]["delta"]
            found_it = delta["content"] == other
        except (ValueError, LookupError):
            return False
        delta["content"] = text
        if not found_it or probe != chunk:
            return False  # what was found is something else
        self._before, self._after = BEGIN + before, after + END
        self._around = len(self._before) + len(self._after)
        return True
