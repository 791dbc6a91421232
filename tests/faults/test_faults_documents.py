"""Documents, corpora and folders of models that somebody made to hurt: refused by name, in bounded memory."""

import gzip
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from kubernetes.config import kube_config
from pyarrow import parquet

from callwright import spec
from callwright.controller.cluster import connect
from callwright.datasets import sources
from callwright.errors import CallwrightError, InvalidInput
from callwright.merger.adapter import open_adapter
from callwright.merger.checkpoint import open_checkpoint, read_header
from callwright.spec import strict_yaml
from callwright.store import FileEntry, Registry, Store, check_folder, fetch, resolve_base
from callwright.store.model_folder import is_left_out
from callwright.trainer.checkpoints import Checkpoints
from models import tiny_model
from versions import publish_version

Figure = Callable[[str, object, object], None]
MIB = 1024**2

_READER = """
import json, resource, sys
from callwright.datasets import files
from callwright.errors import CallwrightError
from callwright.merger.checkpoint import read_header
from callwright.spec import document
from callwright.store.documents import read_object
from itertools import pairwise
from pathlib import Path
import pyarrow.parquet

def peak():
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmHWM"))

def read(path):
    if ".yaml" in path.name: document.load(path)
    elif ".safetensors" in path.name: read_header(path)
    elif path.name.startswith("config"): read_object(path)
    elif path.name == "manifest.json": read_object(path, unique=True)
    else:
        for row in files.rows(path):
            if row.problem: yield f"line {row.line}: {row.problem}"
for name in sys.argv[1:]:
    open("/proc/self/clear_refs", "w").write("5")
    before, said = peak(), []
    try:
        for problem in read(Path(name)): said.append(problem)
    except CallwrightError as error:
        said.append(str(error))
    print(json.dumps([name, (peak() - before) // 1024, said[:2]]), flush=True)
"""


def _blocks(first: bytes, block: bytes, count: int, last: bytes = b"") -> Iterator[bytes]:
    yield first
    for _ in range(count):
        yield block
    yield last


def _write(path: Path, blocks: Iterator[bytes]) -> Path:
    with gzip.open(path, "wb", compresslevel=1) if path.suffix == ".gz" else path.open("wb") as file:
        if path.suffix == ".zst":
            with pyarrow.output_stream(file, compression="zstd") as stream:
                for block in blocks:
                    stream.write(block)
        else:
            for block in blocks:
                file.write(block)
    return path


