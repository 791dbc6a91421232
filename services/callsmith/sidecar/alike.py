"""`Alike`: the text of an event that differs from an earlier one in its text only, without reading its JSON.

An engine writes nearly every event of a stream in the same bytes around the text; to read it so costs a quarter.
"""

from typing import Any

from callsmith.sidecar.events import loads

_BEFORE = b'"content":"'
_WITHOUT, _WITH = 2, 6
"""Events that pass before the first is learnt from, since short answers are not worth it, and before none is more."""


class Alike:
    """What stands before and after the text in the events of one stream, once it is learnt."""

    def __init__(self) -> None:
        self._before = self._after = b""
        self._least = 0
        self._seen = 0

    def text(self, data: bytes) -> str | None:
        """The text of an event that is like the one learnt; None for any other."""
        if not self._least or not data.startswith(self._before) or not data.endswith(self._after):
            return None
        text = data[len(self._before) : len(data) - len(self._after)]
        if len(data) < self._least or b'"' in text or b"\\" in text:
            return None
        try:
            return text.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return None

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
        except (ValueError, LookupError):
            return False
        delta["content"] = text
        if probe != chunk:
            return False  # what was found is something else
        self._before, self._after, self._least = before, after, len(before) + len(after)
        return True
