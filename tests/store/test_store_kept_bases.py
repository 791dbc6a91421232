"""A base of the hub is in the store once for all runs, for as long as one asks for it."""

import json
import os
import time
from datetime import timedelta
from pathlib import Path

import pytest

from callwright.cli import models
from callwright.errors import Conflict, NotFound, Unavailable
from callwright.store import Store, claimed, delete_bases, keep_base, kept_base, resolve_base, unused_bases
from hub import COMMIT, serving_hub

DAY = timedelta(days=1)


def test_a_base_of_the_hub_is_kept_once_and_found_by_its_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the commit that the first run saw; one that is deleted comes from the hub again."""
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


def test_weights_that_a_hub_does_not_bring_are_no_fault_of_the_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose settings are in the cache, and perhaps a part of the weights."""
    from huggingface_hub import constants

    folder, cache = tmp_path / "hub", tmp_path / "cache"
    folder.mkdir()
    index = {"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}
    files = {"config.json": "{}", "model.safetensors.index.json": json.dumps(index)}
    for name, text in (files | {"1.safetensors": "one", "2.safetensors": "two"}).items():
        (folder / name).write_text(text)
    with serving_hub("owner/model", folder) as (url, _):
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
        settings = resolve_base("owner/model", None, cache, weights=False)
    with pytest.raises(Unavailable, match="owner/model; the hub does not answer"):
        resolve_base("owner/model", None, cache)
    (settings / "1.safetensors").write_text("one")
    with pytest.raises(Unavailable, match="owner/model; the hub does not answer"):
        resolve_base("owner/model", None, cache)


def test_a_base_of_the_hub_without_weights_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    (tmp_path / "config.json").write_text("{}")
    with serving_hub("owner/model", tmp_path) as (url, _):
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
        with pytest.raises(NotFound, match=r"reading the base owner/model: no model\.safetensors"):
            resolve_base("owner/model", None, tmp_path / "cache")


@pytest.mark.parametrize("base", ["s3://bucket/base", "/models/base", "./base"])
def test_what_is_no_hub_s_stays_where_it_is(tmp_path: Path, base: str) -> None:
    store = Store.open((tmp_path / "store").as_uri())
    keep_base(store, "one", base, None, tmp_path / "cache")
    assert store.list() == []
    assert kept_base(store, "one", base, None) == (base, None)


def put(store: Store, base: str, *names: str, commit: str = COMMIT, days: float = 0, runs: tuple[str, ...] = ()) -> str:
    """A base as `keep_base` leaves it, so many days ago, with the runs that were prepared with it; returns its key."""
    key = f"bases/{base}/{commit}"
    keys = {f"{key}/{name}": b"{}" for name in names or ("config.json", "model.safetensors")}
    keys |= {f"runs/{run}/base.json": json.dumps({"base": base, "key": key}).encode() for run in runs}
    for path, data in keys.items():
        store.put_bytes(path, data)
        age(store, path, days)
    return key


def age(store: Store, key: str, days: float) -> None:
    assert store.root is not None
    then = time.time() - days * 86400
    os.utime(store.root / key, (then, then))


@pytest.fixture
def folder(tmp_path: Path) -> Store:
    return Store.open((tmp_path / "store").as_uri())


def test_bases_that_no_run_asks_for_any_more_are_deleted(folder: Store) -> None:
    put(folder, "owner/old", days=40, runs=("a",))
    put(folder, "owner/old", commit="1" * 40, days=40, runs=("b", "c"))
    age(folder, "runs/c/base.json", 2)
    put(folder, "owner/nobodys", days=31)
    put(folder, "owner/new", days=29)
    put(folder, "owner/broken", "model.safetensors", days=1)
    put(folder, "owner/coming", "model.safetensors")
    held = put(folder, "owner/held", "model.safetensors", days=1)
    put(folder, "somebody/else", commit="v1", days=400)
    with claimed(folder, f"{held}.claim.json"):
        found = unused_bases(folder, unused=30 * DAY)
    assert {each.base for each in found} == {"owner/old", "owner/nobodys", "owner/broken"}
    assert {each.commit for each in found} == {COMMIT}
    delete_bases(folder, found)
    left = {"/".join(entry.key.split("/")[1:4]) for entry in folder.list("bases")}
    assert left == {
        f"owner/old/{'1' * 40}",
        f"owner/new/{COMMIT}",
        f"owner/coming/{COMMIT}",
        f"owner/held/{COMMIT}",
        "somebody/else/v1",
    }
    assert kept_base(folder, "a", "owner/old", "main") == ("owner/old", "main"), "from the hub again"


def test_a_base_that_a_run_puts_there_is_not_deleted(folder: Store) -> None:
    key = put(folder, "owner/old", days=40)
    found = unused_bases(folder, unused=30 * DAY)
    with claimed(folder, f"{key}.claim.json"), pytest.raises(Conflict, match="is at it"):
        delete_bases(folder, found)
    assert len(folder.list(key)) == 2


def test_a_base_is_never_half_there_when_it_is_deleted(folder: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    key = put(folder, "owner/old", "a.json", "config.json", "model.safetensors", days=40)
    monkeypatch.setattr(Store, "delete", lambda self, prefix: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        delete_bases(folder, unused_bases(folder, unused=30 * DAY))
    assert not folder.exists(f"{key}/config.json")
    (left,) = unused_bases(folder, unused=30 * DAY)
    assert left.why == "never finished: no config.json"


def test_the_command_deletes_them_unless_it_is_to_clear_one_model(
    folder: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    key = put(folder, "owner/old", days=40)
    asked = {"keep": 5, "grace_minutes": 60.0, "store": folder.url, "json": False}
    models.gc(name="m", base_days=30, dry_run=False, **asked)
    models.gc(name=None, base_days=41, dry_run=False, **asked)
    assert folder.exists(f"{key}/config.json")
    models.gc(name=None, base_days=30, dry_run=True, **asked)
    assert f"would delete base owner/old {COMMIT}: no run was prepared with it for 30 days" in capsys.readouterr().out
    models.gc(name=None, base_days=30, dry_run=False, **asked)
    assert folder.list() == []
