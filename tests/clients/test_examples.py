"""ms-swift's printed examples, run as written but for the address: curl in both turns, and the SDK's script."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parent / "examples"


def run(name: str, sidecar: str, *, stream: bool) -> str:
    script = (EXAMPLES / name).read_text(encoding="utf-8").replace("http://localhost:8000", sidecar)
    if stream:
        script = script.replace('"stream": false', '"stream": true')
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return subprocess.run(
        ["bash", "-c", script.replace("curl ", "curl -sS --fail-with-body ", 1)],
        capture_output=True, text=True, timeout=60, check=True, env=environment,
    ).stdout  # fmt: skip


def message(text: str, *, stream: bool) -> dict[str, Any]:
    """What a client makes of the answer."""
    if not stream:
        return dict(json.loads(text)["choices"][0])
    assert text.endswith("data: [DONE]\n\n")
    choices = [json.loads(line[6:])["choices"][0] for line in text.splitlines() if line.startswith("data: {")]
    content = "".join(choice["delta"].get("content") or "" for choice in choices)
    pieces = [call for choice in choices for call in choice["delta"].get("tool_calls", ())]
    arguments = "".join(piece["function"]["arguments"] for piece in pieces)
    calls = [piece | {"function": piece["function"] | {"arguments": arguments}} for piece in pieces[:1]]
    made = {"content": content or None} | ({"tool_calls": calls} if calls else {})
    return {"message": made, "finish_reason": choices[-1]["finish_reason"]}


@pytest.mark.parametrize("stream", [False, True])
def test_curl_first_turn(sidecar: str, stream: bool) -> None:
    choice = message(run("first_turn.sh", sidecar, stream=stream), stream=stream)
    (call,) = choice["message"]["tool_calls"]
    assert call["function"] == {"name": "get_current_weather", "arguments": '{"location": "Boston"}'}
    assert choice["finish_reason"] == "tool_calls"
    assert "Observation" not in (choice["message"]["content"] or "")


@pytest.mark.parametrize("stream", [False, True])
def test_curl_second_turn(sidecar: str, asked: Any, stream: bool) -> None:
    choice = message(run("second_turn.sh", sidecar, stream=stream), stream=stream)
    assert choice["finish_reason"] == "stop"
    assert "32F" in choice["message"]["content"]
    (request,) = asked()
    assert request["continue_final_message"] is True
    assert request["messages"][-1]["content"].count("Observation:") == 1


def test_the_sdk_s_script(sidecar: str, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from fakes import Text

    url = "https://api.weatherapi.com/v1/current.json?key=YOUR_API_KEY&q=Boston"
    text = f'Thought: I can use it.\nAction: url_for_newapi\nAction Input: {{"url": "{url}"}}\n'
    monkeypatch.setattr(engine, "answer", lambda request: Text([text]))
    script = (EXAMPLES / "sdk.py.txt").read_text(encoding="utf-8").replace("http://localhost:8000", sidecar)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("url_for_newapi") == 1  # in a stream the name comes first, the arguments last
    assert done.stdout.count(url) == 2
