"""The line-initial words of the ReAct dialects as patterns: found whole, found in part, and split at.

Owns what counts as a marker: a word at a line start, in bold or a heading, numbered or not, with either colon. Knows
neither what a dialect does at a marker nor where one does not count.
"""

import re
from collections.abc import Sequence

_DECOR_FULL = r"[ \t]{0,8}(?:\*\*|__|#{1,6}[ \t])?"
_DECOR_PART = r"[ \t]{0,8}(?:\*{0,2}|_{0,2}|#{1,6}[ \t]?)"
_TAIL = ["[ \\t]{0,2}", "\\d{0,3}", "[ \\t]{0,2}", "[*_]{0,2}", "[ \\t]{0,2}", "[:：]"]
THINK = "<think>"
THINK_END = "</think>"

ACTION = "action"
ACTION_INPUT = "action input"
OBSERVATION = "observation"
THOUGHT = "thought"
FINAL_ANSWER = "final answer"
ANSWER = "answer"
QUESTION = "question"


def prefixes(pieces: Sequence[str]) -> str:
    """A pattern that matches what the pieces, one after the other, could begin with; the empty text included."""
    pattern = ""
    for piece in reversed(pieces):
        pattern = f"(?:{piece}{pattern})?"
    return pattern


def _pieces(word: str) -> list[str]:
    return ["[ \\t_]?" if character == " " else character for character in word]


class Markers:
    """The patterns for a dialect's words, the most specific first."""

    def __init__(self, words: Sequence[str]) -> None:
        full = "|".join("".join(_pieces(word)) for word in words)
        whole = rf"{_DECOR_FULL}(?:(?P<word>{full}){''.join(_TAIL)}|(?P<think>{THINK}))"
        part = "|".join(prefixes(_pieces(word) + _TAIL) for word in words)
        self.search = re.compile(f"^{whole}", re.IGNORECASE | re.MULTILINE).search
        """Finds the next marker; the character before the position tells whether a line starts there."""
        self.head = re.compile(whole, re.IGNORECASE).match
        """Matches a marker right at a position that the caller knows to be a line start."""
        self.partial = re.compile(f"{_DECOR_PART}(?:{part}|{prefixes(list(THINK))})", re.IGNORECASE).fullmatch
        """Matches when the text from a line start to its end could still become a marker."""
        ending = ["[.。!]?", "[ \\t\\r]{0,4}", "\\n", "[ \\t\\r\\n]{0,4}", "(?:\\*\\*|__|#{1,6}[ \\t])?"]
        final = [*_pieces(FINAL_ANSWER), *_TAIL]
        knowing = [_known(phrase) + ending for phrase in KNOWING]
        self.knows = re.compile("|".join("".join(p) + f"(?={''.join(final)})" for p in knowing), re.IGNORECASE).match
        """Matches the set phrase that leads over to the final answer, where that follows."""
        self.partly_knows = re.compile("|".join(prefixes(p + final) for p in knowing), re.IGNORECASE).fullmatch


KNOWING = ("I now know the final answer", "I know the final answer", "我现在知道最终答案了", "我现在知道最终答案")
"""The set phrases of the prompts' formats: they say nothing, so a client does not see them."""


def _known(phrase: str) -> list[str]:
    return [" " if character == " " else character for character in phrase]


_JOINED = {"actioninput": ACTION_INPUT, "finalanswer": FINAL_ANSWER}


def word_of(found: re.Match[str]) -> str:
    """The marker's word in its canonical spelling, or `<think>`."""
    if found["word"] is None:
        return THINK
    word = found["word"].lower().replace("_", " ").replace("\t", " ")
    return _JOINED.get(word, word)
