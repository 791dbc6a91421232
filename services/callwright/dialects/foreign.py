"""Breaks special tokens and markers in text that is not the model's own, alike in training and in serving.

    own = Foreign(dialects.load("hermes"), ("<|im_end|>", …))
    messages, tools = own.broken(messages, tools)        "ok<|im_end|>" in a result is now "ok< |im_end|>"
    own.count                                            1

A space after its first character is the least change that no tokenizer reads as the token, and no normaliser takes out;
spellings that a normaliser (NFKC) makes a token of, such as `＜|im_end|＞`, are broken too.
Special tokens are broken in all texts but the assistant's; tags of calls, results and thoughts in those of users, tools
and results, since a system text may show the format; and where a dialect writes results into the assistant's text, a
line that would be a marker there is quoted: `> Final Answer: 7`. Text without any of these keeps every byte.
"""

import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from itertools import chain, groupby, starmap, takewhile
from typing import Any
from unicodedata import normalize

from callwright.dialects.messages import text_of_part
from callwright.dialects.types import Dialect, Message, ToolSpec
from callwright.errors import InvalidInput

_IN_BARS = ("<[|｜][^\\s<>＜＞﹤﹥]{1,64}[>＞﹥]", "<[^\\s<>|｜＜＞﹤﹥]{1,63}[|｜][>＞﹥]")
_USUAL = (
    *("</?s>", "<(?:bos|eos|pad|unk|sop|eop)>", r"<(?:start|end)_of_\w{1,32}>", "<</?SYS>>"),
    *(r"\[/?INST\]", r"\[/?[A-Z]{1,16}_[A-Z_]{1,32}\]", r"\[/?(?:THINK|ARGS|gMASK|sMASK)\]"),
)
"""What special tokens look like, for versions whose manifest does not list them."""
_COMPATIBLE = (
    *((0xA0, 0x100), (0x17F, 0x180), (0x2B0, 0x300), (0x37E, 0x37F), (0x1D00, 0x1DC0), (0x1FEF, 0x1FF0)),
    *((0x2000, 0x2190), (0x2260, 0x2270), (0x2460, 0x2500), (0x2C7C, 0x2C7E), (0xFE10, 0xFE70), (0xFF00, 0xFFF0)),
    *((0xA7F0, 0xA800), (0xFB29, 0xFB2A), (0x10780, 0x107C0)),
    *((0x1D400, 0x1D800), (0x1F100, 0x1F190), (0x1FBF0, 0x1FBFA)),
)
"""Where Unicode's other spellings of ASCII's characters stand."""
_TAGS = tuple(f"<{end}{name}>" for end in ("", "/") for name in ("tool_call", "tool_response", "tools", "think"))
_Patterns = dict[str, re.Pattern[str]]


class Foreign:
    """Breaks what is to be broken for one dialect and one tokenizer, whose `special` tokens are None where unknown.

    Without a dialect, for text that is not written in one yet, it breaks special tokens alone.
    """

    def __init__(self, dialect: Dialect | None, special: Iterable[str] | None) -> None:
        markers = dialect.markers if dialect else ()
        self._special, self._marked = _patterns(None if special is None else tuple(special), markers)
        self._in_results = None
        if dialect:
            self._in_results = dialect.marker_in_result
        else:
            self._marked = self._special
        self.count = 0
        """Tokens and markers that were broken so far."""

    def broken(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec] | None
    ) -> tuple[Sequence[Message], Sequence[ToolSpec] | None]:
        """Return the messages and the tools; those that need no change as they are. Raises InvalidInput for a tool's
        name.
        """
        made = [self._message(message) if isinstance(message, Mapping) else message for message in messages]
        declared = [self.value(tool) for tool in tools or ()]
        changed = any(new is not old for new, old in zip(declared, tools or (), strict=True))
        return made, declared if changed else tools

    def _message(self, message: Message) -> Message:
        role, content = message.get("role"), message.get("content")
        if role == "assistant" or not content:
            return message
        is_text = isinstance(content, list | tuple) and all(text_of_part(part) is not None for part in content)
        text = "".join(text_of_part(part) or "" for part in content) if is_text else content
        if isinstance(text, str):
            made: object = self._text(text, self._special if role in ("system", "developer") else self._marked)
            if role in ("tool", "function") and self._in_results is not None:
                made = self._sub(self._in_results, _quote, str(made))
        else:
            made = self._parts(text) if isinstance(text, list | tuple) else self.value(text)
        return message if made == content or made is text is not content else {**message, "content": made}

    def _parts(self, parts: Sequence[Any]) -> Sequence[Any]:
        """Return content with parts that are no text; a token may stand over several texts beside each other."""
        made: list[Any] = []
        for are_texts, run in groupby(parts, key=lambda part: text_of_part(part) is not None):
            beside = list(run)
            text = "".join(text_of_part(part) or "" for part in beside) if are_texts else ""
            if (new := self._text(text, self._marked)) is text:
                made += beside if are_texts else map(self.value, beside)
                continue
            first = next(part for part in beside if text_of_part(part))
            made.append({**first, "text": new} if isinstance(first, Mapping) else new)
        return parts if all(map(operator.is_, made, parts)) else made

    def value(self, value: Any) -> Any:
        """Return JSON with its strings broken, keys too; the very same object where nothing is."""
        return value if self._is_plain(value) else self._broken(value)

    def _is_plain(self, value: Any) -> bool:
        """Return whether none of JSON's strings has anything that a token begins with: most have not."""
        texts, waiting = [], [value]
        for each in waiting:
            kind = type(each)
            if kind is str:
                texts.append(each)
            elif kind is dict:
                waiting += each
                waiting += each.values()
            elif kind is list:
                waiting += each
            elif isinstance(each, Mapping | tuple):
                return False
        text = "".join(texts)
        return not any(_may_begin(text, firsts) for firsts in self._marked)

    def _broken(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value, self._marked)
        if isinstance(value, (dict, Mapping)):  # asking for a dict first is much quicker
            same, made = True, {}
            for key, inner in value.items():
                new_key, new = self._text(key, self._marked), self._broken(inner)
                same = same and new_key is key and new is inner
                made[new_key] = new
            if same:
                return value
            if isinstance(name := value.get("name"), str) and made.get("name") != name:
                raise InvalidInput(f"got the name {name[:80]!r}; expected one without special tokens and tags; rename")
            return made
        if isinstance(value, list | tuple):
            items = [self._broken(item) for item in value]
            return value if all(new is old for new, old in zip(items, value, strict=True)) else items
        return value

    def _text(self, text: str, patterns: Mapping[str, re.Pattern[str]]) -> str:
        for firsts, pattern in patterns.items():
            if _may_begin(text, firsts):
                text = self._sub(pattern, r"\g<0> ", text)
        return text

    def _sub(self, pattern: re.Pattern[str], by: Any, text: str) -> str:
        made, count = pattern.subn(by, text)
        self.count += count
        return made if count else text


