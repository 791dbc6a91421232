"""Chooses the rows of each source to train on and to hold out, and their order; the same for the same seed.

Reads every source once into one file and then chooses among the numbers of its rows. Knows no dialect and no tokens.
"""

import math
import random
from array import array
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

from callwright.datasets import cognition, readers
from callwright.datasets.conversation import fingerprint
from callwright.datasets.corpus import Corpus, Selection
from callwright.datasets.report import Mixed, Report
from callwright.errors import InvalidInput
from callwright.progress import Advance
from callwright.spec.model import Data, Source

_PROGRESS_ROWS = 500


@dataclass(frozen=True, slots=True)
class Split:
    """The rows to train on, in order, and the rows held out. They share no row and no near-duplicate."""

    train: Selection
    test: Selection
    corpus: Corpus


@dataclass
class _Pool:
    """One source's usable rows (numbers in the corpus), how many it wants, and those drawn."""

    name: str
    rows: list[int] = field(default_factory=list)
    wanted: int = 0
    drawn: list[int] = field(default_factory=list)
    test: list[int] = field(default_factory=list)

    def random(self, seed: int, purpose: str) -> random.Random:
        """Return a generator for this source alone: neither other sources nor the corpus's folder change its
        numbers.
        """
        return random.Random(f"{seed}/{self.name.rpartition('/')[2]}/{purpose}")


def mix(
    data: Data,
    folder: Path,
    *,
    cache_dir: Path | None = None,
    report: Report | None = None,
    on_progress: Advance | None = None,
    executor: Executor | None = None,
) -> Split:
    """Read, sample, split and shuffle what `data` names; `folder` receives the corpus file.

    Remote sources are copied to `cache_dir`; the processes of `executor` share the reading.

    Rows whose users say the same but for case, spaces and punctuation count as near-duplicates. A source that wants
    more rows than it has gets them by repetition, after the test rows are taken out.
    Raises `NotFound` and `InvalidInput` as the readers do, and `InvalidInput` for a source without a usable row.
    """
    report = Report() if report is None else report
    folder.mkdir(parents=True, exist_ok=True)
    corpus = Corpus(folder / "corpus.jsonl")
    groups = array("Q")
    pools = _read(data, corpus, groups, cache_dir, report, on_progress, executor)
    for pool in pools:
        pool.drawn = pool.rows
        if pool.wanted < len(pool.rows):
            pool.drawn = sorted(pool.random(data.seed, "sample").sample(pool.rows, pool.wanted))
    sizes = Counter(groups[row] for pool in pools for row in pool.drawn)
    held: set[int] = set()
    for pool in pools:
        pool.test = _hold_out(pool, groups, sizes, held, data)
        held.update(groups[row] for row in pool.test)
    train: list[int] = []
    for pool in pools:
        kept = [row for row in pool.drawn if groups[row] not in held]
        picked = kept
        if pool.wanted > len(pool.rows):
            picked = _repeat(kept, pool.wanted - len(pool.test), pool.random(data.seed, "repeat"))
        near = len(pool.drawn) - len(kept) - len(pool.test)
        report.mixing[pool.name] = Mixed(len(pool.rows), len(picked), len(picked) - len(kept), len(pool.test), near)
        train += picked
    random.Random(f"{data.seed}/order").shuffle(train)
    return Split(Selection(corpus, train), Selection(corpus, [row for pool in pools for row in pool.test]), corpus)


def _read(
    data: Data,
    corpus: Corpus,
    groups: "array[int]",
    cache_dir: Path | None,
    report: Report,
    on_progress: Advance | None,
    executor: Executor | None,
) -> list[_Pool]:
    """Append every source's usable rows to `corpus`, and their fingerprints to `groups`."""
    pools: list[_Pool] = []
    for source in data.sources:
        pool = _Pool(source.path)
        for row in readers.read_lines(
            source.path, source.format, strict=data.strict, report=report, cache_dir=cache_dir, executor=executor
        ):
            pool.rows.append(corpus.append(row.json))
            groups.append(row.fingerprint)
            if on_progress and len(corpus) % _PROGRESS_ROWS == 0:
                on_progress(len(corpus), len(corpus), f"rows read, now {source.path}")
        if not pool.rows:
            raise InvalidInput(
                f"mixing: got no usable row in {source.path}; expected at least one; "
                f"the first faults: {'; '.join(report.first_examples(3)) or 'the file is empty'}"
            )
        pools.append(pool)
        pool.wanted = _wanted(source, len(pool.rows), pools[0].wanted)
    if data.self_cognition:
        about = list(cognition.conversations(data.self_cognition.name, data.self_cognition.author))
        rows = [corpus.append(each.to_json().encode()) for each in about]
        pools.append(_Pool(cognition.SOURCE, rows, data.self_cognition.count))
        groups.extend(fingerprint(each.messages) for each in about)
    return pools


def _wanted(source: Source, rows: int, first: int) -> int:
    if source.ratio is not None:
        return max(1, round(source.ratio * (first or rows)))
    return source.count or rows


def _hold_out(pool: _Pool, groups: Sequence[int], sizes: Counter[int], held: set[int], data: Data) -> list[int]:
    """Rows for the test split: one of each near-duplicate group, the smallest groups first, so that little is lost."""
    if not data.test_fraction or len(pool.drawn) < 2:
        return []
    quota = min(math.ceil(data.test_fraction * len(pool.drawn)), len(pool.drawn) - 1)
    shuffled = pool.drawn.copy()
    pool.random(data.seed, "test").shuffle(shuffled)
    shuffled.sort(key=lambda row: sizes[groups[row]])
    first_of_group = {groups[row]: row for row in reversed(shuffled) if groups[row] not in held}
    if len(first_of_group) < 2:
        return []
    return [row for row in shuffled if first_of_group.get(groups[row]) == row][: min(quota, len(first_of_group) - 1)]


def _repeat(rows: list[int], wanted: int, chance: random.Random) -> list[int]:
    """`rows`, and more of them at random until there are `wanted`: whole rounds first, so that all count alike."""
    if not rows or wanted <= len(rows):
        return rows
    rounds, rest = divmod(wanted, len(rows))
    return rows * rounds + chance.sample(rows, rest)
