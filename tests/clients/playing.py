"""What the tests of clients share: the question, the tool's result, and the model that the engine plays."""

import importlib.util
from typing import Any

import pytest

from callwright import dialects
from fakes import Text

QUESTION = "What's the weather like in Boston today?"
ARGUMENTS = '{"location": "Boston"}'
RESULT = "32F, clear skies"
SPOKEN = ("react_en", "hermes")
"""Dialects that every client is tried with: results within the assistant's text, and results as messages."""


def needs(client: str) -> None:
    """Skip the file where `client` is not installed; whatever else is missing fails."""
    if importlib.util.find_spec(client) is None:
        pytest.skip(f"needs {client}: make test-clients installs it", allow_module_level=True)


def play(request: dict[str, Any]) -> Text:
    """Call `get_current_weather`, until a result stands in the conversation; stop where the request says so."""
    name = str(request["model"])
    dialect = dialects.load(name if name in dialects.NAMES else "react_en")
    if any("clear skies" in (message["content"] or "") for message in request["messages"]):
        text = "It is cold in Boston: 32F."
        if "Observation: " in request["messages"][-1]["content"]:
            text = f"Thought: I now know the final answer\nFinal Answer: {text}"
    else:
        begin, end = dialect.call_frame("get_current_weather")
        text = f"I should look.\n{begin}{ARGUMENTS}{end}"
        text += "Observation: it is hot\nFinal Answer: It is hot." if dialect.stop else ""
    cuts = [text.find(stop) for stop in request.get("stop") or () if stop in text]
    return Text([text[: min(cuts, default=len(text))]])
