"""The one neutral form of training data: OpenAI messages and OpenAI tools, with where the row came from.

Every reader ends here and every dialect starts here. Knows nothing of files, formats, tokens or weights.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Conversation:
    """One row. Messages and tools are never changed in place."""

    id: str
    messages: tuple[JSON, ...]
    """system, user, assistant (with `tool_calls` whose arguments are a JSON string) and tool (with `tool_call_id`)."""
    tools: tuple[JSON, ...] = ()
    """OpenAI tools: `{"type": "function", "function": {name, description, parameters}}`."""
    source: str = ""
    """Name of the corpus."""
    line: int = 0
    """Line or row in the corpus, from 1."""

    def to_json(self) -> str:
        """One line of JSON in OpenAI form, which `from_json` and the `openai` reader read back."""
        row = {"id": self.id, "messages": self.messages, "tools": self.tools, "source": self.source, "line": self.line}
        return json.dumps(row, ensure_ascii=False, separators=(",", ":"))

    def content_digest(self) -> bytes:
        """Eight bytes that are the same for conversations with the same messages and tools, whatever their place."""
        text = json.dumps((self.messages, self.tools), ensure_ascii=False)
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()

    @classmethod
    def from_json(cls, line: str | bytes) -> "Conversation":
        """Inverse of `to_json`."""
        row = json.loads(line)
        return cls(row["id"], tuple(row["messages"]), tuple(row["tools"]), row["source"], row["line"])


def tool_names(tools: Iterable[JSON]) -> tuple[str, ...]:
    """Names of OpenAI tools, in order."""
    return tuple(str(tool["function"]["name"]) for tool in tools)


def tool_call(index: int, name: str, arguments: str) -> JSON:
    """An OpenAI call with `arguments` as a JSON object in a string; `index` makes its id unique in the conversation."""
    return {"id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": arguments}}
