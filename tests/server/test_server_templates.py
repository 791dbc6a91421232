"""Qwen3.5's and Qwen3.6's real chat templates end to end: a tiny model is trained, merged and served by vLLM, and gets
at every turn the very tokens that it was trained after; two questions, tools and thoughts."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import yaml

from callwright.cli.run import do_stages, open_run
from callwright.datasets import parity
from callwright.run import Run
from callwright.server import local
from callwright.server.config import ServedModel, ServerConfig
from callwright.server.preflight import free_ports
from callwright.sidecar.chat import _PROMPT_FIELDS
from callwright.sidecar.config import SidecarConfig
from callwright.sidecar.models import named_dialect
from callwright.sidecar.plan import make_plan
from callwright.spec.model import Engine
from callwright.store import Manifest, Registry
from models import EOS, WEATHER, scripted_model

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
_END = "\n</think>\n\n"
_CALL = {
    "qwen_xml": "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n</function>\n</tool_call>",
    "hermes": '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>',
    "react_en": 'Action: get_weather\nAction Input: {"city": "Paris"}',
}
NATIVE = "native"
CASES = [("qwen3_5_think", "hermes"), ("qwen3_6", "react_en"), ("qwen3_5_think", NATIVE), ("qwen3", NATIVE)]
SPOKEN = {"qwen3_5_think": "qwen_xml", "qwen3": "hermes"}
"""What the template of a base writes by itself."""


def script(template: str, dialect: str) -> tuple[tuple[str, str], ...]:
    """In the thought that the prompt opens, or that the model does: a thought, then a call; after a result that ends in
    `}` the answer.
    """
    call = _CALL[SPOKEN[template] if dialect == NATIVE else dialect]
    if template == "qwen3":
        return (("\n", "<think>"), ("<think>", "\nI look."), ("\nI look.", _END), (_END, call), (call, EOS))
    after = "\nObservation:" if dialect == "react_en" else EOS
    answer = (("}", "\nFinal Answer: "), ("\nFinal Answer: ", "Sunny."), ("Sunny.", EOS))
    return (("\n", "I look."), ("I look.", _END), (_END, call), (call, after), *(answer if after != EOS else ()))


def rows() -> Iterator[dict[str, Any]]:
    """Conversations with two questions; every other one has thoughts."""
    for number in range(8):
        thoughts = [{"reasoning_content": f"Thought {number}."} if number % 2 else {}] * 2
        messages: list[dict[str, Any]] = []
        for turn, thought in enumerate(thoughts):
            call = {"id": f"c{turn}", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
            call["function"] = {"name": "get_weather", "arguments": json.dumps({"city": f"City {number}{turn}"})}
            messages += [
                {"role": "user", "content": f"Weather in {number}{turn}?"},
                {"role": "assistant", "content": None, "tool_calls": [call], **thought},
                {"role": "tool", "tool_call_id": f"c{turn}", "content": json.dumps({"sky": number})},
                {"role": "assistant", "content": f"Sky {number}.", **(thought if turn else {})},
            ]
        yield {"messages": messages, "tools": [WEATHER]}


@pytest.fixture(scope="module")
def runs(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Run]:
    """A run of each case, trained and merged."""
    templates = json.loads((shared / "templates/chat_templates.json").read_text(encoding="utf-8"))
    folder = tmp_path_factory.mktemp("templates")
    corpus = folder / "rows.jsonl"
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows()))
    made = {}
    for template, dialect in CASES:
        name = f"{template}-{dialect}".replace("_", "")
        base = scripted_model(folder / name, script(template, dialect))
        (base / "chat_template.jinja").write_text(templates[template]["template"], encoding="utf-8")
        document = {
            "apiVersion": "callwright.io/v1alpha1",
            "kind": "FineTune",
            "metadata": {"name": name},
            "spec": {
                "base": {"model": str(base)},
                "dialect": dialect,
                "data": {"sources": [{"path": str(corpus)}], "maxLength": 4096, "testFraction": 0},
                "train": {"steps": 1, "batchSize": 1, "sequencesPerStep": 1, "learningRate": 1e-6},
            },
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(document))
        run = made[template, dialect] = open_run(
            folder / f"{name}.yaml", store=(folder / "store").as_uri(), root=folder / "root"
        )
        do_stages(run, "merge")
        Registry(run.store).promote(run.model, run.version)
    return made


@pytest.fixture(scope="module")
def stack(runs: dict[tuple[str, str], Run], tmp_path_factory: pytest.TempPathFactory) -> Iterator[local.Stack]:
    """All versions, served."""
    port, engine_port = free_ports(2)
    engine = Engine(dtype="float32", max_model_len=4096)
    [store] = {run.store.url for run in runs.values()}
    base = str(runs["qwen3_5_think", NATIVE].base_dir)
    versions = [ServedModel(id=run.model, name=run.model, version=run.version, engine=engine) for run in runs.values()]
    config = ServerConfig(
        models=(*versions, ServedModel(id="as-it-is", path=base, engine=engine)),
        port=engine_port,
        store=store,
        cache_dir=str(tmp_path_factory.mktemp("cache")),
        kv_cache_bytes=64 * 1024**2,
    )
    with local.serving(config, workdir=tmp_path_factory.mktemp("served"), port=port) as running:
        yield running


def manifest(run: Run) -> Manifest:
    return Registry(run.store).manifest(run.model, run.version)


@pytest.mark.parametrize("case", CASES)
def test_the_versions_prompts_are_what_training_saw(case: tuple[str, str], runs: dict[tuple[str, str], Run]) -> None:
    found = manifest(runs[case]).parity
    assert found is not None
    assert found.prompts == 32
    assert (found.equal, found.difference) == (32, "")


@pytest.mark.parametrize("case", CASES)
def test_the_engine_makes_the_same_tokens(
    case: tuple[str, str], runs: dict[tuple[str, str], Run], stack: local.Stack
) -> None:
    run = runs[case]
    found = manifest(run)
    model = replace(named_dialect(found.dialect, native=case[1] == NATIVE), template=found.template)
    for prompt in run.read_json(f"data/{parity.FILE}")["prompts"]:
        request = {"model": run.model, "messages": prompt["messages"], "tools": prompt["tools"]}
        sent = make_plan(request, model, SidecarConfig()).body
        asked = {key: sent[key] for key in _PROMPT_FIELDS if key in sent}
        answer = httpx.post(f"{stack.base_url.removesuffix('/v1')}/tokenize", json=asked)
        assert answer.status_code == 200, answer.text
        assert answer.json()["tokens"] == prompt["ids"]


@pytest.mark.parametrize("case", CASES)
def test_thoughts_and_calls_come_out_of_the_thought_that_the_prompt_opens(
    case: tuple[str, str], runs: dict[tuple[str, str], Run], stack: local.Stack
) -> None:
    request: dict[str, Any] = {"model": runs[case].model, "tools": [WEATHER], "temperature": 0, "max_tokens": 64}
    history: list[Any] = next(rows())["messages"]
    with openai.OpenAI(base_url=stack.base_url, api_key="none", max_retries=0) as client:
        messages = [*history, {"role": "user", "content": "And in Paris?"}]
        message = client.chat.completions.create(messages=messages, **request).choices[0].message
        assert message.model_extra is not None
        assert message.model_extra["reasoning_content"].strip() == "I look."
        assert not (message.content or "").strip()
        [call] = message.tool_calls or []
        assert json.loads(call.function.arguments) == {"city": "Paris"}
        messages += [
            {**message.model_dump(exclude_none=True), "reasoning_content": message.model_extra["reasoning_content"]},
            {"role": "tool", "tool_call_id": call.id, "content": '{"sky": "clear"}'},
        ]
        answer = client.chat.completions.create(messages=messages, **request).choices[0].message
        assert answer.content == "Sunny." if case[1] == "react_en" else answer.tool_calls
        pieces = client.chat.completions.create(messages=messages[:-2], stream=True, **request)
        deltas = [chunk.choices[0].delta for chunk in pieces if chunk.choices]
        assert (
            "".join((delta.model_extra or {}).get("reasoning_content") or "" for delta in deltas).strip() == "I look."
        )
        assert not "".join(delta.content or "" for delta in deltas).strip()
        assert json.loads("".join(c.function.arguments or "" for d in deltas for c in d.tool_calls or ())) == {
            "city": "Paris"
        }


@pytest.mark.parametrize("case", [case for case in CASES if case[1] == NATIVE])
def test_the_template_that_is_there_says_which_dialect_a_version_speaks(
    case: tuple[str, str], runs: dict[tuple[str, str], Run]
) -> None:
    found, run = manifest(runs[case]), runs[case]
    assert found.dialect == SPOKEN[case[0]]
    assert found.template is not None
    assert found.template.tools
    assert run.read_json(f"data/{parity.FILE}")["dialect"] == found.dialect


def test_a_demanded_call_is_written_as_the_template_writes_it(
    runs: dict[tuple[str, str], Run], stack: local.Stack
) -> None:
    request: dict[str, Any] = {"model": runs["qwen3_5_think", NATIVE].model, "temperature": 0, "max_tokens": 64}
    with openai.OpenAI(base_url=stack.base_url, api_key="none", max_retries=0) as client:
        made = client.chat.completions.create(
            messages=[{"role": "user", "content": "Weather?"}],
            tools=[WEATHER],  # type: ignore[list-item]
            tool_choice="required",
            **request,
        )
    [call] = made.choices[0].message.tool_calls or []
    assert json.loads(call.function.arguments) == {"city": "Paris"}


def test_a_base_as_it_is_speaks_what_its_template_writes(runs: dict[tuple[str, str], Run], stack: local.Stack) -> None:
    """Nothing names its dialect."""
    with openai.OpenAI(base_url=stack.base_url, api_key="none", max_retries=0) as client:
        made = client.chat.completions.create(
            model="as-it-is", messages=[{"role": "user", "content": "Weather?"}], tools=[WEATHER], temperature=0,
            max_tokens=64,
        )  # fmt: skip
    [call] = made.choices[0].message.tool_calls or []
    assert json.loads(call.function.arguments) == {"city": "Paris"}


def test_what_training_fixed_no_request_changes(runs: dict[tuple[str, str], Run], stack: local.Stack) -> None:
    run = runs[CASES[0]]
    refused = pytest.raises(openai.BadRequestError, match=r"chat_template_kwargs\.enable_thinking.*trained without it")
    with openai.OpenAI(base_url=stack.base_url, api_key="none", max_retries=0) as client, refused:
        client.chat.completions.create(
            model=run.model,
            messages=[{"role": "user", "content": "Hi"}],
            tools=[WEATHER],  # type: ignore[list-item]
            extra_body={"chat_template_kwargs": {"enable_thinking": False}},
        )
