"""Real chat templates of six families end to end: a tiny model of each has its conversations prepared, is merged and
served by vLLM, all in one process, and gets at every turn the very tokens that its training has; two questions, tools,
results, thoughts. One is trained, measured and promoted.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import yaml
from native_bases import ANSWER, BASES, THOUGHT, Base, templates

from callwright.cli.run import do_stages, open_run, promote
from callwright.datasets import parity
from callwright.evaluator.stage import evaluate_run
from callwright.merger.stage import merge_run
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
from callwright.trainer.stage import prepare_training
from models import WEATHER, tiny_adapter

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]
NATIVE = [base for base in BASES if base.dialect in (None, "native")]
EVALUATED = next(base for base in BASES if base.spoken == "gemma")
"""The base whose run is trained and goes to its end."""
AS_IT_IS = "as-it-is"
"""That base, served beside the versions."""
every_base = pytest.mark.parametrize("base", BASES, ids=lambda base: base.name)


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


def questions() -> Iterator[dict[str, Any]]:
    """An evaluation set, of which a base gets all but the last right."""
    for number, city in enumerate(("Paris", "Paris", "Paris", "Rome")):
        call = {"name": "get_weather", "arguments": json.dumps({"city": city})}
        turn = {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": call}]}
        yield {"messages": [{"role": "user", "content": f"Weather {number} in {city}?"}, turn], "tools": [WEATHER]}


@pytest.fixture(scope="module")
def runs(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Base, Run]:
    """A run of each base, merged: that of `EVALUATED` is trained, the others' adapters change nothing."""
    folder, texts = tmp_path_factory.mktemp("templates"), templates(shared)
    corpus, asked = folder / "rows.jsonl", folder / "questions.jsonl"
    for file, made in ((corpus, rows()), (asked, questions())):
        file.write_text("".join(json.dumps(row) + "\n" for row in made))
    opened = {}
    for base in BASES:
        document = {
            "apiVersion": "callwright.io/v1alpha1",
            "kind": "FineTune",
            "metadata": {"name": base.name},
            "spec": {
                "base": {"model": str(base.write(folder / base.name, texts[base.template]))},
                "data": {"sources": [{"path": str(corpus)}], "maxLength": 4096, "testFraction": 0},
                "train": {"steps": 1, "batchSize": 1, "sequencesPerStep": 1, "learningRate": 1e-6},
                "evaluate": {
                    "sets": [{"name": "s", "path": str(asked)}],
                    "maxTokens": 64,
                    "gate": {"minAccuracy": 0.7},
                },
                "deploy": {"engine": {"dtype": "float32", "maxModelLen": 4096}},
            }
            | ({"dialect": base.dialect} if base.dialect else {}),
        }
        file = folder / f"{base.name}.yaml"
        file.write_text(yaml.safe_dump(document))
        opened[base] = open_run(file, store=(folder / "store").as_uri(), root=folder / "root")
    for base, run in opened.items():
        if base is EVALUATED:
            do_stages(run, "merge")
        else:
            prepare_training(run)
            merge_run(run, adapter_dir=tiny_adapter(folder / f"{base.name}-adapter", run.base_dir, spread=0))
    return opened


@pytest.fixture(scope="module")
def stack(runs: dict[Base, Run], tmp_path_factory: pytest.TempPathFactory) -> Iterator[local.Stack]:
    """All versions, served."""
    port, engine_port = free_ports(2)
    engine = Engine(dtype="float32", max_model_len=4096)
    [store] = {run.store.url for run in runs.values()}
    base = str(runs[EVALUATED].base_dir)
    versions = [ServedModel(id=run.model, name=run.model, version=run.version, engine=engine) for run in runs.values()]
    config = ServerConfig(
        models=(*versions, ServedModel(id=AS_IT_IS, path=base, engine=engine)),
        port=engine_port,
        store=store,
        cache_dir=str(tmp_path_factory.mktemp("cache")),
        kv_cache_bytes=64 * 1024**2,
    )
    with local.serving(config, workdir=tmp_path_factory.mktemp("served"), port=port) as running:
        yield running


