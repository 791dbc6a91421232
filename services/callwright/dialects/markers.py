"""Patterns for the markers of the ReAct dialects, such as `Action:`, whole or only begun.

A marker is a word at a line start with a colon: `Action:`, `**Action**:`, `### Action 1:`, `ACTION：`. A `<think>` tag
at a line start is one too.
"""

import re
from collections.abc import Sequence

from callwright.dialects.types import THINK

_DECOR_FULL = r"[ \t]{0,8}(?:\*\*|__|#{1,6}[ \t])?"
_DECOR_PART = r"[ \t]{0,8}(?:\*{0,2}|_{0,2}|#{1,6}[ \t]?)"
_TAIL = ["[ \\t]{0,2}", "\\d{0,3}", "[ \\t]{0,2}", "[*_]{0,2}", "[ \\t]{0,2}", "[:：]"]

ACTION = "action"
ACTION_INPUT = "action input"
OBSERVATION = "observation"
THOUGHT = "thought"
FINAL_ANSWER = "final answer"
ANSWER = "answer"
QUESTION = "question"
_SPEECH = (THOUGHT, FINAL_ANSWER, ANSWER)


def prefixes(pieces: Sequence[str]) -> str:
    """Builds a pattern that matches every beginning of the pieces in a row, the empty text included."""
    pattern = ""
    for piece in reversed(pieces):
        pattern = f"(?:{piece}{pattern})?"
    return pattern


def _pieces(word: str) -> list[str]:
    """Return the patterns of a marker's characters; `action input` is also written `action_input` and `actioninput`."""
    return ["[ \\t_]?" if character == " " else character for character in word]


class Markers:
    """The patterns for a dialect's words; a word that begins like another stands before it."""

    def __init__(self, words: Sequence[str]) -> None:
        full = "|".join("".join(_pieces(word)) for word in words)
        whole = rf"{_DECOR_FULL}(?:(?P<word>{full}){''.join(_TAIL)}|(?P<think>{THINK}))"
        part = "|".join(prefixes(_pieces(word) + _TAIL) for word in words)
        self.search = re.compile(f"^{whole}", re.IGNORECASE | re.MULTILINE).search
        """Finds the next marker; the character before the position tells whether a line starts there."""
        self.head = re.compile(whole, re.IGNORECASE).match
        """Matches a marker right at a position that the caller knows to be a line start."""
        speech = "|".join("".join(_pieces(word)) for word in words if word in _SPEECH)
        self.speech = re.compile(f"^{_DECOR_FULL}(?:{speech}){''.join(_TAIL)}", re.IGNORECASE | re.MULTILINE).search
        """Finds the next thought or answer, which always begin a segment."""
        self.in_result = re.compile(rf"(?<=\n)(?={_DECOR_FULL}(?:{full}){''.join(_TAIL)})", re.IGNORECASE)
        """Finds where a line of a result would be a marker."""
        self.line_end = re.compile(rf"\s{{0,64}}\n(?={whole})", re.IGNORECASE)
        """Matches the line end before a marker."""
        self.partial = re.compile(f"{_DECOR_PART}(?:{part}|{prefixes(list(THINK))})", re.IGNORECASE).fullmatch
        """Matches when the text from a line start to its end could still become a marker."""
        ending = ["[.。!]?", "[ \\t\\r]{0,4}", "\\n", "[ \\t\\r\\n]{0,4}", "(?:\\*\\*|__|#{1,6}[ \\t])?"]
        final = [*_pieces(FINAL_ANSWER), *_TAIL]
        stock = [[*phrase, *ending] for phrase in STOCK_THOUGHTS]
        self.stock_thought = re.compile(
            "|".join("".join(p) + f"(?={''.join(final)})" for p in stock), re.IGNORECASE
        ).match
        """Matches one of `STOCK_THOUGHTS` where the final answer follows."""
        self.partial_stock_thought = re.compile("|".join(prefixes(p + final) for p in stock), re.IGNORECASE).fullmatch


_RESULT_ZH = prefixes(["观", "察", "结", "果"])
is_cut_stop = re.compile(
    rf"{_DECOR_FULL}(?=\w)(?:{prefixes([*OBSERVATION, *_TAIL])}|{_RESULT_ZH}[:：]?)\s{{0,256}}", re.IGNORECASE
).fullmatch
"""Matches the beginning of an `Observation:`, white space behind it included: what a stop string leaves."""

STOCK_THOUGHTS = (
    "I now know the final answer",
    "I know the final answer",
    "我现在知道最终答案了",
    "我现在知道最终答案",
)
"""Thoughts that the prompts' formats ask for before the final answer; they are no content."""


_JOINED = {"actioninput": ACTION_INPUT, "finalanswer": FINAL_ANSWER}


def word_of(found: re.Match[str]) -> str:
    """Return the word of a marker that was found, as the constants here spell it, or `<think>`."""
    if found["word"] is None:
        return THINK
    word = found["word"].lower().replace("_", " ").replace("\t", " ")
    return _JOINED.get(word, word)
