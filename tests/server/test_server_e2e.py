"""Real parts end to end: Ray Serve with vLLM as a process, the sidecar as another, the OpenAI SDK as their client."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from callwright.server import local
from callwright.server.config import ServedAdapter, ServedModel, ServerConfig
from callwright.server.preflight import free_ports
from callwright.sidecar.app import create_app
from callwright.sidecar.config import SidecarConfig
from callwright.spec.model import Engine
from callwright.store import Store
from fakes import Served
from listening import beyond_loopback
from models import WEATHER, scripted_model, tiny_adapter, tiny_model
from versions import publish_version

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
SWITCH = {
    "type": "function",
    "function": {
        "name": "switch",
        "parameters": {
            "type": "object",
            "properties": {"on": {"type": "boolean"}, "room": {"enum": ["hall", "attic"]}},
            "required": ["on", "room"],
            "additionalProperties": False,
        },
    },
}
USER = [{"role": "user", "content": "What is the weather in Paris?"}]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> ServerConfig:
    """Two models in one application: a version that follows a script, one with random weights and a run's adapter."""
    folder = tmp_path_factory.mktemp("served")
    engine = Engine(dtype="float32", max_model_len=2048)
    scripted, tiny = scripted_model(folder / "scripted"), tiny_model(folder / "tiny")
    store = Store.open((folder / "store").as_uri())
    files = {file.name: file.read_bytes() for file in scripted.iterdir()}
    publish_version(store, "v1", files, name="scripted", dialect="react_en")
    store.put_tree("runs/first/adapter", tiny_adapter(folder / "adapter", tiny))
    adapter = ServedAdapter(id="adapted", path="run:first")
    return ServerConfig(
        models=(
            ServedModel(id="scripted", aliases=("newest",), name="scripted", version="v1", engine=engine),
            ServedModel(id="tiny", path=str(tiny), adapters=(adapter,), engine=engine),
        ),
        port=free_ports(1)[0],
        store=store.url,
        cache_dir=str(folder / "cache"),
        kv_cache_bytes=64 * 1024**2,
    )


@pytest.fixture(scope="module")
def stack(config: ServerConfig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[local.Stack]:
    (port,) = free_ports(1, but=config.port)
    workdir = tmp_path_factory.mktemp("logs")
    with local.serving(config, workdir=workdir, port=port, dialects={"*": "react_en"}) as running:
        yield running
    assert local._session(running.server.process.pid) == []
    assert local._session(running.sidecar.process.pid) == []


@pytest.fixture(scope="module")
def client(stack: local.Stack) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=stack.base_url, api_key="none", max_retries=0) as made:
        yield made


@pytest.mark.parametrize("model", ["scripted", "newest"])
def test_call_result_answer(client: openai.OpenAI, model: str) -> None:
    request: dict[str, Any] = {"model": model, "tools": [WEATHER], "temperature": 0}
    first = client.chat.completions.create(messages=USER, **request).choices[0]
    assert first.finish_reason == "tool_calls"
    (call,) = first.message.tool_calls
    assert (call.function.name, call.function.arguments) == ("get_weather", '{"city": "Paris"}')
    result = {"role": "tool", "tool_call_id": call.id, "content": '{"celsius": 21}'}
    messages = [*USER, first.message.model_dump(exclude_none=True), result]
    second = client.chat.completions.create(messages=messages, **request).choices[0]
    assert second.finish_reason == "stop"
    assert second.message.content.endswith("It is sunny in Paris.")
    streamed = "".join(
        chunk.choices[0].delta.content or ""
        for chunk in client.chat.completions.create(messages=messages, stream=True, **request)
    )
    assert streamed == second.message.content


def test_a_streamed_call(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="scripted",
            messages=USER,
            tools=[WEATHER],
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    calls = [c for chunk in chunks if chunk.choices for c in chunk.choices[0].delta.tool_calls or ()]
    assert (calls[0].index, calls[0].type, calls[0].function.name) == (0, "function", "get_weather")
    assert "".join(c.function.arguments for c in calls) == '{"city": "Paris"}'
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "tool_calls"
    assert chunks[-1].usage.completion_tokens > 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_typed_answer_beside_tools_leaves_the_thought_and_the_call(client: openai.OpenAI, stream: bool) -> None:
    schema = {"type": "object", "properties": {"hours": {"enum": [4]}}, "required": ["hours"]}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema | {"additionalProperties": False}}}
    asked: dict[str, Any] = {"model": "scripted", "tools": [WEATHER], "response_format": form, "temperature": 0}
    messages: list[Any] = [{"role": "user", "content": "How is it in Paris?"}]
    with client.chat.completions.stream(messages=messages, **asked) as events:
        message = events.get_final_completion().choices[0].message
    if not stream:
        message = client.chat.completions.create(messages=messages, **asked).choices[0].message
    (call,) = message.tool_calls or ()
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Paris"})
    assert not message.content
    messages += [{"role": "assistant", "tool_calls": [call.model_dump()]}]
    messages += [{"role": "tool", "tool_call_id": call.id, "content": '{"sunny": 1}'}]
    answer = client.chat.completions.create(messages=messages, **asked).choices[0].message
    assert (json.loads(answer.content or ""), answer.tool_calls) == ({"hours": 4}, None)