@pytest.fixture
def client(stack: local.Stack) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=stack.base_url, api_key="none", max_retries=0) as made:
        yield made


def manifest(run: Run) -> Manifest:
    return Registry(run.store).manifest(run.model, run.version)


@every_base
def test_the_versions_prompts_are_what_training_saw(base: Base, runs: dict[Base, Run]) -> None:
    found = manifest(runs[base]).parity
    assert found is not None
    assert found.prompts == base.prompts
    assert (found.equal, found.difference) == (base.prompts, "")


@every_base
def test_the_engine_makes_the_same_tokens(base: Base, runs: dict[Base, Run], stack: local.Stack) -> None:
    run = runs[base]
    found = manifest(run)
    model = replace(named_dialect(found.dialect, native=base in NATIVE), template=found.template)
    for prompt in run.read_json(f"data/{parity.FILE}")["prompts"]:
        request = {"model": run.model, "messages": prompt["messages"], "tools": prompt["tools"]}
        sent = make_plan(request, model, SidecarConfig()).body
        asked = {key: sent[key] for key in _PROMPT_FIELDS if key in sent}
        answer = httpx.post(f"{stack.base_url.removesuffix('/v1')}/tokenize", json=asked)
        assert answer.status_code == 200, answer.text
        assert answer.json()["tokens"] == prompt["ids"]


@every_base
def test_thoughts_and_calls_come_out_whole_and_streamed(
    base: Base, runs: dict[Base, Run], client: openai.OpenAI
) -> None:
    request: dict[str, Any] = {"model": runs[base].model, "tools": [WEATHER], "temperature": 0, "max_tokens": 64}
    thought = THOUGHT if base.thinks else ""
    messages = [*next(rows())["messages"], {"role": "user", "content": "And in Paris?"}]
    message = client.chat.completions.create(messages=messages, **request).choices[0].message
    own = message.model_extra or {}
    assert (own.get("reasoning_content") or "").strip() == thought
    assert not (message.content or "").strip()
    [call] = message.tool_calls or []
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Paris"})

    deltas = [
        chunk.choices[0].delta
        for chunk in client.chat.completions.create(messages=messages, stream=True, **request)
        if chunk.choices
    ]
    assert "".join((delta.model_extra or {}).get("reasoning_content") or "" for delta in deltas).strip() == thought
    assert not "".join(delta.content or "" for delta in deltas).strip()
    calls = [part.function for delta in deltas for part in delta.tool_calls or ()]
    assert [part.name for part in calls if part.name] == ["get_weather"]
    assert json.loads("".join(part.arguments or "" for part in calls)) == {"city": "Paris"}

    messages += [
        {**message.model_dump(exclude_none=True), "reasoning_content": own.get("reasoning_content")},
        {"role": "tool", "tool_call_id": call.id, "content": '{"sky": "clear"}'},
    ]
    answer = client.chat.completions.create(messages=messages, **request).choices[0].message
    assert answer.content == ANSWER if base.after_result else answer.tool_calls


@pytest.mark.parametrize("base", [base for base in NATIVE if base.after_result], ids=lambda base: base.name)
def test_messages_get_the_call_and_the_answer(base: Base, runs: dict[Base, Run], stack: local.Stack) -> None:
    """Anthropic's Messages, whole and streamed."""
    url = f"{stack.base_url}/messages"
    tool = {"name": "get_weather", "input_schema": WEATHER["function"]["parameters"]}
    asked: list[dict[str, Any]] = [{"role": "user", "content": "Weather in Paris?"}]
    request = {"model": runs[base].model, "max_tokens": 64, "temperature": 0, "tools": [tool], "messages": asked}
    whole = httpx.post(url, json=request).json()
    assert whole["stop_reason"] == "tool_use"
    *_, use = whole["content"]
    assert (use["type"], use["name"], use["input"]) == ("tool_use", "get_weather", {"city": "Paris"})
    with httpx.stream("POST", url, json=request | {"stream": True}) as answer:
        events = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]
    pieces = [event["delta"].get("partial_json", "") for event in events if event["type"] == "content_block_delta"]
    assert json.loads("".join(pieces)) == {"city": "Paris"}
    result = {"type": "tool_result", "tool_use_id": use["id"], "content": '{"sky": "clear"}'}
    asked += [{"role": "assistant", "content": whole["content"]}, {"role": "user", "content": [result]}]
    answered = httpx.post(url, json=request).json()
    assert [(block["type"], block["text"]) for block in answered["content"]] == [("text", ANSWER)]


