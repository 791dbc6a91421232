"""Patterns of what a model leaves around its calls: fences, and tags, quotes and brackets closed once too often."""

import re

from callwright.dialects.markers import prefixes

OPEN = "<tool_call>"
SHUT = "</tool_call>"
RESULT = "<tool_response>"

SPECIAL_TOKEN = r"(?:</s>|<\|\w{1,24}\|>)"
"""Matches what some models end a turn with, where the engine leaves it in the text."""
OPENS_LEFT_OVER = frozenset("<}])\"'`~")

find_fence = re.compile(r"^[ \t]{0,3}(?:`{3}|~{3})", re.MULTILINE).search
opens_fence = re.compile(r"[ \t]{0,3}(?:`{3}|~{3})\w{0,12}[ \t]{0,3}").fullmatch
may_open_fence = re.compile(r"[ \t]{0,3}(?:`{1,3}|~{1,3})\w{0,12}[ \t]{0,3}").fullmatch
LONGEST_FENCE = 21
_FENCE_LINE = re.compile(r"^[ \t]{0,3}(?P<fence>`{3}|~{3})(?P<language>\w{0,12})[ \t]{0,3}$", re.MULTILINE)


def block_after(text: str, block: str) -> str:
    """Return the fence of the code block that is open behind `text`; `block` is open before it."""
    for found in _FENCE_LINE.finditer(text):
        if not block:
            block = found["fence"]
        elif found["fence"] == block and not found["language"]:
            block = ""
    return block


def has_fence(text: str) -> bool:
    """Return whether a fence stands in it."""
    return "```" in text or "~~~" in text


class Rests:
    """What a dialect's calls leave behind; `tags` are those that close a call, and those that end a turn."""

    def __init__(self, *tags: str) -> None:
        closed = "|".join([*map(re.escape, tags), SPECIAL_TOKEN, "[}\\])\"'`~ \\t\\r]"])
        begun = "|".join(prefixes([re.escape(character) for character in tag]) for tag in tags)
        self.are = re.compile(f"(?:{closed}){{1,40}}").fullmatch
        """Matches a line that holds nothing else."""
        self.may_be = re.compile(rf"(?:{closed}){{0,40}}(?:<\|?\w{{0,24}}\|?|</s|{begun})").fullmatch
        """Matches the beginning of such a line, and of any tag."""
