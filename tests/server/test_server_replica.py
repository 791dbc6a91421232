"""A replica around a real vLLM engine: ready when it has made a token, unavailable, with words, when it has died."""

import asyncio
import multiprocessing
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from callwright.server.config import ServedModel, ServerConfig
from callwright.server.replica import Replica
from callwright.server.scaling import FIRST_TOKEN_SECONDS
from callwright.spec.model import Engine
from models import scripted_model

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
QUESTION = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}


async def replica(path: str) -> Replica:
    model = ServedModel(id="m", path=path, engine=Engine(dtype="float32", max_model_len=512))
    made = Replica.__new__(Replica)
    await made.__init__(ServerConfig(models=(model,), kv_cache_bytes=64 * 1024**2).model_dump(mode="json"))  # type: ignore[misc]
    return made


async def answers_before_and_after_death(path: str) -> list[tuple[int, str]]:
    serving = await replica(path)
    app: Any = await serving.__serve_build_asgi_app__()
    answers = []
    canary = httpx.ASGITransport(app, root_path="/canary")  # as Serve asks an application with that prefix
    async with httpx.AsyncClient(transport=canary, base_url="http://engine", timeout=60) as client:
        answer = await client.post("/canary/v1/chat/completions", json=QUESTION)
        answers.append((answer.status_code, answer.text))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://engine", timeout=60) as client:
        for step in ("alive", "dying", "dead"):
            if step == "dying":
                for process in psutil.Process().children():
                    process.kill()
            answer = await client.post("/v1/chat/completions", json=QUESTION)
            answers.append((answer.status_code, answer.text))
            if step == "alive":
                assert 0 < (await serving.record_autoscaling_stats())[FIRST_TOKEN_SECONDS] < 60
    with pytest.raises(Exception, match="EngineCore"):
        await serving.check_health()
    return answers


async def words_of_a_first_token_that_fails(path: str) -> str:
    from vllm.v1.engine.async_llm import AsyncLLM

    async def failing(*arguments: Any, **options: Any) -> AsyncIterator[None]:
        raise RuntimeError("no C++ compiler")
        yield

    AsyncLLM.generate = failing  # type: ignore[method-assign, assignment]
    with pytest.raises(Exception, match="first token") as failed:
        await replica(path)
    return f"{type(failed.value).__name__}: {failed.value}"


def elsewhere(work: Any, path: Path) -> Any:
    """Do it in a process of its own: vLLM keeps much of its state in its process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_run, work, str(path)).result()


def _run(work: Any, path: str) -> Any:
    made: Coroutine[Any, Any, Any] = work(path)
    return asyncio.run(made)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scripted_model(tmp_path_factory.mktemp("model"))


def test_a_dead_engine_is_unavailable_and_says_so(model: Path) -> None:
    below_a_prefix, alive, *dead = elsewhere(answers_before_and_after_death, model)
    assert (below_a_prefix[0], alive[0]) == (200, 200)
    assert [status for status, _ in dead] == [503, 503]
    assert all("EngineCore encountered an issue" in text for _, text in dead)


def test_a_replica_is_not_ready_before_its_engine_has_generated_a_token(model: Path) -> None:
    words = elsewhere(words_of_a_first_token_that_fails, model)
    assert words == "StageFailed: starting the engine of model m: its first token failed: no C++ compiler"
