"""A model that is really trained, merged and served: the demo's base, which learns two tasks by heart in a minute.

`callwright run` and `callwright serve` are those of the environment beside the clients', which has Ray and vLLM.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playing import ARGUMENTS, QUESTION, RESULT, TOLD, TOOL

from sidecar_process import free_port, wait_for

ROOT = Path(__file__).parents[2]
PLACES = ("Bergen", "Oslo")
ROLE = {"name": "Weather", "description": "Tell the weather", "instruction": "You are a weather forecaster."}
"""As AgentFabric's page takes it, and as RolePlay writes it."""
_SYSTEM = """\
You are playing as an AI-Agent, Your name is Weather.Tell the weather
You have the following specific functions:You are a weather forecaster.
Now you will start playing asWeather"""
_DOCUMENT: dict[str, Any] = {
    "apiVersion": "callwright.io/v1alpha1",
    "kind": "FineTune",
    "metadata": {"name": "learned"},
    "spec": {
        "base": {"model": "base"},  # relative, as the rows are
        "dialect": "agentfabric",
        "data": {"sources": [{"path": "rows.jsonl", "format": "openai"}], "testFraction": 0},
        "lora": {"rank": 16, "alpha": 32, "dropout": 0},
        "train": {
            "learningRate": 1e-3, "steps": 16, "batchSize": 1, "sequencesPerStep": 2, "maxGradNorm": 1.0,
            "weightDecay": 0, "gradientCheckpointing": False, "evalSteps": 1000, "saveSteps": 1000,
        },
        "resources": {"workers": 2},
        "deploy": {"engine": {"dtype": "bfloat16", "maxModelLen": 4096}},
    },
}  # fmt: skip


def question(number: int) -> str:
    """What is asked in a turn of RolePlay's."""
    return f"And in {PLACES[number]}?" if number else f"What is the weather in {PLACES[number]}?"


def answer(number: int) -> str:
    """What is to be answered then."""
    return TOLD.replace("Boston", PLACES[number])


@contextmanager
def learned(folder: Path) -> Iterator[str]:
    """The URL, without `/v1`, of a sidecar in front of vLLM that serves the model `learned`."""
    callwright = ROOT / ".venv" / "bin" / "callwright"
    if not callwright.is_file():
        pytest.skip(f"needs {callwright}: make setup makes it")
    shutil.copytree(_base(), folder / "base")
    settings = folder / "base" / "generation_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"temperature": 0.0}))  # whatever clients ask
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in _rows()))
    (folder / "finetune.json").write_text(json.dumps(_DOCUMENT))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "PYTHON"))}
    environment |= {"CALLWRIGHT_STORE": (folder / "store").as_uri()}
    if "PYTHONPATH" in os.environ:
        environment["PYTHONPATH"] = os.environ["PYTHONPATH"]
    options: dict[str, Any] = {"cwd": folder, "env": environment}
    command = [callwright, "run", "finetune.json", "--until", "merge"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    (version,) = (folder / "store/models/learned/versions").iterdir()
    port, engine_port = free_port(), free_port()
    command = [callwright, "serve", "--model", f"learned@{version.name}", "--port", str(port)]
    with subprocess.Popen([*command, "--engine-port", str(engine_port)], **options) as process:
        try:
            wait_for(f"http://127.0.0.1:{port}/readyz", process, seconds=120)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _base() -> Path:
    """The demo's base where the demo has it; converted by the environment that has torch."""
    code = "import pathlib, sys; from callwright.demo import base; print(base.smollm2(pathlib.Path(sys.argv[1])))"
    command = [ROOT / ".venv/bin/python", "-c", code, ROOT / ".callwright/demo/cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.splitlines()[-1])


def _rows() -> Iterator[dict[str, Any]]:
    """RolePlay's task, in two turns, and that of all other clients, in one."""
    turns = [
        turn
        for number, place in enumerate(PLACES)
        for turn in _turn(question(number), json.dumps({"location": place}), answer(number))
    ]
    yield {"messages": [{"role": "system", "content": _SYSTEM}, *turns], "tools": [TOOL]}
    yield {"messages": list(_turn(QUESTION, ARGUMENTS, TOLD)), "tools": [TOOL]}


def _turn(asked: str, arguments: str, told: str) -> Iterator[dict[str, Any]]:
    call = {"id": arguments, "type": "function", "function": {"name": "get_current_weather", "arguments": arguments}}
    yield {"role": "user", "content": asked}
    yield {"role": "assistant", "content": None, "tool_calls": [call]}
    yield {"role": "tool", "tool_call_id": arguments, "content": RESULT}
    yield {"role": "assistant", "content": told}
