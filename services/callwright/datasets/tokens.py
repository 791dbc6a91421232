"""A text's token ids, and where each token begins; exactly what the server makes of the same text.

A fast tokenizer cuts a text at its special tokens before anything else, and usually at line beginnings too, also after
a list's numbers there. What stands between two certain cuts is tokenised by itself and remembered: prompts and tool
descriptions come again and again, if under another number. Where cuts are not certain, the whole text goes through the
tokenizer. Knows no conversation and no weights.
"""

import itertools
import json
import re
import unicodedata
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import Any, NamedTuple

from callwright.datasets.words import WordMaker

_REMEMBERED_UNITS = 16_384
"""In each of the two generations."""
_REMEMBERED_CHARACTERS = 2_000
"""A longer unit is not worth remembering."""
_MISSED_LINES = 65_536
_CHECKED_TEXTS = 32
"""The first texts are tokenised whole as well, to see that the cuts change nothing."""
_LOCAL_NORMALIZERS = ("NFC",)
_LOCAL_PRE_TOKENIZERS = ("ByteLevel", "Split", "Digits")
_LINE = re.compile(r"\n(?=[A-Za-z0-9])")
_LINE_AND_NUMBER = re.compile(r"\n(?=[A-Za-z0-9])(\d{1,2}\.(?= [A-Za-z]))?")
_BEFORE_LINES = ("", "a", "7", "]", '"', ".", "'", " ", "\n", "\t", "\r", "/", "_", "京", "é", "🙂", "。")
_LINE_HEADS = ("a", "Thought", "7", "42. x", "1. Get", "A:", "re")


class Unit(NamedTuple):
    """A stretch of text that is tokenised by itself: its ids, and the first character of each token in it."""

    ids: "array[int]"
    begins: "array[int]"


class Tokens:
    """A text's tokens, unit by unit."""

    def __init__(self) -> None:
        self.ids = array("i")
        self._starts: list[int] = []
        self._counts: list[int] = []
        self._units: list[Unit] = []

    def append(self, start: int, unit: Unit) -> None:
        """Add the unit that begins at character `start`."""
        self._starts.append(start)
        self._counts.append(len(self.ids))
        self._units.append(unit)
        self.ids += unit.ids

    def before(self, position: int) -> int:
        """How many tokens begin before that character."""
        at = bisect_right(self._starts, position) - 1
        if at < 0:
            return 0
        return self._counts[at] + bisect_left(self._units[at].begins, position - self._starts[at])

    @property
    def begins(self) -> list[int]:
        """The first character of each token."""
        pairs = zip(self._starts, self._units, strict=True)
        return [start + begin for start, unit in pairs for begin in unit.begins]


class TokenMaker:
    """Tokenises whole texts with one fast tokenizer (`tokenizers.Tokenizer`)."""

    def __init__(self, backend: Any) -> None:
        backend.no_truncation()
        backend.no_padding()
        description = json.loads(backend.to_str())
        added = {token["content"]: int(token["id"]) for token in description["added_tokens"]}
        by_length = sorted(added, key=len, reverse=True)
        self._backend = backend
        self._special = {text: Unit(array("i", [identity]), array("i", [0])) for text, identity in added.items()}
        self._splitter = re.compile("(" + "|".join(map(re.escape, by_length)) + ")")
        self._normalizes = description["normalizer"] is not None
        self._cuts = bool(added) and _is_local(description)
        self._cut = _certain_cut(backend) if self._cuts else None
        self._lengths = _byte_lengths(backend, description, added)
        self._words = WordMaker.for_tokenizer(backend, description)
        self._remembered: dict[str, Unit] = {}
        self._earlier: dict[str, Unit] = {}
        self._missed: set[int] = set()
        self._unchecked = _CHECKED_TEXTS

    def tokenize(self, text: str) -> Tokens:
        """The tokens of `text`."""
        if not self._cuts:
            return self._whole(text)
        tokens = Tokens()
        position = 0
        for index, part in enumerate(self._splitter.split(text)):
            if index % 2:
                tokens.append(position, self._special[part])
            elif part:
                self._append(tokens, position, part)
            position += len(part)
        if self._unchecked:
            self._unchecked -= 1
            whole = self._whole(text)
            if whole.ids != tokens.ids or whole.begins != tokens.begins:
                self._cuts = False
                return whole
        return tokens

    def _append(self, tokens: Tokens, position: int, part: str) -> None:
        """Add a part without special tokens: lines that are remembered as they are, those between them together."""
        missed: list[str] = []
        started = position
        for line in self._lines(part):
            unit = self._recall(line)
            if unit is None:
                missed.append(line)
            else:
                if missed:
                    self._append_missed(tokens, started, missed)
                    missed = []
                tokens.append(position, unit)
                started = position + len(line)
            position += len(line)
        if missed:
            self._append_missed(tokens, started, missed)

    def _append_missed(self, tokens: Tokens, position: int, lines: list[str]) -> None:
        text = "".join(lines)
        unit = self._unit(text)
        tokens.append(position, unit)
        start = 0
        first = 0
        for line in lines:
            end = start + len(line)
            last = bisect_left(unit.begins, end, first)
            if len(line) <= _REMEMBERED_CHARACTERS and self._came_before(line):
                begins = array("i", [begin - start for begin in unit.begins[first:last]])
                self._remember(line, Unit(unit.ids[first:last], begins))
            start, first = end, last

    def _came_before(self, line: str) -> bool:
        """Whether the line has been missed before, so that it is worth remembering: most come once."""
        mark = hash(line)
        if mark in self._missed:
            self._missed.remove(mark)
            return True
        if len(self._missed) >= _MISSED_LINES:
            self._missed.clear()
        self._missed.add(mark)
        return False

    def _recall(self, line: str) -> Unit | None:
        unit = self._remembered.get(line)
        if unit is None and (unit := self._earlier.get(line)) is not None:
            self._remember(line, unit)
        return unit

    def _remember(self, line: str, unit: Unit) -> None:
        """Keep a unit; once a generation is full, what was not recalled since the one before it is forgotten."""
        if len(self._remembered) >= _REMEMBERED_UNITS:
            self._earlier, self._remembered = self._remembered, {}
        self._remembered[line] = unit

    def _lines(self, part: str) -> list[str]:
        if self._cut is None:
            return [part]
        return [part[start:end] for start, end in itertools.pairwise([0, *_cuts(self._cut, part), len(part)])]

    def _unit(self, text: str) -> Unit:
        if self._lengths is None or (self._normalizes and not unicodedata.is_normalized("NFC", text)):
            return self._by_offsets(text)
        ids = self._words.ids(text) if self._words else None
        if ids is None:
            ids = array("i", self._backend.encode_batch_fast([text], add_special_tokens=False)[0].ids)  # no offsets
        begins = array("i", accumulate(map(self._lengths.__getitem__, ids), initial=0))
        if begins.pop() != len(text.encode("utf-8")):
            return self._by_offsets(text)
        return Unit(ids, begins if text.isascii() else _to_characters(text, begins))

    def _whole(self, text: str) -> Tokens:
        tokens = Tokens()
        tokens.append(0, self._by_offsets(text))
        return tokens

    def _by_offsets(self, text: str) -> Unit:
        """A token begins where the one before it ended, whether or not the tokenizer counts a space between as its own;
        tokens that share a character, being parts of its bytes, begin with it."""
        encoding = self._backend.encode(text, add_special_tokens=False)
        begins = array("i")
        ended = 0
        for start, end in encoding.offsets:
            begins.append(min(start, ended))
            ended = max(ended, end)
        return Unit(array("i", encoding.ids), begins)


