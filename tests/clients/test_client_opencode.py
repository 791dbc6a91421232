"""opencode, the coding client, reads a file of its project. It streams; it logs in nowhere and fetches nothing."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from playing import NODE, QUESTION, RESULT, calling, play

from fakes import Engine, Text


def test_it_calls_a_tool_and_answers(
    base_url: str, model: str, tmp_path: Path, engine: Engine, asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = NODE / "node_modules/opencode-linux-x64-baseline/bin/opencode"
    if not program.is_file():
        pytest.skip("needs opencode for Linux on x86-64: make test-clients installs it where npm is there")
    (tmp_path / "weather.txt").write_text(RESULT)

    def look(request: dict[str, Any]) -> Text:
        seen = any("clear skies" in (message["content"] or "") for message in request["messages"])
        path = json.dumps({"filePath": str(tmp_path / "weather.txt")})
        return play(request) if seen else calling(request, "read", path)

    monkeypatch.setattr(engine, "answer", look)
    served = {"options": {"baseURL": base_url, "apiKey": "none"}, "models": {model: {}}}
    config = {"provider": {"callwright": {"npm": "@ai-sdk/openai-compatible", **served}}, "autoupdate": False}
    (tmp_path / "opencode.json").write_text(json.dumps(config))
    nowhere = dict.fromkeys(("HTTPS_PROXY", "npm_config_registry"), "http://127.0.0.1:9")
    done = subprocess.run(
        [program, "run", "--model", f"callwright/{model}", QUESTION],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home"), "OPENCODE_DISABLE_MODELS_FETCH": "1"}
        | nowhere,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "32F" in done.stdout
    assert any(RESULT in str(message["content"]) for message in asked()[-1]["messages"])
