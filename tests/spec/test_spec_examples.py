"""The documents of `examples/` are valid and take files that are there and can be encoded; the demo's is its own."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from callwright import spec
from callwright.datasets import readers
from callwright.datasets.prepare import prepare
from callwright.demo.base import NAME
from callwright.demo.corpus import Sizes, write_corpus
from callwright.demo.document import write_document
from callwright.evaluator import sets

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


def test_there_are_six() -> None:
    assert [path.name[:2] for path in EXAMPLES] == ["01", "02", "03", "04", "05", "06"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_valid_and_is_told_of(path: Path) -> None:
    document = spec.load(path).spec
    named = [*(source.path for source in document.data.sources), *(each.path for each in document.evaluate.sets)]
    assert [name for name in named if name.startswith("examples/") and not (ROOT / name).is_file()] == []
    assert path.name in (ROOT / "examples" / "README.md").read_text(encoding="utf-8")


def test_the_demos_example_is_what_the_demo_writes(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / ".callwright/demo/data", sizes=Sizes(agent=1, replay=1))
    base = f".callwright/demo/cache/{NAME}"
    written = write_document(tmp_path / "finetune.yaml", corpus, base=base).read_text().replace(f"{tmp_path}/", "")
    document = yaml.safe_load((ROOT / "examples" / "01-demo.yaml").read_text())
    made = yaml.safe_load(written)
    if "bfcl-simple" not in corpus.sets:  # its package is not installed
        kept = [each for each in document["spec"]["evaluate"]["sets"] if not each["name"].startswith("bfcl")]
        document["spec"]["evaluate"]["sets"] = kept
    assert document == made


def test_the_requests_are_held_out() -> None:
    reading = sets.Reading()
    asked = list(sets.read(ROOT / "examples/own-requests.jsonl", name="requests", reading=reading))
    taught = list(readers.read(ROOT / "examples/own-data.jsonl", strict="fail"))
    assert len(asked) == 12
    assert reading.notes("requests") == []
    assert {row.kind for row in asked} == {"call"}
    called = {call["function"]["name"] for row in taught for call in row.messages[-1]["tool_calls"]}
    assert called.isdisjoint(call.name for row in asked for call in row.expected)


@pytest.fixture
def working_directory(tmp_path: Path, smollm2: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the examples and the demo's base without its weights, of which 03-native's lines make its own."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    base = tmp_path / ".callwright/demo/cache" / NAME
    shutil.copytree(smollm2, base, ignore=shutil.ignore_patterns("*.safetensors"))
    for line in re.findall(r"^#   (cp .*)$", (ROOT / "examples/03-native.yaml").read_text(), re.MULTILINE):
        subprocess.run(shlex.split(line), cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "notes"), [("02-own-data", []), ("03-native", ["writes the dialect hermes", "leaves thoughts out"])]
)
def test_the_conversations_are_encoded_whole(working_directory: Path, name: str, notes: list[str]) -> None:
    document = spec.load(Path("examples") / f"{name}.yaml").spec
    base = Path(document.base.model)
    prepared = prepare(document.data, dialect=document.dialect, base_dir=base, folder=working_directory / "data")
    found = prepared.to_dict()
    assert (prepared.train_rows, prepared.test_rows) == (48, 0)
    assert (found["dialect"], found["findings"]) == ("hermes", {})
    assert len(prepared.notes) == len(notes)
    assert all(words in note for words, note in zip(notes, prepared.notes, strict=True))
