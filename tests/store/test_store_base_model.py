"""Where a base is: a directory, a store URL, or the hub; and what is said when it is not there."""

import json
from pathlib import Path

import pytest

from callwright.errors import InvalidInput, NotFound
from callwright.store import Store, check_weights, resolve_base


def test_a_directory_is_used_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base/config.json").write_text("{}")
    (tmp_path / "base/model.safetensors").write_bytes(b"")
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


SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 4400000000\n"


def placed(*files: str) -> str:
    """An index of weights in these files."""
    return json.dumps({"weight_map": {f"tensor {file}": file for file in files}})


@pytest.mark.parametrize(
    ("files", "kind", "told"),
    [
        ({}, NotFound, "no model.safetensors and no .* there; expected its weights as safetensors"),
        ({"pytorch_model.bin": ""}, NotFound, "save it with safe_serialization"),
        (
            {"adapter_config.json": "{}", "adapter_model.safetensors": ""},
            NotFound,
            "it is an adapter; expected a whole",
        ),
        ({SINGLE: "", "tokenizer.json": POINTER}, InvalidInput, "tokenizer.json: got a pointer of Git LFS"),
        ({SINGLE: POINTER}, InvalidInput, "model.safetensors: got a pointer of Git LFS in place of the file; run"),
        ({INDEX: placed("1.safetensors"), "1.safetensors": POINTER}, InvalidInput, "got a pointer of Git LFS"),
        ({INDEX: placed("1.safetensors", "2.safetensors"), SINGLE: ""}, InvalidInput, f"is there; delete {INDEX}"),
        ({"deeper/model.safetensors": ""}, NotFound, "no model.safetensors"),
        ({INDEX: placed("1.safetensors")}, NotFound, r"not there: 1\.safetensors; bring"),
        ({INDEX: placed("w/1.safetensors"), "w/1.safetensors": ""}, InvalidInput, "names w/1.safetensors; expected"),
        ({INDEX: placed("1.bin"), "1.bin": ""}, InvalidInput, "names 1.bin; expected safetensors files beside it"),
        ({INDEX: "{"}, InvalidInput, f"/{INDEX}: line 1: not JSON"),
        ({INDEX: '{"weight_map": {}}'}, InvalidInput, "got no weight_map"),
        ({INDEX: '{"weight_map": ["a"]}'}, InvalidInput, "got no weight_map"),
        ({INDEX: placed("1.safetensors"), "1.safetensors": "", SINGLE: ""}, InvalidInput, "an index of 1 files"),
        (
            {INDEX: placed("1.safetensors", SINGLE), "1.safetensors": "", SINGLE: ""},
            InvalidInput,
            "an index of 2 files",
        ),
    ],
)
def test_a_base_without_its_weights_is_refused_wherever_it_is(
    tmp_path: Path, files: dict[str, str], kind: type[Exception], told: str
) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for name, text in ({"config.json": "{}"} | files).items():
        (base / name).parent.mkdir(exist_ok=True)
        (base / name).write_text(text)
    url = base.as_uri()
    for asked in (
        lambda: resolve_base(str(base)),
        lambda: resolve_base(url, None, tmp_path / "whole"),
        lambda: check_weights(str(base), tmp_path / "few"),
        lambda: check_weights(url, tmp_path / "few"),
    ):
        with pytest.raises(kind, match=told) as refused:
            asked()
        assert str(base) in str(refused.value), "and no folder of a cache"


def test_the_settings_of_a_base_are_to_be_had_without_its_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert resolve_base(str(tmp_path), weights=False) == tmp_path


@pytest.mark.parametrize("index", [None, "model.safetensors", "1.safetensors"])
def test_weights_in_one_file_or_by_an_index_are_taken(tmp_path: Path, index: str | None) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    (base / (index or "model.safetensors")).write_bytes(b"")
    if index:
        (base / INDEX).write_text(placed(index))
    assert resolve_base(str(base)) == base
    check_weights(base.as_uri(), tmp_path / "few")


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
    (tmp_path / "model.safetensors").write_bytes(b"")
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
