"""Schemas that would hold a real engine up for good: what goes through the sidecar is answered, and what has gone past
it is noticed and ended."""

import asyncio
import json
import lzma
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from callwright import dialects
from callwright.errors import TimedOut
from callwright.server import local
from callwright.server.config import ServedModel, ServerConfig
from callwright.server.preflight import free_ports
from callwright.server.replica import Replica
from callwright.spec.model import Engine
from models import CHATML, _model

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
Figure = Callable[[str, object, object], None]
TOKENIZER = Path(__file__).resolve().parents[3] / "shared/tokenizers/qwen3/tokenizer.json.xz"
HANGS = "^(([a-z]{1,60}){1,60}){1,9}$"
USER = [{"role": "user", "content": "Hi"}]


def one(parameter: Any, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"x": parameter}, "required": ["x"], **more}


def pattern(written: str) -> dict[str, Any]:
    return one({"type": "string", "pattern": written})


def nested(keyword: str, depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for n in range(depth):
        schema = {keyword: [schema, {"type": "object", "properties": {f"k{n}": schema}, "required": [f"k{n}"]}]}
    return one(schema)


def arrays(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string", "minLength": 3, "maxLength": 900}
    for _ in range(depth):
        schema = {"type": "array", "minItems": 50, "maxItems": 1000, "items": schema}
    return one(schema)


def doubling(depth: int) -> dict[str, Any]:
    made: dict[str, Any] = {
        f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}", "title": title} for title in "ab"]} for n in range(depth)
    }
    return one({"$ref": "#/$defs/d0"}, **{"$defs": made | {f"d{depth}": {"type": "string"}}})


WEIGHTY: dict[str, dict[str, Any]] = {
    "repeats in repeats": pattern(HANGS),
    "repeats in one repeat": pattern("^([a-z]{1,40}){1,40}$"),
    "a long repeat": pattern("^.{1,20000}$"),
    "repeats in a row": pattern("^" + "[a-z]{1,60}" * 12 + "$"),
    "optional parts in a row": pattern("^" + ".?" * 200 + "$"),
    "a pattern of a name": one({"type": "object", "patternProperties": {HANGS: {}}}),
    "a pattern behind a reference": one({"$ref": "#/x"}, x={"type": "string", "pattern": HANGS}),
    "lengths that differ": {"properties": {f"p{n}": {"type": "string", "maxLength": 300 + n} for n in range(60)}},
    "10,000 values": one({"enum": [f"value {n}" for n in range(10_000)]}),
    "500,000 bytes of values": one({"enum": [f"{n} " + "x" * 5000 for n in range(100)]}),
    "nested anyOf": nested("anyOf", 11),
    "nested allOf": nested("allOf", 11),
    "products of items": arrays(6),
    "definitions that double": doubling(24),
    "a recursive reference": one({"$ref": "#"}, **{"$defs": {"n": {"anyOf": [{"$ref": "#"}, {"$ref": "#/$defs/n"}]}}}),
    "900 optional properties": {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(900)}},
}


