"""The demo's files: conversations to train on, plain ones for replay, and held-out requests."""

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from callwright.demo import conversations
from callwright.demo.catalogue import every, known, unseen

_BFCL = {"bfcl-simple": "BFCL_v4_simple_python.json", "bfcl-irrelevance": "BFCL_v4_irrelevance.json"}


@dataclass(frozen=True)
class Sizes:
    """Rows of each file."""

    agent: int = 440
    """Conversations with tools."""
    replay: int = 40
    known: int = 90
    unseen: int = 100
    quiet: int = 50
    two: int = 30
    bfcl_simple: int = 50
    bfcl_irrelevance: int = 30


FULL = Sizes(agent=2300, replay=200)
"""What about an hour on two cores trains on."""


@dataclass(frozen=True)
class Corpus:
    """The files of the demo."""

    SETS: ClassVar = ("known", "unseen", "quiet", "two", "general", *_BFCL)
    """Names of the held-out sets; the last two are of the package `bfcl-eval`."""

    folder: Path

    @property
    def agent(self) -> Path:
        """Conversations with tools to train on, in the OpenAI form."""
        return self.folder / "agent.jsonl"

    @property
    def replay(self) -> Path:
        """General conversations to train on, in the OpenAI form."""
        return self.folder / "replay.jsonl"

    def held_out(self, name: str) -> Path:
        """File of one of `SETS`, requests with the calls that are due."""
        return self.folder / _BFCL.get(name, f"{name}.jsonl")

    @property
    def sets(self) -> dict[str, Path]:
        """Files of the held-out sets that are there, by name: BFCL's are where `bfcl-eval` is installed."""
        return {name: self.held_out(name) for name in self.SETS if self.held_out(name).is_file()}


def write_corpus(folder: Path, *, seed: int = 11, sizes: Sizes = Sizes()) -> Corpus:
    """Write the demo's files below `folder`, the same for the same seed."""
    folder.mkdir(parents=True, exist_ok=True)
    corpus = Corpus(folder)
    rng = random.Random(seed)
    _write(corpus.agent, conversations.training_rows(rng, sizes.agent))
    _write(corpus.replay, conversations.replay_rows(rng, sizes.replay))
    rng = random.Random(seed + 1)
    _write(corpus.held_out("known"), conversations.call_rows(rng, "known", sizes.known, known(), known()))
    _write(corpus.held_out("unseen"), conversations.call_rows(rng, "unseen", sizes.unseen, unseen(), every()))
    _write(corpus.held_out("quiet"), conversations.quiet_rows(rng, "quiet", sizes.quiet, unseen(), every()))
    _write(corpus.held_out("two"), conversations.two_call_rows(rng, "two", sizes.two, known()))
    _write(corpus.held_out("general"), conversations.general_rows("general"))
    _copy_bfcl(corpus, sizes)
    return corpus


def _copy_bfcl(corpus: Corpus, sizes: Sizes) -> None:
    """Copy rows spread over BFCL's files, with their possible answers, from the package `bfcl-eval`."""
    package = find_spec("bfcl_eval")
    if package is None or package.origin is None:
        return
    data = Path(package.origin).parent / "data"
    for name, file in _BFCL.items():
        count = getattr(sizes, name.replace("-", "_"))
        _copy_lines(data / file, corpus.held_out(name), count)
        if (data / "possible_answer" / file).is_file():
            (corpus.folder / "possible_answer").mkdir(exist_ok=True)
            _copy_lines(data / "possible_answer" / file, corpus.folder / "possible_answer" / file, count)


def _copy_lines(source: Path, target: Path, count: int) -> None:
    lines = source.read_text(encoding="utf-8").splitlines(keepends=True)
    target.write_text("".join(lines[number * len(lines) // count] for number in range(count)), encoding="utf-8")


def _write(path: Path, found: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in found)
