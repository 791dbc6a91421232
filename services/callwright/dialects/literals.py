"""Reads JSON as models write it, and writes strict JSON.

Python literals, single and triple quotes, trailing commas, unescaped inner quotes and markdown's `\\_` are read too.
Text is read strictly first, so that what is JSON already keeps its meaning.
"""

import json
import re
from typing import NoReturn

MAX_DEPTH = 202
"""Levels of nesting that are read: the 200 that arguments may have, within the two objects that Hermes may write around
them. Deeper is no call that a tool was ever declared for, and would exhaust the stack."""

_MAX_DIGITS = 4300
"""Digits of a whole number; Python converts no more, since the time grows with their square."""

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

_WRITER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def read_json(text: str) -> Json:
    """Reads strict JSON, control characters in strings allowed. Raises ValueError, also on NaN and on deep nesting."""
    return _decoded(_STRICT, text)


def read_unambiguous(text: str) -> Json:
    """Reads what `read_json` reads, and raises ValueError also on a key twice, of which only the last value counts."""
    return _decoded(_UNAMBIGUOUS, text)


def _decoded(decoder: json.JSONDecoder, text: str) -> Json:
    try:
        value: Json = decoder.decode(text)
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


def read_call_arguments(text: str) -> tuple[list[Json], dict[str, Json]]:
    """Reads what stands between a call's parentheses, as in `1, b="x"`: values in order, and by name.

    Raises ValueError.
    """
    return _Reader(text, _TOKEN_OF_CALL).read_call_arguments()


def is_keyword_name(name: str) -> bool:
    """Return whether an argument can be given by this name between a call's parentheses."""
    return _KEYWORD_NAME.fullmatch(name) is not None and name.lower() not in _WORDS


def literal_or_text(text: str) -> Json:
    """Return what `read_literal` makes of the text, or the text where it is none."""
    if not text or text[0] not in "{[\"'-+.0123456789tTfFnN“(":
        return text
    try:
        return read_literal(text)
    except ValueError:
        return text


def write_json(value: Json) -> str:
    """Return one line of strict JSON. A lone surrogate, which no encoding can carry, becomes U+FFFD."""
    return encodable(_WRITER.encode(value))


def encodable(text: str) -> str:
    """Return the text with surrogate pairs joined and lone surrogates replaced, so that UTF-8 can carry it."""
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


def _read_int(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"a number of {len(text)} digits is out of range")
    return int(text)


def _read_object(pairs: list[tuple[str, Json]]) -> Json:
    members = dict(pairs)
    if len(members) < len(pairs):
        twice = next(key for index, (key, _) in enumerate(pairs) if key in dict(pairs[:index]))
        raise ValueError(f"the key {twice[:40]!r} stands twice in one object")
    return members


_STRICT = json.JSONDecoder(strict=False, parse_constant=_refuse_constant, parse_float=_read_float, parse_int=_read_int)
_UNAMBIGUOUS = json.JSONDecoder(
    strict=False, parse_constant=_refuse_constant, parse_float=_read_float, parse_int=_read_int,
    object_pairs_hook=_read_object,
)  # fmt: skip


_NESTS = (dict, list)


def _check_depth(value: Json) -> None:
    level = [value] if isinstance(value, _NESTS) else []
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for item in level
            for inner in (item.values() if item.__class__ is dict else item)
            if inner.__class__ in _NESTS
        ]
        if not level:
            return
    raise ValueError(f"nested deeper than {MAX_DEPTH} levels")


NEXT_ARGUMENT = r"\s{0,64}(?:[\"'“\d\-+.*\[({}\])]|[^\W\d][\w$-]{0,64}\s{0,8}[=:]|(?i:true|false|null|none)\b)"
"""Matches how what follows a comma between a call's parentheses begins, and no prose, as in `'say 'hi', then'`."""


def _string_pattern(quote: str, comma: str = ",") -> str:
    """Return a pattern of a string, in which a quote is a closing one only where a value can end: before a `comma`."""
    after = rf"(?:[:}}\])\r\n]|{comma}|\Z)"
    return rf"{quote}(?!{quote}{{2}})(?:[^{quote}\\]++|\\.|{quote}(?![ \t]*+{after}))*+{quote}"


def _triple_pattern(quote: str) -> str:
    return rf"{quote}{{3}}(?:[^{quote}\\]++|\\.|{quote}(?!{quote}{{2}}\s*+(?:[,:}}\])]|\Z)))*+{quote}{{3}}"


