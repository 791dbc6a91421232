"""Where a base is: a directory, a store URL, or the hub; and what is said when it is not there."""

from pathlib import Path

import pytest

from callwright.errors import InvalidInput, NotFound
from callwright.store import Store, keep_base, kept_base, resolve_base
from hub import COMMIT, serving_hub


def test_a_directory_is_used_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base/config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert resolve_base("base") == Path("base")
    assert resolve_base(str(tmp_path / "base")) == tmp_path / "base"


def test_what_is_no_model_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"has no config\.json"):
        resolve_base(str(tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(NotFound, match="is a file"):
        resolve_base(str(tmp_path / "file"))
    for base in ("./nowhere", "/no/where/at/all", "nowhere"):
        with pytest.raises(NotFound, match=f"no directory {base}"):
            resolve_base(base)


def test_a_store_url_is_copied_once_and_again_when_it_changes(tmp_path: Path) -> None:
    store = Store.open((tmp_path / "store").as_uri())
    opened: list[str] = []

    def open_store(url: str) -> Store:
        opened.append(url)
        return store

    def resolve() -> Path:
        return resolve_base("s3://bucket/base", None, tmp_path / "cache", open_store=open_store)

    with pytest.raises(NotFound, match=r"s3://bucket/base has no config\.json"):
        resolve()
    store.put_bytes("config.json", b"{}")
    store.put_bytes("model.safetensors", b"one")
    first = resolve()
    assert (first / "model.safetensors").read_bytes() == b"one"
    assert resolve() == first
    store.put_bytes("model.safetensors", b"other")
    second = resolve()
    assert second != first
    assert (second / "model.safetensors").read_bytes() == b"other"
    with pytest.raises(InvalidInput, match="cache directory"):
        resolve_base("s3://bucket/base")


def test_the_hub_is_asked_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    (tmp_path / "config.json").write_text("{}")
    asked: list[tuple[object, ...]] = []

    def download(base: str, **options: object) -> str:
        asked.append((base, options["revision"], options["cache_dir"]))
        if base == "no/model":
            raise huggingface_hub.errors.LocalEntryNotFoundError("offline")
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert resolve_base("some/model", "abc", tmp_path / "cache") == tmp_path
    assert asked == [("some/model", "abc", tmp_path / "cache")]
    from callwright.errors import Unavailable

    with pytest.raises(Unavailable, match="the hub does not answer: offline"):
        resolve_base("no/model")


def test_a_base_of_the_hub_is_kept_once_and_found_by_its_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the commit that the first run saw; one that is cleared away comes from the hub again."""
    from huggingface_hub import constants

    folder, store = tmp_path / "hub", Store.open((tmp_path / "store").as_uri())
    folder.mkdir()
    for name, text in (("config.json", "{}"), ("model.safetensors", "weights"), ("code.py", "print()")):
        (folder / name).write_text(text)
    with serving_hub("owner/model", folder) as (url, asked):
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
        settings = resolve_base("owner/model", None, tmp_path / "settings", weights=False)
        assert [path.name for path in settings.iterdir()] == ["config.json"]
        keep_base(store, "one", "owner/model", None, tmp_path / "cache")
        keep_base(store, "two", "owner/model", None, tmp_path / "cache")
        downloads = [each for each in asked if each == f"GET /owner/model/resolve/{COMMIT}/model.safetensors"]
        assert len(downloads) == 1
    key = f"bases/owner/model/{COMMIT}"
    assert [entry.key for entry in store.list(key)] == [f"{key}/config.json", f"{key}/model.safetensors"]
    kept = kept_base(store, "two", "owner/model", "main")
    assert kept == (f"{store.url}/{key}", None)
    found = resolve_base(*kept, tmp_path / "pod")
    assert (found / "model.safetensors").read_text() == "weights"
    few = resolve_base(*kept, tmp_path / "pod", weights=False)
    assert [path.name for path in few.iterdir()] == ["config.json"]
    assert kept_base(store, "three", "owner/model", "main") == ("owner/model", "main")
    store.delete(key)
    assert kept_base(store, "two", "owner/model", "main") == ("owner/model", "main")


@pytest.mark.parametrize("base", ["s3://bucket/base", "/models/base", "./base"])
def test_what_is_no_hub_s_stays_where_it_is(tmp_path: Path, base: str) -> None:
    store = Store.open((tmp_path / "store").as_uri())
    keep_base(store, "one", base, None, tmp_path / "cache")
    assert store.list() == []
    assert kept_base(store, "one", base, None) == (base, None)
