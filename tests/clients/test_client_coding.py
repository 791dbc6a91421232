"""Claude Code and Codex, with their own tools, long prompts and what else they send: no login, loopback only."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playing import RESULT, SPOKEN, THOUGHT, calling

from callwright import dialects
from fakes import Engine, Raw, Served, Text
from sidecar_process import started

MODULES = Path(__file__).parent / "node/node_modules"
CONTEXT = 16_384
TOOLS = ("exec_command", "Read")
"""By which each of the two reads a file."""


def play(request: dict[str, Any]) -> Text:
    """Think, read the file that the user names, with the client's own tool, and answer with what stands in it."""
    assert (request.get("max_tokens") or 0) <= CONTEXT
    dialect = dialects.load(str(request["model"]))
    prompt = json.dumps(request["messages"])
    if RESULT in prompt:
        before, after = dialect.answer_frame()
        return Text([f"{before}It is cold in Boston: 32F.{after}"])
    path = prompt.split("It stands in ")[1].split("weather.txt")[0] + "weather.txt"
    name = next(name for name in TOOLS if f'{name}\\"' in prompt or f"'{name}'" in prompt)
    arguments = {"file_path": path} if name == "Read" else {"cmd": f"cat {path}"}
    return calling(request, name, json.dumps(arguments))


@pytest.fixture(scope="module")
def asked() -> Iterator[tuple[Engine, str]]:
    """The engine, and the address of the sidecar before it."""
    spoken = [flag for name in SPOKEN for flag in ("--dialect", f"{name}={name}")]
    engine = Engine(play)
    listed = [{"id": name, "object": "model", "max_model_len": CONTEXT} for name in SPOKEN]
    engine.others["/v1/models"] = lambda _: Raw(json.dumps({"object": "list", "data": listed}))
    with Served(engine) as served, started(served.url, *spoken, "--until-stdin-closes") as (_, url):
        yield engine, url


def claude(url: str, model: str, question: str) -> tuple[list[str], dict[str, str]]:
    found = [*MODULES.glob("@anthropic-ai/claude-code-*/claude"), MODULES / "@anthropic-ai/claude-code/bin/claude.exe"]
    settings = {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_AUTH_TOKEN": "none", "DISABLE_AUTOUPDATER": "1"}
    settings["CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"] = "1"
    return [str(found[0]), "-p", question, "--model", model, "--output-format", "json"], settings


def codex(url: str, model: str, question: str) -> tuple[list[str], dict[str, str]]:
    provider = f'{{name="sidecar",base_url="{url}/v1",wire_api="responses",env_key="SIDECAR_KEY"}}'
    options = ["-c", 'model_provider="sidecar"', "-c", f"model_providers.sidecar={provider}", "-m", model]
    command = [str(MODULES / ".bin/codex"), "exec", "--json", "--skip-git-repo-check", "-s", "danger-full-access"]
    return [*command, *options, question], {"SIDECAR_KEY": "none"}


@pytest.mark.parametrize("client", [claude, codex])
def test_it_reads_a_file_with_its_own_tool_and_answers(
    client: Callable[..., tuple[list[str], dict[str, str]]], model: str, asked: tuple[Engine, str], tmp_path: Path
) -> None:
    package = {"claude": "@anthropic-ai/claude-code", "codex": "@openai/codex"}[client.__name__]
    if shutil.which("node") is None or not (MODULES / package).is_dir():
        pytest.skip("needs Node and its packages: make test-clients installs them where npm is there")
    engine, url = asked
    home, project = tmp_path / "home", tmp_path / "project"
    home.mkdir()
    project.mkdir()
    (project / "weather.txt").write_text(RESULT)
    question = f"What's the weather like in Boston today? It stands in {project}/weather.txt."
    command, settings = client(url, model, question)
    nowhere = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "https_proxy", "http_proxy"), "http://127.0.0.1:9")
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    before = len(engine.requests)
    done = subprocess.run(
        command, cwd=project, env=environment | nowhere | settings, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "It is cold in Boston: 32F." in done.stdout
    assert len(engine.requests) - before >= 2
    assert any(RESULT in message["content"] for message in engine.requests[-1]["messages"])
    assert THOUGHT in json.dumps(engine.requests[-1]["messages"]), "what the model thought goes back to it"