def test_call_result_answer_in_anthropics_words(stack: local.Stack) -> None:
    """`/v1/messages`, whole and streamed."""
    tool = {key: WEATHER["function"][key] for key in ("name", "description")}
    tool["input_schema"] = WEATHER["function"]["parameters"]
    asked: dict[str, Any] = {"model": "scripted", "max_tokens": 300, "tools": [tool], "temperature": 0}

    def ask(messages: list[dict[str, Any]]) -> dict[str, Any]:
        answer = httpx.post(f"{stack.base_url}/messages", json=asked | {"messages": messages}, timeout=60)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    first = ask(USER)
    use = first["content"][-1]
    assert (first["stop_reason"], use["type"], use["name"]) == ("tool_use", "tool_use", "get_weather")
    assert use["input"] == {"city": "Paris"}
    result = {"type": "tool_result", "tool_use_id": use["id"], "content": '{"celsius": 21}'}
    messages = [*USER, {"role": "assistant", "content": first["content"]}, {"role": "user", "content": [result]}]
    second = ask(messages)
    assert second["stop_reason"] == "end_turn"
    assert second["content"][-1]["text"].endswith("It is sunny in Paris.")
    assert second["usage"]["output_tokens"] > 0
    counted = httpx.post(f"{stack.base_url}/messages/count_tokens", json=asked | {"messages": messages}, timeout=60)
    assert counted.json() == {"input_tokens": second["usage"]["input_tokens"]}
    body = asked | {"messages": messages, "stream": True}
    with httpx.stream("POST", f"{stack.base_url}/messages", json=body, timeout=60) as streamed:
        events = [json.loads(line[6:]) for line in streamed.iter_lines() if line.startswith("data: ")]
    said = [event["delta"]["text"] for event in events if event["type"] == "content_block_delta"]
    assert "".join(said) == second["content"][-1]["text"]
    assert events[-1] == {"type": "message_stop"}


def test_call_result_answer_as_responses(client: openai.OpenAI) -> None:
    """`/v1/responses`, whole and streamed."""
    request: dict[str, Any] = {"model": "scripted", "temperature": 0}
    request["tools"] = [{"type": "function", "strict": False} | WEATHER["function"]]
    first = client.responses.create(input=USER, **request)
    (call,) = [item for item in first.output if item.type == "function_call"]
    assert (call.name, call.arguments) == ("get_weather", '{"city": "Paris"}')
    result = {"type": "function_call_output", "call_id": call.call_id, "output": '{"celsius": 21}'}
    turns = [*USER, *(item.model_dump(exclude_none=True) for item in first.output), result]
    second = client.responses.create(input=turns, **request)
    assert second.output_text.endswith("It is sunny in Paris.")
    with client.responses.stream(input=turns, **request) as stream:
        assert stream.get_final_response().output_text == second.output_text


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "switch"}}])
def test_a_model_that_knows_nothing_is_held_to_the_schema(client: openai.OpenAI, choice: Any) -> None:
    answer = client.chat.completions.create(
        model="tiny",
        messages=USER,
        tools=[SWITCH],
        tool_choice=choice,
        parallel_tool_calls=False,
        seed=7,
        max_tokens=200,
    )
    (call,) = answer.choices[0].message.tool_calls
    given = json.loads(call.function.arguments)
    assert answer.choices[0].finish_reason == "tool_calls"
    assert isinstance(given["on"], bool)
    assert given["room"] in ("hall", "attic")


def test_what_the_evaluator_needs_of_the_prompt(stack: local.Stack) -> None:
    """Log probabilities of every token of a prompt, the last message left open."""
    body = {
        "model": "tiny",
        "messages": [*USER, {"role": "assistant", "content": "It rains."}],
        "max_tokens": 1,
        "prompt_logprobs": 0,
        "add_generation_prompt": False,
        "continue_final_message": True,
    }
    answer = httpx.post(f"{stack.base_url}/chat/completions", json=body, timeout=60).json()
    first, *rest = answer["prompt_logprobs"]
    assert first is None
    assert len(rest) == answer["usage"]["prompt_tokens"] - 1
    assert all(len(entry) == 1 and next(iter(entry.values()))["logprob"] < 0 for entry in rest)
    assert [next(iter(entry.values()))["decoded_token"] for entry in rest[-9:]] == list("It rains.")