def test_a_run_of_a_native_dialect_is_measured_and_promoted(runs: dict[Base, Run], stack: local.Stack) -> None:
    """Beside its base, which speaks as its template does."""
    run = runs[EVALUATED]
    evaluate_run(run, base_url=stack.base_url, base_id=AS_IT_IS)
    promote(run)
    found = run.read_json("evaluation.json")
    assert list(found["reports"]) == ["base", "candidate"]
    assert found["accuracy"] == 0.75
    assert found["gate"]["passed"]
    assert Registry(run.store).promoted(run.model) == run.version


@pytest.mark.parametrize("base", NATIVE, ids=lambda base: base.name)
def test_the_template_that_is_there_says_which_dialect_a_version_speaks(base: Base, runs: dict[Base, Run]) -> None:
    found, run = manifest(runs[base]), runs[base]
    assert found.dialect == base.spoken
    assert found.template is not None
    assert found.template.tools
    assert run.read_json(f"data/{parity.FILE}")["dialect"] == found.dialect


@pytest.mark.parametrize("base", NATIVE, ids=lambda base: base.name)
def test_a_demanded_call_is_written_as_the_template_writes_it(
    base: Base, runs: dict[Base, Run], client: openai.OpenAI
) -> None:
    """Also one that the model would not have begun with: it thinks first."""
    only: Any = json.loads(json.dumps(WEATHER).replace('"type": "string"', '"enum": ["Paris"]'))
    made = client.chat.completions.create(
        model=runs[base].model, messages=[{"role": "user", "content": "Weather?"}], tools=[only], temperature=0,
        tool_choice="required", max_tokens=256,
    )  # fmt: skip
    [call] = made.choices[0].message.tool_calls or []
    assert json.loads(call.function.arguments) == {"city": "Paris"}


@pytest.mark.parametrize("base", NATIVE, ids=lambda base: base.name)
def test_a_strict_tool_is_called_in_the_models_own_tokens(
    base: Base, runs: dict[Base, Run], client: openai.OpenAI
) -> None:
    """A grammar takes the special tokens of a call for what they spell."""
    strict: Any = {"type": "function", "function": WEATHER["function"] | {"strict": True}}
    made = client.chat.completions.create(
        model=runs[base].model, messages=[{"role": "user", "content": "Weather?"}], tools=[strict], temperature=0,
        max_tokens=64,
    )  # fmt: skip
    [call] = made.choices[0].message.tool_calls or []
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    assert made.usage is not None
    assert made.usage.completion_tokens < len(base.said)


def test_a_base_as_it_is_speaks_what_its_template_writes(client: openai.OpenAI) -> None:
    """Nothing names its dialect."""
    made = client.chat.completions.create(
        model=AS_IT_IS, messages=[{"role": "user", "content": "Weather?"}], tools=[WEATHER], temperature=0,
        max_tokens=64,
    )  # type: ignore[call-overload]  # fmt: skip
    [call] = made.choices[0].message.tool_calls or []
    assert json.loads(call.function.arguments) == {"city": "Paris"}


def test_what_training_fixed_no_request_changes(runs: dict[Base, Run], client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=r"chat_template_kwargs\.enable_thinking.*trained without it"):
        client.chat.completions.create(
            model=runs[BASES[0]].model,
            messages=[{"role": "user", "content": "Hi"}],
            tools=[WEATHER],  # type: ignore[list-item]
            extra_body={"chat_template_kwargs": {"enable_thinking": False}},
        )
