"""The special tokens of Gemma 4 and of FunctionGemma, and what is found by them."""

import re
from dataclasses import dataclass
from functools import cached_property

from callwright.dialects import left_over
from callwright.dialects.types import THINK

_W = r"\s{0,64}+"
_KEY = r"[^:=,{}\[\]\"'<>\s][^:=,{}\[\]\"'<>\n]{0,127}+"
"""Matches a key without quotes, and the white space behind it."""


@dataclass(frozen=True)
class Tokens:
    """The special tokens of one model family, and what is read by them."""

    open: str
    shut: str
    quote: str
    """Stands before and behind text."""
    result: str
    """What hands a turn over to its results."""
    turn_end: str
    thought: tuple[str, str] | None = None
    label: str = ""
    """What the token that opens a thought is followed by."""

    @cached_property
    def tag(self) -> re.Pattern[str]:
        """Matches what leads out of prose; the tag of a think block only where it begins a line."""
        led = "|".join(map(re.escape, self.led[:-1]))
        return re.compile(rf"{led}|^[ \t]{{0,8}}{THINK}", re.MULTILINE)

    @cached_property
    def led(self) -> tuple[str, ...]:
        return (self.open, self.result, *((self.thought[0],) if self.thought else ()), THINK)

    @cached_property
    def key(self) -> re.Pattern[str]:
        """Matches a member's key and what stands behind it."""
        quote = re.escape(self.quote)
        return re.compile(rf"{_W}(?:{quote}({_KEY}){quote}|\"({_KEY})\"|'({_KEY})'|({_KEY})){_W}[:=]")

    @cached_property
    def key_part(self) -> re.Pattern[str]:
        """Matches what may become one with more text."""
        begun = "|".join(re.escape(self.quote[:n]) for n in range(len(self.quote), 0, -1))
        return re.compile(rf"{_W}(?:(?:{begun})?[\"']?(?:{_KEY})?[\"']?(?:{begun})?){_W}\Z")

    @cached_property
    def in_container(self) -> re.Pattern[str]:
        """Matches what matters outside the strings of a list or an object."""
        tags = "|".join(map(re.escape, (self.quote, self.shut, self.open)))
        return re.compile(rf"[{{}}\[\]()]|(?<=[:,\[{{(=\s])[\"']|{tags}")

    @cached_property
    def after(self) -> re.Pattern[str]:
        """Matches what ends a call, after a brace or without one."""
        return re.compile(rf"([\s}}\])]{{0,64}})({'|'.join(map(re.escape, self.ends))}|)")

    @cached_property
    def ends(self) -> tuple[str, ...]:
        return (self.shut, self.open, self.result)

    @cached_property
    def end(self) -> re.Pattern[str]:
        """Matches one of `ends`."""
        return re.compile("|".join(map(re.escape, self.ends)))

    @cached_property
    def in_text(self) -> dict[str, re.Pattern[str]]:
        """Matches, by the mark that ends a text, that mark, and where the call may have ended without it."""
        broken = rf"[}}\]]\s{{0,64}}{re.escape(self.shut)}|{re.escape(self.open)}"
        plain = {mark: re.compile(rf"\\.|{mark}|{broken}", re.DOTALL) for mark in "\"'"}
        return {self.quote: re.compile(f"{re.escape(self.quote)}|{broken}"), **plain}

    @cached_property
    def in_bare(self) -> re.Pattern[str]:
        return re.compile("[,}]|" + "|".join(map(re.escape, self.ends)))

    @cached_property
    def rests(self) -> left_over.Rests:
        return left_over.Rests(self.shut, self.turn_end)


GEMMA_4 = Tokens(
    "<|tool_call>", "<tool_call|>", '<|"|>', "<|tool_response>", "<turn|>", ("<|channel>", "<channel|>"), "thought\n"
)
FUNCTION_GEMMA = Tokens(
    "<start_function_call>", "<end_function_call>", "<escape>", "<start_function_response>", "<end_of_turn>"
)