def _token(comma: str, prefix: str = "") -> re.Pattern[str]:
    """Return the pattern of a token; `prefix` is one of what may stand before a string's quote."""
    return re.compile(
        rf"\s*+(?:(?P<prefix>{prefix})(?P<triple>{_triple_pattern(chr(34))}|{_triple_pattern(chr(39))})"
        rf"|(?P<text>{prefix})(?P<string>{_string_pattern(chr(34), comma)}|{_string_pattern(chr(39), comma)}|“[^”]*+”)"
        r"|(?P<number>[-+]?(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][-+]?\d++)?)(?![\w.])"
        r"|(?P<word>[^\W\d][\w$-]*+)"
        r"|(?P<mark>[{}\[\](),:=]|\*\*))",
        re.DOTALL,
    )


_TOKEN = _token(",")
_TOKEN_OF_CALL = _token(rf",(?={NEXT_ARGUMENT}|\s*\Z)", "(?i:[fru]{0,2})")
_KEYWORD_NAME = re.compile(r"[^\W\d]\w*+")
_QUOTES = {"triple": 3, "string": 1}
_WORDS: dict[str, Json] = {"true": True, "false": False, "null": None, "none": None}
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "a": "\a", "v": "\v", "0": "\0", "\n": ""} | {
    character: character for character in "\"'\\/_"
}


class _Reader:
    """A recursive-descent reader of nearly-JSON; every method returns a value or raises ValueError."""

    def __init__(self, text: str, token: re.Pattern[str] = _TOKEN) -> None:
        self._text = text
        self._pattern = token
        self._position = 0
        self._kind = self._token = self._prefix = ""
        self._next()

    def read(self) -> Json:
        value = self._value(0)
        if self._kind:
            raise ValueError(f"text after the value: {self._token[:40]}")
        return value

    def read_call_arguments(self) -> tuple[list[Json], dict[str, Json]]:
        values: list[Json] = []
        named: dict[str, Json] = {}
        while self._kind:
            kind, token = self._kind, self._token
            if kind == "mark" and token == "**":
                self._next()
                unpacked = self._value(0)
                if not isinstance(unpacked, dict):
                    raise ValueError("expected an object behind **")
                named |= unpacked
            elif kind == "word" and token.lower() not in _WORDS:
                self._next()
                if not self._take("=") and not self._take(":"):
                    raise ValueError(f"expected a value, got {token[:40]!r}")
                named[token] = self._value(0)
            else:
                values.append(self._value(0))
            if not self._take(",") and self._kind:
                raise ValueError(f"expected a comma, got {self._token[:40]!r}")
        return values, named

    def _next(self) -> None:
        found = self._pattern.match(self._text, self._position)
        if found is None:
            rest = self._text[self._position : self._position + 40].strip()
            if rest:
                raise ValueError(f"not readable at {rest!r}")
            self._kind = self._token = ""
            return
        self._kind = found.lastgroup or ""
        self._token = found[self._kind]
        self._position = found.end()
        if quotes := _QUOTES.get(self._kind):
            self._prefix = ((found["prefix"] or "") + (found["text"] or "")).lower()
            self._kind, self._token = "string", self._token[quotes:-quotes]

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
                prefix = self._prefix
                if "f" in prefix and "{" in token:
                    raise ValueError(f"expected a literal, got a string with values in it: {token[:40]!r}")
                self._next()
                return token if "r" in prefix else _unescape(token)
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

    def _set(self, first: Json, depth: int) -> Json:
        """Read the rest of a set of Python's, which JSON has as an array."""
        items = [first]
        while not self._take("}"):
            if not self._take(","):
                raise ValueError(f"expected a comma after item {len(items)}")
            if self._kind != "mark" or self._token != "}":
                items.append(self._value(depth + 1))
        return items

    def _object(self, depth: int) -> Json:
        members: dict[str, Json] = {}
        while not self._take("}"):
            if self._kind not in ("string", "word", "number"):
                raise ValueError(f"expected a key, got {self._token[:40]!r}")
            kind = self._kind
            key = _unescape(self._token) if kind == "string" else self._token
            self._next()
            if not self._take(":"):
                if self._pattern is _TOKEN_OF_CALL and not members:
                    return self._set(_number(key) if kind == "number" else _WORDS.get(key.lower(), key), depth)
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
                return items[0] if closing == ")" and len(items) == 1 else items  # without a comma it is no tuple
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
        return _read_int(token)
    return _read_float(token)