def demanded(schema: dict[str, Any]) -> dict[str, Any]:
    """A call by this schema; beside a small tool an answer by it where a prompt has no room for it."""
    asked: dict[str, Any] = {"model": "tiny", "messages": USER, "max_tokens": 16}
    if len(json.dumps(schema)) < 1000:
        tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
        return asked | {"tools": [tool], "tool_choice": "required"}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    return asked | {"tools": [{"type": "function", "function": {"name": "f"}}], "response_format": form}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny network with a real vocabulary: what a grammar takes grows with the tokens that it has to tell apart."""
    from transformers import PreTrainedTokenizerFast

    if not TOKENIZER.exists():
        pytest.skip("needs ../shared/tokenizers")
    folder = tmp_path_factory.mktemp("model")
    (folder / "tokenizer.json").write_bytes(lzma.decompress(TOKENIZER.read_bytes()))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), eos_token="<|im_end|>", chat_template=CHATML
    )
    tokenizer.save_pretrained(folder)
    _model(len(tokenizer), hidden=32).save_pretrained(folder)
    return folder


def config(model: Path, **settings: Any) -> ServerConfig:
    served = ServedModel(id="tiny", path=str(model), engine=Engine(dtype="float32", max_model_len=2048))
    return ServerConfig(models=(served,), kv_cache_bytes=64 * 1024**2, forced_call_seconds=5, **settings)


@pytest.fixture(scope="module")
def stack(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[local.Stack]:
    port, engine_port = free_ports(2)
    folder = tmp_path_factory.mktemp("served")
    with local.serving(config(model, port=engine_port), workdir=folder, port=port, dialects={"*": "hermes"}) as made:
        yield made


def ask(stack: local.Stack, body: dict[str, Any], seconds: float = 60) -> httpx.Response:
    return httpx.post(f"{stack.base_url}/chat/completions", json=body, timeout=seconds)


@pytest.mark.slow
def test_every_weighty_schema_is_answered_and_so_is_the_next_forced_call(stack: local.Stack, figure: Figure) -> None:
    taken = {}
    for name, schema in WEIGHTY.items():
        began = time.monotonic()
        answer = ask(stack, demanded(schema))
        assert answer.status_code == 200, (name, answer.text)
        taken[name] = time.monotonic() - began
        assert ask(stack, demanded(pattern("^[a-z]{1,9}$"))).status_code == 200, name
    worst = max(taken, key=lambda name: taken[name])
    figure(f"{len(taken)} weighty schemas on vLLM: the slowest ({worst}), s", f"{taken[worst]:.1f}", "answered")


def test_weighty_forms_of_a_client_s_own_are_refused_before_the_engine(stack: local.Stack) -> None:
    plain = {"model": "tiny", "messages": USER, "max_tokens": 16}
    for form in (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": pattern(HANGS)}}},
        {"structured_outputs": {"regex": HANGS}},
        {"structured_outputs": {"json": json.dumps(pattern(HANGS))}},
        {"structured_outputs": {"grammar": f"root ::= {HANGS[1:-1]}"}},
    ):
        answer = ask(stack, plain | form)
        assert (answer.status_code, "too weighty" in answer.text) == (400, True), form
    assert ask(stack, demanded(pattern("^[a-z]{1,9}$"))).status_code == 200


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("dialect", ["hermes", "react_en"])
def test_a_typed_answer_beside_tools_is_a_call_or_the_answer(
    stack: local.Stack, model: Path, dialect: str, stream: bool
) -> None:
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(model / "tokenizer.json"))
    schema = one({"type": "integer"}, additionalProperties=False)
    tool = {"type": "function", "function": {"name": "find_route", "parameters": one({"type": "integer"})}}
    asked = {
        "model": "tiny", "messages": USER, "max_tokens": 100, "tools": [tool], "tools_prompt": dialect, "n": 2,
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}},
    }  # fmt: skip
    spoken = dialects.load(dialect)
    begins = {True: spoken.call_frame("find_route")[0], False: "".join(spoken.answer_frame()) + "{"}
    for calls, begin in begins.items():  # what the model would write decides
        first = tokenizer.encode(begin, add_special_tokens=False)[0]
        for made in turns(stack, asked | {"logit_bias": {str(first): 60}}, stream):
            if made["finish_reason"] == "length":
                continue  # a number of 100 digits
            assert bool(made["calls"]) == calls, (begin, made)
            for written in made["calls"] or [made["content"]]:
                assert isinstance(json.loads(written)["x"], int)


def turns(stack: local.Stack, asked: dict[str, Any], stream: bool) -> list[dict[str, Any]]:
    """The content, the calls' arguments and the reason of each choice of an answer, whole or as its events say."""
    made: list[dict[str, Any]] = [{"content": "", "calls": [], "finish_reason": None} for _ in range(asked["n"])]
    answer = ask(stack, asked | {"stream": stream})
    assert answer.status_code == 200, answer.text
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: {")]
    for event in map(json.loads, lines if stream else [answer.text]):
        for choice in event["choices"]:
            said, turn = choice.get("delta") or choice.get("message") or {}, made[choice["index"]]
            turn["content"] += said.get("content") or ""
            turn["finish_reason"] = choice["finish_reason"] or turn["finish_reason"]
            for call in said.get("tool_calls") or ():
                turn["calls"] += [""] if call.get("id") else []
                turn["calls"][-1] += call["function"].get("arguments") or ""
    return made


async def noticed(path: str) -> float:
    """Seconds until a replica finds an engine unhealthy that has got a grammar without end; plain answers go on."""
    made = Replica.__new__(Replica)
    await made.__init__(config(Path(path)).model_dump(mode="json"))  # type: ignore[misc]
    app: Any = await made.__serve_build_asgi_app__()
    plain = {"model": "tiny", "messages": USER, "max_tokens": 1}
    held = {"structured_outputs": {"structural_tag": json.dumps(
        {"type": "structural_tag", "format": {"type": "json_schema", "json_schema": pattern(HANGS)}}
    )}}  # fmt: skip
    await made.check_health()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://e", timeout=None) as client:
        hung = [asyncio.create_task(client.post("/v1/chat/completions", json=plain | held)) for _ in range(8)]
        began = time.monotonic()
        while True:
            assert (await client.post("/v1/chat/completions", json=plain)).status_code == 200
            try:
                await made.check_health()
            except TimedOut:
                break
            await asyncio.sleep(0.2)
        seconds = time.monotonic() - began
        with pytest.raises(TimedOut):
            await made.check_health()
        for task in hung:
            task.cancel()
    made.__del__()
    while any(child.status() != psutil.STATUS_ZOMBIE for child in psutil.Process().children()):
        await asyncio.sleep(0.2)
    return seconds


def _noticed(path: str) -> float:
    return asyncio.run(noticed(path))


@pytest.mark.slow
def test_a_replica_whose_forced_calls_hang_is_unhealthy_and_can_be_ended(model: Path, figure: Figure) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        seconds = pool.submit(_noticed, str(model)).result()
    figure("forced calls hang in the engine: a replica notices, s", f"{seconds:.0f}", "forced_call_seconds (5) later")


@pytest.mark.slow
def test_serve_replaces_a_replica_whose_forced_calls_hang(stack: local.Stack, figure: Figure) -> None:
    engine = json.loads((stack.server.log.parent / "server.json").read_text())
    held = {"type": "json_schema", "json_schema": {"name": "n", "schema": pattern(HANGS)}}
    body = {"model": "tiny", "messages": USER, "max_tokens": 4, "response_format": held}
    url = f"http://127.0.0.1:{engine['port']}/v1/chat/completions"  # past the sidecar

    def hang() -> None:
        with pytest.raises(httpx.HTTPError):
            httpx.post(url, json=body, timeout=30).raise_for_status()

    callers = [threading.Thread(target=hang) for _ in range(8)]
    began = time.monotonic()
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    while True:
        try:
            if ask(stack, demanded(pattern("^[a-z]{1,9}$")), seconds=5).status_code == 200:
                break
        except httpx.HTTPError:
            pass
        assert time.monotonic() - began < 300
    figure("forced calls hang in the engine: Serve has another, s", f"{time.monotonic() - began:.0f}", "at most 300")
