"""Files of models and adapters: from directories and from a real store, without an engine."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

from callwright.errors import InvalidInput, NotFound
from callwright.server import sources
from callwright.server.config import ServedAdapter, ServedModel, ServerConfig
from callwright.store import Cache, Store, fetch_folder
from versions import publish_version


@pytest.fixture
def config(tmp_path: Path) -> ServerConfig:
    model = ServedModel(id="m", path="/models/m")
    return ServerConfig(models=(model,), store=f"file://{tmp_path}/store", cache_dir=str(tmp_path / "cache"))


def put_adapter(config: ServerConfig, weights: bytes) -> None:
    store = Store.open(str(config.store))
    store.put_bytes("runs/first/adapter/adapter_config.json", json.dumps({"r": 6}).encode())
    store.put_bytes("runs/first/adapter/adapter_model.safetensors", weights)


def test_a_run_s_adapter_is_brought_once_and_anew_when_it_changes(config: ServerConfig) -> None:
    adapter = ServedAdapter(id="a", path="run:first")
    put_adapter(config, b"one")
    folder = sources.adapter_directory(adapter, config)
    assert sources.adapter_rank(folder) == 6
    assert (folder / "adapter_model.safetensors").read_bytes() == b"one"
    assert sources.adapter_directory(adapter, config) == folder
    put_adapter(config, b"another")
    changed = sources.adapter_directory(adapter, config)
    assert changed != folder
    assert (changed / "adapter_model.safetensors").read_bytes() == b"another"


@pytest.mark.parametrize(
    ("written", "rank"),
    [
        ({"r": 8, "rank_pattern": {"q_proj": 32}}, 32),
        ({"r": 64, "rank_pattern": {"q_proj": 32, "k_proj": 4}}, 64),
        ({"r": 16, "rank_pattern": {}}, 16),
        ({"r": 16}, 16),
    ],
)
def test_an_adapters_rank_is_the_largest_of_its_modules(written: dict[str, object], rank: int, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps(written))
    assert sources.adapter_rank(tmp_path) == rank


@pytest.mark.parametrize(
    "written",
    [{"r": "8"}, {"r": 0}, {"r": True}, {"r": 8, "rank_pattern": None}, {"r": 8, "rank_pattern": {"(": 9}}, []],
    ids=str,
)
def test_an_adapter_without_a_rank_is_refused_by_its_file(written: object, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps(written))
    with pytest.raises(InvalidInput, match=r"adapter_config\.json: "):
        sources.adapter_rank(tmp_path)


def test_what_is_not_there(config: ServerConfig, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        sources.adapter_directory(ServedAdapter(id="a", path="run:none"), config)
    with pytest.raises(NotFound):
        sources.model_directory(ServedModel(id="n", name="none", version="v1"), config)
    with pytest.raises(NotFound, match="adapter_config"):
        sources.adapter_rank(tmp_path)
    with pytest.raises(InvalidInput, match="store"):
        sources.model_directory(ServedModel(id="n", name="n"), config.model_copy(update={"store": None}))


def test_a_base_that_another_process_has_fetched_stays_while_it_is_served(config: ServerConfig, tmp_path: Path) -> None:
    """As an init container does, which leaves a link to it."""
    store, cache = Store.open(str(config.store)), Cache(Path(config.cache_dir))
    for name in ("base", "other"):
        store.put_bytes(f"{name}/config.json", b"{}")
        store.put_bytes(f"{name}/model.safetensors", bytes(200_000))
    publish_version(store, "v1", {"model.safetensors": bytes(300_000)})
    (tmp_path / "link").symlink_to(fetch_folder(store, "base", cache.folder, "base"))
    other = fetch_folder(store, "other", cache.folder, "other")
    cache.release()
    models = (ServedModel(id="m", name="m", version="v1"), ServedModel(id="b", path=str(tmp_path / "link")))
    tight = config.model_copy(update={"models": models, "cache_bytes": 600_000, "cache_free_bytes": 0})
    sources.hold_folders(tight)
    try:
        sources.model_directory(models[0], tight)
        assert (tmp_path / "link" / "config.json").exists()
        assert not other.exists()
    finally:
        sources.release(tight)


def test_directories_are_used_where_they_are(config: ServerConfig) -> None:
    assert sources.model_directory(config.models[0], config) == Path("/models/m")
    assert sources.adapter_directory(ServedAdapter(id="a", path="/adapters/a"), config) == Path("/adapters/a")


def test_another_base_under_the_same_id_is_another_version(config: ServerConfig, tmp_path: Path) -> None:
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"

    def version(name: str, template: str, *special: str) -> str:
        core = Tokenizer(models.BPE(vocab={c: n for n, c in enumerate(sorted(ByteLevel.alphabet()))}, merges=[]))
        core.pre_tokenizer = ByteLevel(add_prefix_space=False)
        core.add_special_tokens(["<|end|>", *special])
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|end|>", chat_template=template)
        tokenizer.save_pretrained(tmp_path / name)
        made = sources.manifest(ServedModel(id="m", path=str(tmp_path / name)), config, tmp_path / name)
        assert made is not None
        return made.version

    first, same = version("a", template), version("b", template)
    assert first == same
    assert first.startswith("as-it-is-")
    others = {version("c", "So: " + template), version("d", template, "<|more|>")}
    assert len(others | {first}) == 3