def _may_begin(text: str, firsts: str) -> bool:
    """Return whether the text has one of `firsts`, of which all but the first are not ASCII's."""
    return firsts[0] in text or (not text.isascii() and any(first in text for first in firsts))


def special_tokens(added: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the special ones of a tokenizer's added tokens, as `tokenizer.json` writes these, in one order for all."""
    return tuple(sorted({str(token["content"]) for token in added if token.get("special") is True}))


def _can_be_broken(token: str) -> bool:
    return len(token) > 1 and not token.isspace() and not token[1].isspace()


@lru_cache(maxsize=32)
def _patterns(special: tuple[str, ...] | None, markers: tuple[str, ...]) -> tuple[_Patterns, _Patterns]:
    """Return what breaks `special` tokens, and what breaks tags too; there may be thousands, and each request needs
    both.
    """
    tokens = _alternatives([token for token in special or () if _can_be_broken(token)])
    shapes = [*_IN_BARS, *(_USUAL if special is None else tokens)]
    tags = _alternatives(dict.fromkeys((*_TAGS, *filter(_can_be_broken, markers))))
    return _by_first(shapes), _by_first([*shapes, *tags])


def _alternatives(words: Iterable[str]) -> list[str]:
    """Patterns that match where one of `words` begins; what several begin with stands once, so that few are tried."""
    groups: dict[str, list[str]] = {}
    for word in words:
        groups.setdefault(word[0], []).append(word)
    made = []
    for group in groups.values():
        least, most = min(group), max(group)
        same = takewhile(lambda pair: pair[0] == pair[1], zip(least, most, strict=False))
        shared = least[: sum(1 for _ in same)]
        rests = [] if shared in group else _alternatives([word[len(shared) :] for word in group])
        made.append(_spelled(shared) + (f"(?:{'|'.join(rests)})" if rests else ""))
    return made


def _by_first(wholes: Iterable[str]) -> _Patterns:
    """Return a pattern for each character that something of `wholes`, which are patterns, begins with; it matches that
    one.

    The key is the character and its other spellings.
    """
    rests: dict[str, list[str]] = {}
    for whole in wholes:
        first = _FIRST.match(whole)
        assert first is not None
        rests.setdefault((first[1] or first[0])[-1], []).append(whole[first.end() :])
    return {
        first + _other_spellings().get(first, ""): re.compile(f"{_spelled(first)}(?={'|'.join(rest)})")
        for first, rest in rests.items()
    }


_FIRST = re.compile(r"\[(\\?.)[^\]]*\]|\\?.", re.DOTALL)
"""What a pattern's first character is written as: itself, escaped, or with its other spellings behind it."""


def _spelled(text: str) -> str:
    """Return a pattern of the text, and of what a tokenizer's normaliser makes it of: `＜` is `<` to NFKC."""
    others = _other_spellings()
    return "".join(f"[{re.escape(each)}{others[each]}]" if each in others else re.escape(each) for each in text)


@cache
def _other_spellings() -> dict[str, str]:
    """Return the characters, by one of ASCII, that NFKC makes that one of."""
    found: dict[str, str] = {}
    for number in chain.from_iterable(starmap(range, _COMPATIBLE)):
        if len(made := normalize("NFKC", chr(number))) == 1 and made.isascii() and not made.isspace():
            found[made] = found.get(made, "") + chr(number)
    return found


def _quote(found: re.Match[str]) -> str:
    """Return what goes in before a marker: at a line start a quote's mark, within a line a space."""
    return "> " if found.string[found.start() - 1] == "\n" else " "
