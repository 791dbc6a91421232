"""The one neutral form of training data: OpenAI messages and OpenAI tools, with where the row came from.

Every reader ends here and every dialect starts here. Knows nothing of files, formats, tokens or weights.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

JSON = dict[str, Any]
_IGNORED = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Conversation:
    """One row. Messages and tools are never changed in place."""

    id: str
    messages: tuple[JSON, ...]
    """system, user, assistant (with `tool_calls` whose arguments are a JSON string) and tool (with `tool_call_id`).

    An assistant's `weight` is a factor to the loss weights of its tokens, 1 where none stands.
    """
    tools: tuple[JSON, ...] = ()
    """OpenAI tools: `{"type": "function", "function": {name, description, parameters}}`."""
    source: str = ""
    """Name of the corpus."""
    line: int = 0
    """Line or row in the corpus, from 1."""

    def to_json(self, content: str | None = None) -> str:
        """Return one line of JSON in OpenAI form, which `from_json` and the `openai` reader read back.

        Pass what `content_json` has returned as `content` to save making it again.
        """
        content = self.content_json() if content is None else content
        return f'{{"id":{_dumps(self.id)},{content},"source":{_dumps(self.source)},"line":{self.line}}}'

    def content_json(self) -> str:
        """Return the part of `to_json` that is the same for conversations with the same messages and tools.

        Raises `ValueError` for a number that JSON cannot hold.
        """
        return f'"messages":{_dumps(self.messages)},"tools":{_dumps(self.tools)}'

    @classmethod
    def from_json(cls, line: str | bytes) -> "Conversation":
        """Inverse of `to_json`."""
        row = json.loads(line)
        return cls(row["id"], tuple(row["messages"]), tuple(row["tools"]), row["source"], row["line"])


_dumps = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def fingerprint(messages: Iterable[JSON]) -> int:
    """Return a number that is the same where users say the same, but for case, spaces and punctuation; 64 bits."""
    said = "\n".join(m["content"] or "" for m in messages if m["role"] == "user")
    text = _IGNORED.sub("", unicodedata.normalize("NFKC", said).casefold())
    digest = hashlib.blake2b((text or said).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def tool_names(tools: Iterable[JSON]) -> tuple[str, ...]:
    """Names of OpenAI tools, in order."""
    return tuple(str(tool["function"]["name"]) for tool in tools)


def tool_call(index: int, name: str, arguments: str) -> JSON:
    """Return an OpenAI call with `arguments` as a JSON object in a string; `index` makes its id unique in the
    conversation.
    """
    return {"id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": arguments}}