def test_an_adapter_of_a_run_in_the_store_is_served_beside_its_base(client: openai.OpenAI) -> None:
    request: dict[str, Any] = {"messages": USER, "temperature": 0, "max_tokens": 20}
    said = [
        client.chat.completions.create(model=model, **request).choices[0].message.content
        for model in ("tiny", "adapted", "tiny", "adapted")
    ]
    assert said[0] == said[2] != said[1] == said[3]


def test_models_and_errors(stack: local.Stack, client: openai.OpenAI) -> None:
    assert {model.id for model in client.models.list()} == {"scripted", "newest", "scripted@v1", "tiny", "adapted"}
    for tools in ([WEATHER], openai.omit):
        with pytest.raises(openai.NotFoundError, match="nope"):
            client.chat.completions.create(model="nope", messages=USER, tools=tools)
    with pytest.raises(openai.BadRequestError, match="maximum context length"):
        client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "x" * 5000}], tools=[WEATHER]
        )
    assert all(size > 20 * 1024**2 for size in stack.peak_bytes().values())


def test_a_key_gets_its_model_and_its_tokens_of_the_version_that_the_engine_names(
    config: ServerConfig, stack: local.Stack, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Through a sidecar that has no store: the engine says which dialect it speaks, and counts."""
    caplog.set_level(logging.INFO, logger="callwright.audit")
    (tmp_path / "keys").write_text("team-a: sk-1 models=scripted tokens-per-minute=60\nteam-b: sk-2\n")
    sidecar = SidecarConfig(upstream=f"http://127.0.0.1:{config.port}", api_keys_file=str(tmp_path / "keys"))
    asked: dict[str, Any] = {"model": "scripted", "messages": USER, "tools": [WEATHER], "temperature": 0}
    with Served(create_app(sidecar)) as served, httpx.Client(base_url=served.url, timeout=60) as client:

        def ask(key: str, **changes: Any) -> httpx.Response:
            return client.post("/v1/chat/completions", json=asked | changes, headers={"x-api-key": key})

        listed = client.get("/v1/models", headers={"x-api-key": "sk-1"}).json()["data"]
        assert [(each["id"], each["callwright"]["dialect"]) for each in listed] == [("scripted", "react_en")]
        assert (ask("sk-1", model="tiny").status_code, ask("sk-3").status_code) == (404, 401)
        assert client.post("/sleep", headers={"x-api-key": "sk-2"}).status_code == 404
        streamed = ask("sk-2", stream=True, stream_options={"include_usage": True})
        usage = json.loads(streamed.text.split("data: ")[-2])["usage"]
        assert streamed.headers["x-callwright-version"] == "scripted@v1"
        whole = ask("sk-1")
        assert whole.json()["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "get_weather"
        assert whole.json()["usage"]["total_tokens"] == usage["total_tokens"] > 60
        over = ask("sk-1")
        assert (over.status_code, int(over.headers["retry-after"]) > 0) == (429, True)
        metrics = client.get("/metrics").text
    for key in ("team-a", "team-b"):
        for kind in ("prompt", "completion"):
            told = f'callwright_key_tokens_total{{key="{key}",kind="{kind}"}} {float(usage[f"{kind}_tokens"])}\n'
            assert told in metrics
    assert 'callwright_first_token_seconds_count{model="scripted",version="v1"} 1.0\n' in metrics
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "callwright.audit"]
    answered = [line for line in lines if line["calls"]]
    assert sorted((line["key"], line["model"], line["outcome"]) for line in answered) == [
        ("team-a", "scripted@v1", "ok"), ("team-b", "scripted@v1", "ok"),
    ]  # fmt: skip


def test_an_architecture_that_the_engine_lacks_is_named(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "old")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["QWenLMHeadModel"]}))
    script = (
        "import sys\nfrom callwright.server import replica\n"
        "from callwright.server.config import ServedModel, ServerConfig\n"
        "model = ServedModel(id='old', path=sys.argv[1])\n"
        "try:\n    replica._engine_config(model, ServerConfig(models=(model,)))\n"
        "except replica.InvalidInput as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True)
    assert "QWenLMHeadModel" in done.stdout, done.stderr
    assert "0.23.0" in done.stdout


def test_nothing_but_torch_s_rendezvous_listens_beyond_loopback(stack: local.Stack) -> None:
    """Neither Ray nor Serve, HAProxy, vLLM's server or the sidecar: a machine's neighbours reach no part of them."""
    pids = [pid for part in (stack.server, stack.sidecar) for pid in local._session(part.process.pid)]
    assert len(pids) > 5
    left = beyond_loopback(pids)
    assert len(left) <= 1, left
    assert all("ServeReplica" in each for each in left), left  # where vLLM has torch make its group of one process
