"""Weights that a real engine streams from a real store, past the node's cache."""

import asyncio
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from buckets import BUCKET
from callwright.errors import StageFailed
from callwright.server import sources
from callwright.server.config import ServedModel, ServerConfig
from callwright.server.replica import Replica
from callwright.spec.model import Engine
from callwright.store import Store
from models import scripted_model
from versions import publish_version

QUESTION = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}


def served(store: str, cache: Path, load_format: str = "runai_streamer") -> ServerConfig:
    engine = Engine(dtype="float32", max_model_len=512, extra={"load_format": load_format})
    model = ServedModel(id="m", name="m", version="v1", engine=engine)
    return ServerConfig(models=(model,), store=store, cache_dir=str(cache), kv_cache_bytes=64 * 1024**2)


def publish(store: Store, folder: Path) -> None:
    content = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    publish_version(store, "v1", content)


@pytest.fixture
def config(s3: str, tmp_path: Path) -> ServerConfig:
    store = Store.open(f"s3://{BUCKET}/{tmp_path.name}")
    publish_version(store, "v1", {"config.json": b"{}", "model.safetensors": b"weights"})
    return served(store.url, tmp_path / "cache")


async def _answer(config: dict[str, Any]) -> tuple[int, list[str]]:
    replica = Replica.__new__(Replica)
    await replica.__init__(config)  # type: ignore[misc]
    app: Any = await replica.__serve_build_asgi_app__()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://engine", timeout=60) as client:
        answer = await client.post("/v1/chat/completions", json=QUESTION)
    await replica.check_health()
    replica.__del__()
    return answer.status_code, sorted(path.name for path in Path(config["cache_dir"]).glob("m/*/*"))


def _answered(config: dict[str, Any]) -> tuple[int, list[str]]:
    return asyncio.run(_answer(config))


@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_an_engine_streams_the_weights_and_the_cache_has_the_rest(s3: str, tmp_path: Path) -> None:
    model = scripted_model(tmp_path / "model")
    store = Store.open(f"s3://{BUCKET}/streamed")
    publish(store, model)
    config = served(store.url, tmp_path / "cache")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        status, cached = pool.submit(_answered, config.model_dump(mode="json")).result()
    assert status == 200
    rest = {path.name for path in model.iterdir() if path.suffix not in (".safetensors", ".bin")}
    assert set(cached) == rest | {"manifest.json"}


def test_of_a_streamed_version_the_cache_has_and_watches_all_but_the_weights(config: ServerConfig) -> None:
    (model,) = config.models
    folder = sources.model_directory(model, config)
    assert {path.name for path in folder.iterdir()} == {"config.json", "manifest.json"}
    assert sources.published_files(model, config, folder).keys() == {"config.json"}
    assert sources.weights_url(model, config) == f"{config.store}/models/m/versions/v1"
    sources.check_streamed(model, config)
    whole = served(str(config.store), Path(config.cache_dir), "safetensors")
    assert {path.name for path in sources.model_directory(whole.models[0], whole).iterdir()} == {
        "config.json", "manifest.json", "model.safetensors",
    }  # fmt: skip


@pytest.mark.parametrize("change", ["gone", "another size", "one more"])
def test_weights_in_the_store_that_were_not_published_so_are_not_streamed(config: ServerConfig, change: str) -> None:
    """An engine takes every weight that lies there."""
    store, below = Store.open(str(config.store)), "models/m/versions/v1"
    if change == "gone":
        store.delete_keys([f"{below}/model.safetensors"])
    else:
        store.put_bytes(f"{below}/{'other' if change == 'one more' else 'model'}.safetensors", b"weight")
    name = "other" if change == "one more" else "model"
    with pytest.raises(StageFailed, match=rf"not what was published: {name}\.safetensors; run"):
        sources.check_streamed(config.models[0], config)


def test_nothing_is_streamed_from_a_folder(tmp_path: Path) -> None:
    config = served((tmp_path / "store").as_uri(), tmp_path / "cache")
    assert sources.weights_url(config.models[0], config) is None
