"""Byte-level BPE by the word: a text's token ids without the tokenizer's own slow walk over it.

Such a tokenizer first splits a text by a regular expression and then makes tokens of each piece by itself, so a piece
has the same ids wherever it stands; here they are looked up. The split is the tokenizer's own expression, run by
`regex`, which agrees with the tokenizer's engine (Oniguruma) on every character that was in Unicode 3.2; other texts
are left to the tokenizer. Knows no line, no position and no conversation.
"""

import unicodedata
from array import array
from itertools import chain
from typing import Any

import regex
from tokenizers import pre_tokenizers

_REMEMBERED = 200_000
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""What `ByteLevel` splits by when it stands alone."""
_PROBED = [chr(code) for code in (*range(0x250), *range(0x250, 0xD7FF, 37))]
_PROBES = ("a{0}b", "1{0} ", " {0}{0}\n", "'{0}", "{0}")


class WordMaker:
    """Token ids of texts, word by word; see `for_tokenizer`."""

    def __init__(self, backend: Any, pattern: str) -> None:
        self._model = backend.model
        self._pattern = regex.compile(pattern)
        self._named = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        self._known: dict[str, tuple[int, ...]] = {}
        self._settled: set[str] = set()

    @classmethod
    def for_tokenizer(cls, backend: Any, description: dict[str, Any]) -> "WordMaker | None":
        """One for the `tokenizers.Tokenizer` that `description` describes; None where it does not work by the word."""
        pattern = _pattern(description)
        if pattern is None or description["model"].get("type") != "BPE" or description["model"].get("dropout"):
            return None
        try:
            made = cls(backend, pattern)
        except regex.error:
            return None
        text = "x\n\0".join(probe.format(each) for each in filter(_is_settled, _PROBED) for probe in _PROBES)
        spans = [end - start for _, (start, end) in backend.pre_tokenizer.pre_tokenize_str(text)]
        return made if spans == [len(word) for word in made.split(text)] else None

    def ids(self, text: str) -> "array[int] | None":
        """The ids of a normalised text without special tokens; None where only the tokenizer itself can tell."""
        if not self.knows(text):
            return None
        words = self.split(text)
        try:
            return array("i", chain.from_iterable(map(self._known.__getitem__, words)))
        except KeyError:
            self._learn(words)
        return array("i", chain.from_iterable(map(self._known.__getitem__, words)))

    def _learn(self, words: list[str]) -> None:
        if len(self._known) > _REMEMBERED:
            self._known.clear()
        for word in words:
            if word not in self._known:
                [(name, _)] = self._named.pre_tokenize_str(word)
                self._known[word] = tuple(token.id for token in self._model.tokenize(name))

    def split(self, text: str) -> list[str]:
        """The words of a text that it `knows`."""
        words: list[str] = self._pattern.findall(text)
        return words

    def knows(self, text: str) -> bool:
        """Whether the text can be split without asking the tokenizer."""
        if text.isascii():
            return True
        unseen = set(text) - self._settled
        if not all(map(_is_settled, unseen)):
            return False
        self._settled |= unseen
        return True


def _is_settled(character: str) -> bool:
    """Whether engines of any Unicode version know the character's category."""
    return unicodedata.ucd_3_2_0.category(character) not in ("Cn", "Cs")


def _pattern(description: dict[str, Any]) -> str | None:
    """The expression that cuts words, where nothing else does."""
    pre_tokenizer = description["pre_tokenizer"] or {}
    match pre_tokenizer.get("pretokenizers", [pre_tokenizer]):
        case [{"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}]:
            return _GPT2
        case [
            {"type": "Split", "pattern": {"Regex": str(pattern)}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
        ]:
            return pattern
        case _:
            return None