def _bombs(folder: Path) -> Iterator[tuple[Path, str]]:
    """Files that unpack, or are expanded, to hundreds of megabytes, and what is to be said of each."""
    text, levels = b"x" * MIB, b"[" * 200_000
    yield _write(folder / "a.jsonl.gz", _blocks(b'{"a": "', text, 100, b'"}\n{"b": 1}\n')), "line 1: got a line of 10"
    yield _write(folder / "a.jsonl.zst", _blocks(b'{"a": "', text, 100, b'"}\n')), "line 1: got a line of 10"
    yield _write(folder / "no_end.jsonl.zst", _blocks(b'{"a": "', text, 1100)), "line 1: got over"
    yield _write(folder / "a.json.gz", _blocks(b'[{"a": 1}, {"b": "', text, 100, b'"}]')), "row 2: got over"
    yield _write(folder / "a.csv.gz", _blocks(b"messages\n", text, 100)), "line 2: got over"
    yield _write(folder / "b.csv.gz", _blocks(b'messages\n"', text + b"\n", 100)), "line 2: "
    yield _write(folder / "c.csv.gz", _blocks(b"messages\n", b'"' + text + b'\n",', 100)), "line 2: got over"
    yield _write(folder / "values.jsonl", _blocks(b'{"a": [[]', b",[]" * 1000, 2000, b"]}\n")), "line 1: got about 40"
    yield _write(folder / "deep.jsonl", _blocks(b"", levels, 1)), "line 1: "
    yield _write(folder / "deep.json", _blocks(b'[{"a": ', levels, 1)), "no end"
    yield _write(folder / "digits.jsonl", _blocks(b'{"a": ', b"9" * 100_000, 1, b"}\n")), "line 1: "
    for name, size, words in (("a.parquet", 7, ""), ("b.parquet", 20, "got a row of 2")):
        repeated = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 300), ["y" * size * MIB])
        table = pyarrow.table({"messages": repeated})
        parquet.write_table(table, folder / name, dictionary_pagesize_limit=64 * MIB, compression="zstd")
        yield folder / name, words
    for name, inner, count in (
        ("nulls.parquet", pyarrow.nulls(2_000_000), 2_000_000),
        ("flags.parquet", pyarrow.repeat(pyarrow.scalar(True), 2_000_000), 2_000_000),
        ("texts.parquet", pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 200), ["y" * 4 * MIB]), 200),
    ):
        nested = pyarrow.ListArray.from_arrays([0, count], inner)
        parquet.write_table(pyarrow.table({"messages": nested}), folder / name, compression="zstd")
        yield folder / name, "got a row of "
    names = "abcdefghij"
    laughs = ["a: &a [x, x, x, x, x, x, x, x, x]"] + [
        f"{one}: &{one} [{', '.join(9 * [f'*{before}'])}]" for before, one in pairwise(names)
    ]
    yield _write(folder / "laughs.yaml", _blocks("\n".join(laughs).encode(), b"", 0)), "line 6, column 4: written out"
    long = "a: &a " + "x" * 100_000 + "\nb: [" + ", ".join(["*a"] * 1000) + "]"
    yield _write(folder / "long.yaml", _blocks(long.encode(), b"", 0)), "line 2, column 4: written out"
    yield _write(folder / "deep.yaml", _blocks(b"a: ", b"[" * 5000, 1)), "line 1, column 103: nested deeper than 100"
    yield _write(folder / "itself.yaml", _blocks(b"a: &a\n  b: *a\n", b"", 0)), "line 2, column 6: an alias of what it"
    yield (
        _write(folder / "digits.yaml", _blocks(b"b: 1\na: ", b"9" * 5000, 1)),
        "line 2, column 4: no value of int: a number of 5000 digits",
    )
    yield (
        _write(folder / "sixties.yaml", _blocks(b"a: 1", b":59" * 1000, 100)),
        "line 1, column 4: no value of int: a number of 3",
    )
    yield (
        _write(folder / "day.yaml", _blocks(b"b: 1\na: 2024-13-45\n", b"", 0)),
        "line 2, column 4: no value of timestamp: month",
    )
    for tag in ("bool", "timestamp", "int", "float"):
        text_of = f"b: 1\na: !!{tag} x\n".encode()
        yield _write(folder / f"{tag}.yaml", _blocks(text_of, b"", 0)), f"line 2, column 4: no value of {tag}"
    yield _write(folder / "size.yaml", _blocks(b"a: ", text, 100)), "got over 1048576 characters"
    yield _write(folder / "config.json", _blocks(b'{"a":\n', levels, 1)), "config.json: line 2: nested deeper than 100"
    yield _write(folder / "config1.json", _blocks(b'{"a": "', text, 100, b'"}')), "got over 67108864 bytes"
    yield _write(folder / "config2.json", _blocks(b"[[]", b",[]" * 1000, 3000, b"]")), "got about 6"
    keys = b",".join(b'"%d": 1' % key for key in range(200_000))
    twice = _blocks(b"{", keys, 1, b', "199999": 2}')
    yield _write(folder / "manifest.json", twice), "the key '199999' stands twice"
    yield _write(folder / "config3.json", _blocks(b'{\n"a": 1,,}', b"", 0)), "line 2: not JSON"
    header = b'{"a": ' + levels
    yield (
        _write(folder / "a.safetensors", _blocks(len(header).to_bytes(8, "little"), header, 1)),
        "line 1: nested deeper than 100",
    )
    yield (
        _write(folder / "b.safetensors", _blocks((90 * MIB).to_bytes(8, "little"), text, 90)),
        "not a safetensors file",
    )


