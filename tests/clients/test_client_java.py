"""Java's own HTTP client, which LangChain4j and Spring AI stand on: it offers HTTP/2 in each request over http."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playing import QUESTION

SOURCE = Path(__file__).parent / "java" / "Upgrading.java"
TOOL = {"type": "function", "function": {"name": "get_current_weather", "parameters": {"type": "object"}}}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("size", [1, 300_000])
def test_its_bodies_arrive_once_and_whole(
    base_url: str, model: str, stream: bool, size: int, asked: Callable[[], list[dict[str, Any]]]
) -> None:
    java = shutil.which("java")
    if java is None or shutil.which("javac") is None:
        pytest.skip("needs a JDK: java and javac")
    said = [{"role": "system", "content": "x" * size}, {"role": "user", "content": QUESTION}]
    body = json.dumps({"model": model, "messages": said, "tools": [TOOL], "stream": stream})
    done = subprocess.run(
        [java, SOURCE, f"{base_url}/chat/completions"], input=body, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(asked()) == 2
    for line in lines:
        assert line.startswith("200 ")
        assert "Boston" in line
    assert all(json.dumps(request).count("x" * size) >= 1 for request in asked())
