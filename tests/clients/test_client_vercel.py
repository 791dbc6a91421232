"""The Vercel AI SDK, which is strict about chunks, on Node."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "node"


@pytest.mark.parametrize("how", ["whole", "stream"])
@pytest.mark.parametrize("api", ["chat", "messages", "responses"])
def test_an_agent_calls_its_tool_and_answers(base_url: str, model: str, how: str, api: str) -> None:
    node = shutil.which("node")
    if node is None or not (FOLDER / "node_modules").is_dir():
        pytest.skip("needs Node and its packages: make test-clients installs them where npm is there")
    done = subprocess.run(
        [node, "agent.mjs", base_url, model, how, api], cwd=FOLDER, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["places"] == ["Boston"]
    assert "32F" in told["text"]
    assert told["reasons"] == ["tool-calls", "stop"]
    assert told["tokens"] == [5, 5]