def test_what_unpacks_or_expands_is_refused_in_bounded_memory(tmp_path: Path, figure: Figure) -> None:
    bombs = list(_bombs(tmp_path))
    ran = subprocess.run(
        [sys.executable, "-c", _READER, *(str(path) for path, _ in bombs)], capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stderr
    seen = [json.loads(line) for line in ran.stdout.splitlines()]
    wrong = [
        (Path(name).name, said) for (name, _, said), (_, words) in zip(seen, bombs, strict=True)
        if words not in " ".join(said) or (not words and said)
    ]  # fmt: skip
    assert wrong == []
    worst = max(seen, key=lambda each: int(each[1]))
    figure(f"{len(seen)} documents that grow: most memory, MiB ({Path(worst[0]).name})", worst[1], "at most 400")
    assert worst[1] <= 400


@pytest.mark.parametrize("text", ["[],", "a,", "k{}: 1\n", "- a\n", "-\n", "? k{}\n", "- !!str a\n", "- &k{} b\n"])
def test_yaml_of_many_values_is_refused_before_it_takes_long(text: str) -> None:
    """Each value takes far longer than its characters."""
    many = ("[" if text in ("[],", "a,") else "") + "".join(text.format(n) for n in range(120_000))
    with pytest.raises(InvalidInput, match=r"line \d+, column \d+"):
        strict_yaml.load(many[: MIB - 1], where="f.yaml")
    assert strict_yaml.load("[" + "a, " * 10_000 + "]", where="f.yaml") == ["a"] * 10_000


def _foreign_base(folder: Path, *, model_type: str = "evil") -> Path:
    """A base whose configuration names Python that would leave `ran` beside it."""
    tiny_model(folder)
    for name, keys in {"config.json": ("AutoConfig", "AutoModelForCausalLM"), "tokenizer_config.json": ()}.items():
        document = json.loads((folder / name).read_text())
        document["auto_map"] = {key: f"evil.{key}" for key in keys} or {"AutoTokenizer": ["evil.Tok", "evil.Tok"]}
        if name == "config.json":
            document |= {"model_type": model_type, "architectures": ["Evil"]} if model_type == "evil" else {}
        else:
            document["tokenizer_class"] = "EvilTokenizer"
        (folder / name).write_text(json.dumps(document))
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")
    return folder


def test_a_bases_own_python_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even by somebody at the terminal who answers yes."""
    import torch

    from callwright.datasets.tokenizer import load_tokenizer
    from callwright.merger.verification import _empty_model, _loaded
    from callwright.spec.model import Base, Lora, Train
    from callwright.trainer.forecast import forecast
    from callwright.trainer.model import load_model

    asked: list[object] = []
    monkeypatch.setattr("builtins.input", lambda *said: asked.append(said) or "y")
    base = _foreign_base(tmp_path / "base")
    spec = Base(model=str(base))
    loaders: dict[str, Callable[[], Any]] = {
        "forecast": lambda: forecast(
            base_dir=base, base=spec, lora=Lora(), train=Train(), lengths=[4], workers=1, dtype=torch.float32
        ),
        "train": lambda: load_model(base, spec, Lora(), Train(), torch.device("cpu")),
        "tokenizer": lambda: load_tokenizer(base),
        "verify, whole": lambda: _loaded(base),
        "verify, streamed": lambda: _empty_model(json.loads((base / "config.json").read_text())),
    }
    for name, load in loaders.items():
        with pytest.raises(InvalidInput, match=r"never run|does not recognize"):
            load()
        assert not asked, name
    assert not (base / "ran").exists()


def test_a_base_that_transformers_knows_is_loaded_without_its_python(tmp_path: Path) -> None:
    from callwright.merger.verification import _loaded

    base = _foreign_base(tmp_path / "base", model_type="qwen2")
    assert _loaded(base).config.model_type == "qwen2"
    assert not (base / "ran").exists()


def test_python_and_pickles_stay_out_of_caches(tmp_path: Path) -> None:
    base = _foreign_base(tmp_path / "base", model_type="qwen2")
    (base / "pytorch_model.bin").write_bytes(b"pickle")
    copy = resolve_base(base.as_uri(), cache_dir=tmp_path / "cache")
    names = {path.name for path in copy.rglob("*")}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not {name for name in names if name.endswith((".py", ".bin"))}


def test_a_base_with_files_over_a_bound_that_nobody_loads_is_taken_without_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = tiny_model(tmp_path / "base")
    odd = {"results.json": b'{"a": 1}\n{"a": 2}\n', "empty.json": b"", "LICENSE": b"x"}
    for name, data in odd.items():
        (base / name).write_bytes(data)
    with (base / "log.txt").open("wb") as file:
        file.truncate(65 * MIB)
    assert resolve_base(str(base)) == base
    named = [record.getMessage() for record in caplog.records]
    assert len(named) == 3
    assert all(any(f"base/{name}" in said for said in named) for name in ("results.json", "empty.json", "log.txt"))
    assert [is_left_out(base / name) for name in ("results.json", "log.txt", "LICENSE")] == [True, True, False]
    for name in ("config.json", "tokenizer.json", "processor_config.json"):
        kept = (base / name).read_bytes() if (base / name).exists() else b""
        (base / name).write_bytes(b'{"a": 1}\n{"a": 2}\n')
        with pytest.raises(InvalidInput, match=f"base/{name}"):
            check_folder(base)
        (base / name).write_bytes(kept or b"{}")


@pytest.mark.parametrize("name", ["tokenizer.json", "model.safetensors", "LICENSE", "chat_template.jinja"])
def test_a_link_that_leads_out_of_a_bases_folder_is_refused(tmp_path: Path, name: str) -> None:
    base = tiny_model(tmp_path / "base")
    (tmp_path / "secret").write_text('{"password": 1}')
    (base / name).unlink(missing_ok=True)
    (base / name).symlink_to(tmp_path / "secret")
    for read in (resolve_base, open_checkpoint):
        with pytest.raises(InvalidInput, match=rf"base/{name}: it is a link to .*secret"):
            read(base if read is open_checkpoint else str(base))  # type: ignore[operator]
    (base / name).unlink()
    (base / "copy").write_text("{}")
    if name != "model.safetensors":
        (base / name).symlink_to("copy")  # within the folder it may lead anywhere
        assert resolve_base(str(base)) == base


@pytest.mark.parametrize("kind", ["loop", "dangling", "pipe", "socket"])
def test_what_is_no_file_in_a_models_folder_is_refused(tmp_path: Path, kind: str) -> None:
    base = tiny_model(tmp_path / "base")
    path = base / "vocab.json"
    match kind:
        case "loop":
            path.symlink_to(path)
        case "dangling":
            path.symlink_to("/nowhere/vocab.json")
        case "pipe":
            os.mkfifo(path)
        case _:
            os.mknod(path, stat.S_IFSOCK)
    with pytest.raises(InvalidInput, match=r"vocab\.json: (it is|its links)"):
        check_folder(base)


def test_hugging_faces_cache_is_links_within_its_repository(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "model")
    repository = tmp_path / "hub" / "models--org--name"
    snapshot = repository / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for path in model.iterdir():
        digest = FileEntry.of(path).sha256
        path.rename(repository / "blobs" / digest)
        (snapshot / path.name).symlink_to(f"../../blobs/{digest}")
    assert resolve_base(str(snapshot)) == snapshot
    assert open_checkpoint(snapshot).tensors
    other = tmp_path / "hub" / "models--org--other" / "blobs"
    other.mkdir(parents=True)
    (other / "x").write_text("{}")
    (snapshot / "vocab.json").symlink_to(other / "x")
    with pytest.raises(InvalidInput, match=r"vocab\.json: it is a link"):
        resolve_base(str(snapshot))


def test_an_adapters_links_are_refused_too(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").symlink_to("/etc/passwd")
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(InvalidInput, match=r"adapter_config\.json: it is a link to /etc/passwd"):
        open_adapter(tmp_path / "adapter")
    with pytest.raises(InvalidInput, match=r"adapter_config\.json: it is a link to /etc/passwd"):
        Store.open("memory://").put_tree("runs/r/adapter", tmp_path / "adapter")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a\0b"], r"got the file 'a\\x00b'"),
        (["../a"], "'../a'"),
        (["a/../../b"], "'a/../../b'"),
        (["/etc/passwd"], "'/etc/passwd'"),
        (["a\\b"], r"'a\\\\b'"),
        ([""], "got the file ''"),
        (["a//b"], "'a//b'"),
        (["./a"], "'./a'"),
        (["a/"], "'a/'"),
        (["a\nb"], r"'a\\nb'"),
        (["x" * 300], "'xxx"),
        (["a/" * 600 + "a"], "'a/a/"),
        (["config.json", "Config.json"], "'config.json' and 'Config.json'"),
        (["caf\u00e9", "cafe\u0301"], "expected names of their own"),
        (["a", "a/b"], "'a' as a file and as a folder"),
        (["manifest.json"], "the store keeps this one"),
        (["Manifest.JSON"], "the store keeps this one"),
        (["model#12"], "the store keeps this one"),
    ],
)
def test_a_manifests_names_lead_nowhere(names: list[str], said: str, tmp_path: Path) -> None:
    store = Store.open("memory://")
    manifest = publish_version(store, "v1").model_dump(mode="json")
    for name in ("manifest.json", "checkpoint"):
        manifest["files"] = {each: {"sha256": "0" * 64, "size": 0} for each in names}
        store.put_bytes("models/m/versions/v1/manifest.json", json.dumps(manifest).encode())
        with pytest.raises(InvalidInput, match=said):
            fetch(store, "m", "v1", tmp_path)
        record = {"step": 1, "files": manifest["files"]}
        store.put_bytes("runs/r/checkpoints/step-00000001/checkpoint.json", json.dumps(record).encode())
        assert Checkpoints(store, "r").list() == [], name
    assert not any(tmp_path.rglob("*"))


def test_a_manifest_that_says_something_twice_or_is_anothers_is_refused(tmp_path: Path) -> None:
    store = Store.open("memory://")
    text = publish_version(store, "v1", {"a": b"1"}).model_dump_json()
    entry = json.dumps({"sha256": "0" * 64, "size": 1})
    key = "models/m/versions/v1/manifest.json"
    store.put_bytes(key, text.replace('"files":{', f'"files":{{"a":{entry},').encode())
    with pytest.raises(InvalidInput, match="the key 'a' stands twice"):
        Registry(store).manifest("m", "v1")
    store.put_bytes(key, text.replace('"version":"v1"', '"version":"v2"').encode())
    with pytest.raises(CallwrightError, match="it is the manifest of m v2"):
        Registry(store).manifest("m", "v1")


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIAKEY:sec/ret+1@bucket/prefix",
        "s3://AKIAKEYAKIAKEY:sec/ret+1sec/ret+1sec/ret+1sec/ret+1sec/ret+1sec/ret+1@bucket/prefix",
        "s3://bucket/prefix?secret=sec/ret+1",
        "az://box/a?sv=1&sig=sec/ret+1",
        "gs://user:sec/ret+1@bucket/x",
        "https://user:sec/ret+1@host/x?X-Amz-Signature=sec/ret+1",
        "https://host/x#access_token=sec/ret+1",
    ],
)
def test_what_a_url_lets_in_is_never_said(url: str, tmp_path: Path) -> None:
    """Whichever part of Callwright is given it."""
    said: list[BaseException] = []
    for ask in (
        lambda: Store.open(url),
        lambda: sources.resolve(f"{url}/a.jsonl", tmp_path),
        lambda: resolve_base(url, cache_dir=tmp_path),
        lambda: spec.parse(f"apiVersion: callwright.dev/v1alpha1\nkind: FineTune\nspec: {{store: '{url}'}}"),
    ):
        with pytest.raises(CallwrightError) as raised:
            ask()  # type: ignore[no-untyped-call]
        said.append(raised.value)
    assert "sec/ret" not in " ".join(f"{each} {each.args} {getattr(each, 'problems', '')}" for each in said)
    assert "ret+1" not in " ".join(map(str, said))


def test_an_endpoints_password_is_not_in_the_stores_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://user:sec-ret@127.0.0.1:9")
    with pytest.raises(CallwrightError) as raised:
        Store.open("s3://bucket/x", patience_seconds=0.2).get_bytes("a")
    assert "sec-ret" not in str(raised.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"model_type": 5}, {"model_type": ["qwen2"]}, {"hidden_size": 0}, {"hidden_size": "x"}, {"vocab_size": -5},
        {"num_hidden_layers": -1}, {"num_attention_heads": 0}, {"rope_scaling": [1]}, {"hidden_act": "evil"},
    ],
    ids=str,
)  # fmt: skip
def test_a_configuration_that_makes_no_model_is_an_error_of_ours(tmp_path: Path, wrong: dict[str, Any]) -> None:
    import torch

    from callwright.merger.verification import _empty_model
    from callwright.spec.model import Base, Lora, Train
    from callwright.trainer.forecast import forecast

    base = tiny_model(tmp_path / "base")
    config = json.loads((base / "config.json").read_text()) | wrong
    (base / "config.json").write_text(json.dumps(config))
    with pytest.raises(InvalidInput, match="its configuration cannot be used"):
        forecast(
            base_dir=base, base=Base(model=str(base)), lora=Lora(), train=Train(), lengths=[4], workers=1,
            dtype=torch.float32,
        )  # fmt: skip
    with pytest.raises(InvalidInput, match="cannot build the model"):
        _empty_model(config)


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"shape": [1], "data_offsets": [-4, 0]}},
        {"a": {"shape": [1.0], "data_offsets": [0, 4]}},
        {"a": {"shape": [2**62, 2**62], "data_offsets": [0, 4]}},
        {"a": {"shape": [1] * 100_000, "data_offsets": [0, 4]}},
        {"a": {"shape": [1], "data_offsets": [0, 4]}, "b": {"shape": [1], "data_offsets": [0, 4]}},
        {"a": {"shape": [1], "data_offsets": [4, 0]}},
        {"a": {"shape": [1], "data_offsets": ["0", "4"]}},
        {"a": [1]},
        [1],
    ],
    ids=lambda header: str(header)[:60],
)
def test_a_header_of_weights_that_contradicts_itself_is_refused(tmp_path: Path, header: Any) -> None:
    for entry in header.values() if isinstance(header, dict) else ():
        if isinstance(entry, dict):
            entry["dtype"] = "F32"
    text = json.dumps(header).encode()
    (tmp_path / "a.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + b"1234")
    with pytest.raises(InvalidInput, match="fetch it again"):
        read_header(tmp_path / "a.safetensors")


@pytest.mark.parametrize("placed", [[1], {"a": "../x"}, {"a": "/etc/passwd"}, {"a": 5}, {"a": "b\0c"}, None])
def test_an_index_leads_to_files_beside_it_alone(tmp_path: Path, placed: Any) -> None:
    base = tiny_model(tmp_path / "base")
    (base / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
    with pytest.raises(InvalidInput, match=r"index\.json: got"):
        open_checkpoint(base)


@pytest.mark.parametrize(
    "text",
    ["a: [", "- 1", "", "clusters: 5", "a: " + "[" * 5000, "\x00", "clusters: [{name: x, cluster: {server: 5}}]"],
    ids=lambda text: text[:20],
)
def test_a_kubeconfig_that_is_none_is_an_error_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    path = tmp_path / "config"
    context = "\ncontexts: [{name: a, context: {cluster: x}}]\ncurrent-context: a\nusers: []\n"
    path.write_text(text + context * text.startswith("clusters"))
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    with pytest.raises(InvalidInput, match="finding the cluster"):
        connect()
