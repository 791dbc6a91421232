"""The documents of `examples/` are valid, take files that are there, and the demo's is the one that it writes."""

from pathlib import Path

import pytest
import yaml

from callwright import spec
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


@pytest.mark.parametrize("name", ["own-requests.jsonl"])
def test_the_requests_are_read_whole(name: str) -> None:
    reading = sets.Reading()
    rows = list(sets.read(str(ROOT / "examples" / name), name="requests", reading=reading))
    assert len(rows) == 8
    assert list(reading.notes("requests")) == []
