"""JSON as models write it: where an object ends in a stream, what it means, and how it is written out again.

Owns the leniency: Python literals, single quotes, trailing commas, unescaped inner quotes, markdown's `\\_`. Reads
strictly first, so that what is JSON already keeps its meaning. Knows no tool, no schema and no marker.
"""

import json
import re
from typing import Literal, NoReturn

MAX_DEPTH = 128
"""Levels of nesting; deeper is no call that a tool was ever declared for, and would exhaust the stack."""

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

# A quote inside a string is a closing one only where a value can end. Strict JSON and Python's own repr never break
# this rule; `'it's fine'` and `"he said "hi""` become readable by it.
_AFTER_STRING = ",:}])\r\n"
_SPACES = re.compile(r"[ \t]*+")
_SPACE = re.compile(r"\s*+")
_IN_STRING = {quote: re.compile(rf"[\\{quote}]") for quote in "\"'”"}
_STRICT_START = re.compile(r'\{\s*+["}]')
_OPENS = {"{": "}", "[": "]"}


def outside(halt: str) -> re.Pattern[str]:
    """The pattern of what matters outside strings: quotes, brackets, and where to halt."""
    return re.compile(rf"[\"'“{{}}\[\]]|{halt}")


_NO_HALT = outside("(?!)")
_PLAIN = json.JSONDecoder(strict=False)
_WRITER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


class ObjectScanner:
    """Finds the end of one object in a stream, in time linear in the text and memory constant but for the nesting.

    Outside strings it also halts at `halt`, a pattern that tells where the object may have been broken off. `inside`
    begins after the opening brace.
    """

    __slots__ = ("_closing", "_escaped", "_outside", "_owed", "_quote", "_stack", "state", "too_deep")

    def __init__(self, outside: re.Pattern[str], *, inside: bool = False) -> None:
        self._outside = outside
        self._stack: list[str] = ["}"] if inside else []
        self._owed = {"}": len(self._stack), "]": 0}
        self._quote = ""
        self._escaped = False
        self._closing = False
        self.state: Literal["open", "done", "halted"] = "open"
        self.too_deep = False

    @property
    def missing(self) -> str:
        """The closing brackets that are still owed; empty inside a string, which nothing can complete."""
        return "" if self._quote else "".join(reversed(self._stack))

    def scan(self, text: str, start: int) -> int:
        """Reads on from `start`; returns the index up to which the text is read, and sets `state`."""
        self.state = "open"
        if not self._stack and not self._quote and (whole := _strict_end(text, start)):
            self.state = "done"
            return whole
        position, end = start, len(text)
        while position < end:
            if self._quote:
                position = self._scan_string(text, position, end)
                continue
            found = self._outside.search(text, position)
            if found is None:
                return end
            position = found.end()
            character = found[0]
            if character in "\"'":
                self._quote = character
            elif character == "“":
                self._quote = "”"
            elif character in "{[":
                self._stack.append(_OPENS[character])
                self._owed[_OPENS[character]] += 1
                self.too_deep = self.too_deep or len(self._stack) > MAX_DEPTH
            elif character in "}]":
                self._shut(character)
                if not self._stack:
                    self.state = "done"
                    return position
            else:
                self.state = "halted"
                return position
        return position

    def _shut(self, bracket: str) -> None:
        """Closes the innermost bracket of this kind, and with it those inside that were never closed."""
        while self._owed[bracket]:
            closed = self._stack.pop()
            self._owed[closed] -= 1
            if closed == bracket:
                return

    def _scan_string(self, text: str, position: int, end: int) -> int:
        if self._escaped:
            self._escaped = False
            return position + 1
        if self._closing:
            spaces = _SPACES.match(text, position)
            position = spaces.end() if spaces else position
            if position == end:
                return end
            self._closing = False
            if text[position] in _AFTER_STRING:
                self._quote = ""
                return position
        found = _IN_STRING[self._quote].search(text, position)
        if found is None:
            return end
        if found[0] == "\\":
            self._escaped = True
        elif found[0] == "”":
            self._quote = ""
        else:
            self._closing = True
        return found.end()


def _strict_end(text: str, start: int) -> int:
    """Where the object of strict JSON ends that opens at `start`; 0 where none does, or one that is deep."""
    if not _STRICT_START.match(text, start):
        return 0
    try:
        _, end = _PLAIN.raw_decode(text, start)
    except (ValueError, RecursionError):
        return 0
    return end if text.count("[", start, end) + text.count("{", start, end) <= MAX_DEPTH else 0


def find_object_end(text: str, start: int) -> int | None:
    """Where the object ends that opens at `start`, white space aside: `start` if none opens, None if it never ends."""
    found = _SPACE.match(text, start)
    opening = found.end() if found else start
    if text[opening : opening + 1] != "{":
        return start
    scanner = ObjectScanner(_NO_HALT)
    end = scanner.scan(text, opening)
    return end if scanner.state == "done" else None


