"""The whole loop in miniature, on the real parts: Ray Train with two workers, the merge, vLLM under Ray Serve, the
sidecar as a process of its own, and the OpenAI SDK as client; all through the commands that a person types."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
import yaml

from callwright.datasets import readers
from callwright.demo.catalogue import every
from callwright.demo.corpus import Sizes, write_corpus
from callwright.demo.document import write_document
from callwright.demo.looks import PLAIN, declared
from callwright.server.preflight import free_ports
from callwright.store import Registry, Store
from models import tiny_model

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]
README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
SIZES = Sizes(agent=40, replay=10, known=4, unseen=2, quiet=1, two=1, bfcl_simple=2, bfcl_irrelevance=1)


def callwright(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "callwright.cli", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=850)
    assert done.returncode == 0, done.stderr
    return done


@contextmanager
def serving(*arguments: object, cwd: Path) -> Iterator[str]:
    """Run `callwright serve` until the block's end; yields the base URL that it prints."""
    port, engine_port = free_ports(2)
    command = [sys.executable, "-m", "callwright.cli", "serve", *map(str, arguments)]
    command += ["--port", str(port), "--engine-port", str(engine_port)]
    process = subprocess.Popen(command, cwd=cwd, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr
    said = []
    try:
        for line in process.stderr:
            said.append(line)
            if found := re.search(r"is served at (\S+?);", line):
                yield found[1]
                break
        else:
            pytest.fail("".join(said))
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


SMALL: dict[str, Any] = {
    "train": {"learningRate": 1.0e-3, "steps": 3, "batchSize": 1, "sequencesPerStep": 4},
    "evaluate": {"maxTokens": 32},
}
"""What makes the README's run short enough for a test."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, smollm2: Path) -> Path:
    """A working directory in which `callwright run` has completed: the demo's base, a few steps and requests."""
    folder = tmp_path_factory.mktemp("run")
    corpus = write_corpus(folder / "data", sizes=SIZES)
    document = yaml.safe_load(write_document(folder / "finetune.yaml", corpus, base=smollm2, steps=4).read_text())
    document["spec"]["resources"]["workers"] = 2
    document["spec"]["train"] |= {"batchSize": 1, "sequencesPerStep": 2}
    few = [each | {"limit": 4} for each in document["spec"]["evaluate"]["sets"]]
    document["spec"]["evaluate"] |= {"maxTokens": 32, "gate": {"minAccuracy": 0}, "sets": few}
    file = folder / "finetune.yaml"
    file.write_text(yaml.safe_dump(document))
    done = callwright("run", file, "--json", cwd=folder)
    (folder / "result.json").write_text(done.stdout)
    return folder


@pytest.fixture(scope="module")
def store(folder: Path) -> Store:
    return Store.open((folder / ".callwright" / "store").as_uri())


def test_the_run_leaves_adapter_version_and_pointer(folder: Path, store: Store) -> None:
    result = json.loads((folder / "result.json").read_text())
    run = result["run"]
    assert result["train"]["workers"] == 2
    assert result["train"]["step"] == 4
    assert {"adapter_config.json", "adapter_model.safetensors"} <= {
        entry.key.rpartition("/")[2] for entry in store.list(f"runs/{run}/adapter")
    }
    manifest = Registry(store).manifest("demo", "promoted")
    assert manifest.version == run
    assert manifest.dialect == "hermes"
    assert manifest.verification is not None
    assert Registry(store).verify("demo", run) == []
    assert json.loads(store.get_bytes(f"runs/{run}/evaluation.json"))["gate"]["passed"] is True
    page = (folder / ".callwright" / "runs" / run / "report.html").read_text()
    assert "requests, answered by base and candidate" in page
    assert page.count('src="data:image/png;base64,iVBOR') == 4


def test_a_run_that_is_done_is_not_done_again(folder: Path, store: Store) -> None:
    before = {entry.key: entry.modified for entry in store.list()}
    callwright("run", folder / "finetune.yaml", cwd=folder)
    assert {entry.key: entry.modified for entry in store.list()} == before


def test_the_promoted_version_answers_the_openai_sdk(folder: Path) -> None:
    tools: Any = [declared(tool, PLAIN) for tool in every() if tool.name in ("get_weather", "find_route")]
    with serving(folder / "finetune.yaml", cwd=folder) as base_url:
        client = openai.OpenAI(base_url=base_url, api_key="none", max_retries=0)
        assert "demo" in [model.id for model in client.models.list()]
        messages: list[Any] = [{"role": "user", "content": "What is the weather in Bergen?"}]
        forced: Any = {"type": "function", "function": {"name": "get_weather"}}
        with client.chat.completions.stream(
            model="demo", messages=messages, tools=tools, tool_choice=forced, temperature=0, max_tokens=96
        ) as stream:
            for _ in stream:
                pass
            choice = stream.get_final_completion().choices[0]
        assert choice.finish_reason == "tool_calls"
        assert choice.message.tool_calls
        call = choice.message.tool_calls[0]
        assert call.function.name == "get_weather"
        assert {"city"} <= set(json.loads(call.function.arguments)) <= {"city", "unit"}
        messages.append(choice.message.model_dump(include={"role", "content", "tool_calls"}, exclude_none=True))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": '{"result": 7}'})
        answer = client.chat.completions.create(model="demo", messages=messages, tools=tools, max_tokens=48)
        assert answer.choices[0].finish_reason in ("stop", "length", "tool_calls")
        assert answer.usage is not None


def readme_document(data: Path, base: Path) -> dict[str, Any]:
    """The README's document with `base` for its 7B, its files found in `data`, and few steps."""
    (block,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    document: dict[str, Any] = yaml.safe_load(block)
    document["spec"] |= {"base": {"model": str(base)}, **SMALL}
    document["spec"]["data"]["maxLength"] = 2048
    for source in document["spec"]["data"]["sources"]:
        source["path"] = str(data / source["path"])
    document["spec"]["deploy"]["engine"]["dtype"] = "float32"
    return document


@pytest.mark.slow
def test_the_readmes_commands_bring_real_conversations_to_an_endpoint(shared: Path, tmp_path: Path) -> None:
    run, serve, chat = (shlex.split(line)[1:] for line in re.findall(r"^\$ (callwright .*?)(?:\s+#.*)?$", README, re.M))
    (tmp_path / run[-1]).write_text(yaml.safe_dump(readme_document(shared / "data", tiny_model(tmp_path / "base"))))
    done = json.loads(callwright(*run, "--json", cwd=tmp_path).stdout)
    assert done["data"]["train"] >= 100
    assert done["promotion"].startswith("promoted my-model")
    row = next(readers.read(shared / "data" / "toolalpaca_ms_agent.jsonl"))
    tools: Any = list(row.tools)
    assert serve[0] == "serve"
    with serving(*serve[1:], cwd=tmp_path) as base_url:
        client = openai.OpenAI(base_url=base_url, api_key="none", max_retries=0)
        answer = client.chat.completions.create(
            model="my-model",
            messages=[{"role": "user", "content": "Hey, can you show me a random picture of an axolotl?"}],
            tools=tools,
            tool_choice={"type": "function", "function": {"name": tools[0]["function"]["name"]}},
            max_tokens=64,
        )
        assert callwright(*chat, "--base-url", base_url, "--max-tokens", 32, cwd=tmp_path).stdout.strip()
    calls = answer.choices[0].message.tool_calls
    assert calls
    assert calls[0].function.name == "getRandomAxolotlImage"
    assert json.loads(calls[0].function.arguments) == {}