def _cuts(pattern: "re.Pattern[str]", text: str) -> Iterator[int]:
    """Where lines begin, and where what follows a line's number does if the pattern has a group for that."""
    for found in pattern.finditer(text):
        yield found.start() + 1
        if found.lastindex:
            yield found.end()


def _to_characters(text: str, begins: "array[int]") -> "array[int]":
    """Positions in bytes as positions in characters; one inside a character becomes that character's."""
    numbers = array("i")
    for number, character in enumerate(text):
        numbers.extend([number] * len(character.encode("utf-8")))
    return array("i", [numbers[begin] for begin in begins])


def _is_local(description: dict[str, Any]) -> bool:
    """Whether a text's tokens between two special tokens depend on nothing outside."""
    if any(token[flag] for token in description["added_tokens"] for flag in ("lstrip", "rstrip", "single_word")):
        return False
    if any(token["normalized"] for token in description["added_tokens"]) and description["normalizer"]:
        return False
    normalizers = _parts(description["normalizer"], "normalizers")
    pre_tokenizers = _parts(description["pre_tokenizer"], "pretokenizers")
    return (
        all(part["type"] in _LOCAL_NORMALIZERS for part in normalizers)
        and bool(pre_tokenizers)
        and all(part["type"] in _LOCAL_PRE_TOKENIZERS and not part.get("add_prefix_space") for part in pre_tokenizers)
    )


def _certain_cut(backend: Any) -> "re.Pattern[str] | None":
    """The finest pattern at whose ends the tokenizer's own pattern always cuts: tried out."""
    split = backend.pre_tokenizer.pre_tokenize_str
    before = ["".join(pair) for pair in itertools.product(_BEFORE_LINES, repeat=2)]
    texts = [f"{ending}\n{head}" for ending in before for head in _LINE_HEADS]
    starts = [{start for _, (start, _) in split(text)} for text in texts]
    for pattern in (_LINE_AND_NUMBER, _LINE):
        if all(cut in at for text, at in zip(texts, starts, strict=True) for cut in _cuts(pattern, text)):
            return pattern
    return None


def _parts(described: dict[str, Any] | None, key: str) -> list[dict[str, Any]]:
    if described is None:
        return []
    return [part for inner in described[key] for part in _parts(inner, key)] if key in described else [described]


def _byte_lengths(backend: Any, description: dict[str, Any], added: dict[str, int]) -> list[int] | None:
    """Bytes of each token, by id, where every character of a token's name stands for one byte (byte-level BPE)."""
    if not any(part["type"] == "ByteLevel" for part in _parts(description["pre_tokenizer"], "pretokenizers")):
        return None
    vocabulary = backend.get_vocab()
    lengths = [0] * (max(vocabulary.values()) + 1)
    for token, identity in vocabulary.items():
        lengths[identity] = len(token.encode("utf-8")) if token in added else len(token)
    return lengths