def read_json(text: str) -> Json:
    """Reads strict JSON, control characters in strings allowed. Raises ValueError, also on NaN and on deep nesting."""
    try:
        value: Json = _STRICT.decode(text)
    except RecursionError as error:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from error
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_depth(value)
    return value


def read_literal(text: str) -> Json:
    """Reads JSON, or a Python literal or nearly-JSON where it has one meaning. Raises ValueError."""
    try:
        return read_json(text)
    except ValueError:
        return _Reader(text).read()


def write_json(value: Json) -> str:
    """One line of strict JSON. A lone surrogate, which no encoding can carry, becomes U+FFFD."""
    return encodable(_WRITER.encode(value))


def encodable(text: str) -> str:
    """The text with surrogate pairs joined and lone surrogates replaced, so that UTF-8 can carry it."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _read_float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {text[:40]} is out of range")
    return value


_STRICT = json.JSONDecoder(strict=False, parse_constant=_refuse_constant, parse_float=_read_float)


def _check_depth(value: Json) -> None:
    level: list[Json] = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner
            for item in level
            if isinstance(item, dict | list)
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return
    raise ValueError(f"nested deeper than {MAX_DEPTH} levels")


def _string_pattern(quote: str) -> str:
    return rf"{quote}(?:[^{quote}\\]++|\\.|{quote}(?![ \t]*+(?:[,:}}\])\r\n]|\Z)))*+{quote}"


_TOKEN = re.compile(
    rf"\s*+(?:(?P<string>{_string_pattern(chr(34))}|{_string_pattern(chr(39))}|“[^”]*+”)"
    r"|(?P<number>[-+]?(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][-+]?\d++)?)(?![\w.])"
    r"|(?P<word>[^\W\d][\w$-]*+)"
    r"|(?P<mark>[{}\[\](),:]))",
    re.DOTALL,
)
_WORDS: dict[str, Json] = {"true": True, "false": False, "null": None, "none": None}
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "a": "\a", "v": "\v", "0": "\0", "\n": ""} | {
    character: character for character in "\"'\\/_"
}


class _Reader:
    """A recursive-descent reader of nearly-JSON; every method returns a value or raises ValueError."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._kind = self._token = ""
        self._next()

    def read(self) -> Json:
        value = self._value(0)
        if self._kind:
            raise ValueError(f"text after the value: {self._token[:40]}")
        return value

    def _next(self) -> None:
        found = _TOKEN.match(self._text, self._position)
        if found is None:
            rest = self._text[self._position : self._position + 40].strip()
            if rest:
                raise ValueError(f"not readable at {rest!r}")
            self._kind = self._token = ""
            return
        self._kind = found.lastgroup or ""
        self._token = found[self._kind]
        self._position = found.end()

    def _take(self, mark: str) -> bool:
        if self._kind == "mark" and self._token == mark:
            self._next()
            return True
        return False

    def _value(self, depth: int) -> Json:
        if depth > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        kind, token = self._kind, self._token
        match kind:
            case "string":
                self._next()
                return _unescape(token[1:-1])
            case "number":
                self._next()
                return _number(token)
            case "word" if token.lower() in _WORDS:
                self._next()
                return _WORDS[token.lower()]
            case "mark" if token == "{":
                self._next()
                return self._object(depth)
            case "mark" if token in "[(":
                self._next()
                return self._array("]" if token == "[" else ")", depth)
            case _:
                raise ValueError(f"expected a value, got {token[:40]!r}" if token else "the value ends too early")

    def _object(self, depth: int) -> Json:
        members: dict[str, Json] = {}
        while not self._take("}"):
            if self._kind not in ("string", "word", "number"):
                raise ValueError(f"expected a key, got {self._token[:40]!r}")
            key = _unescape(self._token[1:-1]) if self._kind == "string" else self._token
            self._next()
            if not self._take(":"):
                raise ValueError(f"expected a colon after {key[:40]!r}")
            members[key] = self._value(depth + 1)
            if not self._take(","):
                if not self._take("}"):
                    raise ValueError(f"expected a comma after the value of {key[:40]!r}")
                break
        return members

    def _array(self, closing: str, depth: int) -> Json:
        items: list[Json] = []
        while not self._take(closing):
            items.append(self._value(depth + 1))
            if not self._take(","):
                if not self._take(closing):
                    raise ValueError(f"expected a comma after item {len(items)}")
                break
        return items


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    return encodable(_ESCAPE.sub(_unescape_one, text))


def _unescape_one(found: re.Match[str]) -> str:
    code = found[1] or found[2] or found[3]
    if code:
        return chr(int(code, 16)) if int(code, 16) <= 0x10FFFF else found[0]
    return _ESCAPED.get(found[4], found[0])


def _number(token: str) -> Json:
    digits = token.lstrip("+-")
    if len(digits) > 1 and digits[0] == "0" and digits.isdigit():
        return token  # 02139 is a postcode: as a number its zero would be lost
    if digits.isdigit():
        return int(token)
    return _read_float(token)
