"""What the tests of clients share: the question, the tool's result, and the model that the engine plays."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callwright import dialects
from callwright.dialects.types import write_reasoning
from fakes import Text

QUESTION = "What's the weather like in Boston today?"
ARGUMENTS = '{"location": "Boston"}'
WeatherTool = Callable[[str], str]
RESULT = "32F, clear skies"
TOLD = "It is cold in Boston: 32F."
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_current_weather",
        "description": "Tells the weather.",
        "parameters": {
            "type": "object",
            "properties": {"location": {"type": "string", "description": "Where"}},
            "required": ["location"],
        },
    },
}
"""The tool of every client, for those that take OpenAI's words; the result is `RESULT`."""
THOUGHT = "I should look."
NODE = Path(__file__).parent / "node"
SPOKEN = ("react_en", "hermes")
"""Dialects that every client is tried with: results within the assistant's text, and results as messages."""
LEARNED = "learned"
"""The model that is really trained and served."""
also_learned = pytest.mark.parametrize("model", [*SPOKEN, LEARNED], indirect=True)
"""Has the test ask that model too."""


def needs(client: str) -> None:
    """Skip the file where `client` is not installed; whatever else is missing fails."""
    if importlib.util.find_spec(client) is None:
        pytest.skip(f"needs {client}: make test-clients installs it", allow_module_level=True)


def script(environment: str, name: str, *arguments: str) -> dict[str, Any]:
    """What a script tells, with the Python of an environment beside that of the tests; skip where it is missing."""
    python = Path(sys.prefix) / environment / "bin" / "python"
    if not python.is_file():
        pytest.skip(f"needs {python}: make test-clients makes it")
    with tempfile.TemporaryDirectory() as home:  # RolePlay and CrewAI write there
        path = Path(__file__).parent / environment / f"{name}.py"
        return _told([str(python), str(path), *arguments], cwd=home, env=os.environ | {"HOME": home})


def node(name: str, *arguments: str) -> dict[str, Any]:
    """What a script of Node tells; skip where Node or its packages are missing."""
    found = shutil.which("node")
    if found is None or not (NODE / "node_modules").is_dir():
        pytest.skip("needs Node and its packages: make test-clients installs them where npm is there")
    return _told([found, name, *arguments], cwd=NODE)


def _told(command: list[str], **options: Any) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, **options)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{"))))


def play(request: dict[str, Any]) -> Text:
    """Call `get_current_weather`, until a result stands in the conversation; stop where the request says so."""
    if not _seen(request):
        return calling(request, "get_current_weather", ARGUMENTS)
    text = TOLD
    if "Observation: " in request["messages"][-1]["content"]:
        text = f"Thought: I now know the final answer\nFinal Answer: {text}"
    return _until_stop(request, text)


def play_typed(request: dict[str, Any]) -> Text:
    """Call it and answer in JSON, and say nothing else, as an engine is held to."""
    if not _seen(request):
        return calling(request, "get_current_weather", ARGUMENTS, said="")
    before, after = _dialect(request).answer_frame()
    return Text([f'{before}{{"fahrenheit": 32}}{after}'])


def calling(request: dict[str, Any], name: str, arguments: str, said: str = THOUGHT) -> Text:
    """Think, call the tool of that name, and make a result up; stop where the request says so."""
    dialect = _dialect(request)
    marker, _ = dialect.thought_frame()
    thought = (f"{marker} {said}\n" if marker else write_reasoning(said)) if said else ""
    begin, end = dialect.call_frame(name)
    made_up = "Observation: it is hot\nFinal Answer: It is hot." if dialect.stop else ""
    return _until_stop(request, f"{thought}{begin}{arguments}{end}{made_up}")


def _seen(request: dict[str, Any]) -> bool:
    return any("clear skies" in (message["content"] or "") for message in request["messages"])


def _dialect(request: dict[str, Any]) -> dialects.Dialect:
    model = str(request["model"])
    return dialects.load(model if model in dialects.NAMES else "react_en")


def _until_stop(request: dict[str, Any], text: str) -> Text:
    cuts = [text.find(stop) for stop in request.get("stop") or () if stop in text]
    return Text([text[: min(cuts, default=len(text))]])
