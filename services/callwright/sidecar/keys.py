"""`Keys`: who may come in, by keys that are given or stand in a file, and `Client`: what each of them may ask for.

The file has a key a line, alone or as `NAME: KEY` with settings behind it, and changes without a restart. No error,
log or name shows a key.
"""

import contextlib
import hashlib
import hmac
import logging
import math
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pydantic import SecretStr

from callwright.errors import InvalidInput
from callwright.sidecar.errors import Overloaded, Refused
from callwright.sidecar.rates import Bucket

_LOG = logging.getLogger(__name__)
_LOOK_SECONDS = 1.0
_KEPT_SECONDS = 60.0
"""How long the keys of a file that can't be read any more stay valid."""
_is_name = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}").fullmatch
_FORM = "expected KEY, or NAME: KEY with any of models=ID,ID requests-per-minute=N tokens-per-minute=N"
_ROUNDS = 10_000
"""Of the hash that an unnamed key's name is made of: some milliseconds, for whoever guesses at a weak key too."""
_MOST_PER_MINUTE = 10**12


@dataclass(frozen=True)
class Terms:
    """What a key's line says beside the key."""

    models: frozenset[str] | None = None
    """Ids of the models that it may ask for; None for all."""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


class Client:
    """Who has come in: the name that its keys have in common, and what it may ask for."""

    def __init__(self, name: str, terms: Terms | None = None) -> None:
        self.name, self.terms = name, terms or Terms()
        limits = {"requests": self.terms.requests_per_minute, "tokens": self.terms.tokens_per_minute}
        self._buckets = {kind: Bucket(limit) for kind, limit in limits.items() if limit is not None}

    @property
    def has_all_models(self) -> bool:
        """It may ask for any model."""
        return self.terms.models is None

    def may_ask(self, model: object) -> bool:
        """Return whether it may ask for `model`."""
        return self.terms.models is None or model in self.terms.models

    def check_model(self, model: object) -> None:
        """Raise `Refused` for a model that it may not ask for, whether there is such a one or not."""
        if self.terms.models is None:
            return
        if not isinstance(model, str) or not model:
            raise Refused("model: expected the id of a model", param="model")
        if model not in self.terms.models:
            told = f"the model {model[:80]!r} does not exist, or this API key may not ask for it"
            raise Refused(told, param="model", code="model_not_found", status=404)

    def admit(self) -> None:
        """Count a request. Raises `Limited` where it has asked too much lately."""
        for kind, bucket in self._buckets.items():
            if (wait := bucket.seconds_until(1)) > 0:
                raise Limited(kind, bucket.per_minute, wait)
        if requests := self._buckets.get("requests"):
            requests.take(1)

    def spend(self, tokens: int) -> None:
        """Count the tokens of a request."""
        if bucket := self._buckets.get("tokens"):
            bucket.take(tokens)


class Limited(Overloaded):
    """More requests, or tokens, than the key may have in a minute."""

    code = "rate_limit_exceeded"

    def __init__(self, kind: str, most: int, seconds: float) -> None:
        self.kind, self.retry_after = kind, math.ceil(seconds)
        super().__init__(f"this API key may have {most} {kind} a minute; try again in {self.retry_after} s")


ANYBODY = "anybody"
"""The name of all clients where no key is asked for."""
_Known = tuple[bytes, Client]


class Keys:
    """The keys in the file at `path` and those `given`; where both are None everybody may come in.

    Raises `InvalidInput` when the file is unreadable or has a line that is none, and when a file or what is given
    holds none.
    """

    def __init__(self, path: str | None, given: Iterable[SecretStr] | None = None) -> None:
        self._path = None if path is None else Path(path)
        self._anybody = Client(ANYBODY) if path is None and given is None else None
        self._clients: dict[str, Client] = {}
        """By name; kept while the file says the same of them, so that what they have taken is not forgotten."""
        self._given: list[_Known] = []
        self._keys: list[_Known] = []
        self._stamp: tuple[int, int, int] | None = None
        self._looked = self._seen = 0.0
        self._is_lost = False
        if given is not None:
            self._take_given([key.get_secret_value().strip() for key in given])
        if self._path:
            self._look(self._path)
            if not self._keys:
                raise InvalidInput(f"reading the API keys: {self._path} holds none")

    def check(self, authorization: str | None, x_api_key: str | None = None) -> Client:
        """Return whose key it is: `authorization` is `Bearer` and a key, or `x_api_key` is one.

        Raises `Refused` with status 401 where neither is. Headers are texts in latin-1, as servers read them. Keys are
        compared in constant time.
        """
        if self._anybody is not None:
            return self._anybody
        if self._path and time.monotonic() - self._looked > _LOOK_SECONDS:
            self._look(self._path)
        scheme, _, bearer = (authorization or "").partition(" ")
        headers = (bearer if scheme.lower() == "bearer" else "", x_api_key or "")
        given = [each.encode("latin-1", "replace").strip(b" \t") for each in headers]
        known = None
        for key, client in (*self._given, *self._keys):  # all of them, whichever it is
            for each in given:
                if hmac.compare_digest(key, each):
                    known = client
        if known is None:
            raise Refused("the API key is missing or unknown", code="invalid_api_key", status=401)
        return known

    def _take_given(self, given: Sequence[str]) -> None:
        keys = list(filter(None, given))
        if any(key.endswith(":") for key in keys):
            told = "CALLWRIGHT_API_KEYS holds keys alone; got one that ends in ':': name keys in a file"
            raise InvalidInput(f"reading the API keys: {told}")
        if not keys:
            raise InvalidInput(
                "reading the API keys: CALLWRIGHT_API_KEYS holds none; give at least one, or leave it out"
            )
        self._given = [(spelled, Client(stable_name(key))) for key in keys for spelled in _spelled(key)]

    def _look(self, path: Path) -> None:
        """Read the file where it has changed. One that can't be read is told, and after a while admits nobody."""
        self._looked = time.monotonic()
        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
            if stamp != self._stamp:
                self._read(path)
            self._stamp, self._seen, self._is_lost = stamp, self._looked, False
        except (OSError, ValueError) as error:
            if self._stamp is None:
                raise InvalidInput(f"reading the API keys: {path}: {error}") from None
            if self._looked - self._seen > _KEPT_SECONDS and self._keys:
                self._keys, self._stamp = [], (0, 0, 0)
                _LOG.error("reading the API keys: %s: %s; it admits nobody any more", path, error)
            elif not self._is_lost:
                _LOG.warning("reading the API keys: %s: %s; in %d s it admits nobody", path, error, _KEPT_SECONDS)
            self._is_lost = True

    def _read(self, path: Path) -> None:
        """Take the file's keys. Raises `InvalidInput` for a line that is none; later such a line admits nobody."""
        lines, problems = _parsed(path.read_text(encoding="utf-8-sig"))
        if problems and self._stamp is None:
            raise InvalidInput(f"reading the API keys: {path}", problems)
        if problems:
            _LOG.error("reading the API keys: %s: %s; such a line admits nobody", path, "; ".join(problems))
        elif self._stamp and not lines:
            _LOG.error("reading the API keys: %s holds none; it admits nobody", path)
        named = {line.name: line.terms for line in lines}
        known = self._clients
        self._clients = {
            name: known[name] if name in known and known[name].terms == terms else Client(name, terms)
            for name, terms in named.items()
        }
        self._keys = [(spelled, self._clients[line.name]) for line in lines for spelled in _spelled(line.key)]


@lru_cache(maxsize=4096)
def stable_name(key: str) -> str:
    """Return a name for a key that has none: the same everywhere, and nothing that leads back to the key."""
    digest = hashlib.pbkdf2_hmac("sha256", key.encode("utf-8", "surrogateescape"), b"callwright key name", _ROUNDS)
    return f"key-{digest.hex()[:8]}"


@dataclass(frozen=True)
class _Line:
    number: int
    name: str
    key: str
    terms: Terms


def _parsed(text: str) -> tuple[list[_Line], tuple[str, ...]]:
    """Return the lines of a keys file, and what is wrong with others; neither shows a key."""
    lines: list[_Line] = []
    problems: list[str] = []
    names: dict[str, _Line] = {}
    keys: dict[str, _Line] = {}
    for number, written in enumerate(text.split("\n"), start=1):
        if not (told := written.strip()) or told.startswith("#"):
            continue
        try:
            line = _line(number, told)
            same = names.setdefault(line.name, line)
            if same.terms != line.terms:
                raise ValueError(f"{line.name} has other settings than in line {same.number}; expected the same")
            other = keys.setdefault(line.key, line)
            if other.name != line.name:
                raise ValueError(f"the key of {line.name} is that of {other.name} in line {other.number}")
            lines.append(line)
        except ValueError as error:
            problems.append(f"line {number}: {error}")
    return lines, tuple(problems)


def _line(number: int, text: str) -> _Line:
    """Raises `ValueError`, which shows no key."""
    first, *rest = re.split(r"[ \t]+", text)
    if not rest and not first.endswith(":"):
        return _Line(number, stable_name(first), first, Terms())
    if not first.endswith(":"):
        raise ValueError(f"got several words, and no name before them; {_FORM}")
    name = first[:-1]
    if not _is_name(name):
        raise ValueError("the name has other signs than letters, digits, '.', '_' and '-', or over 63")
    if not rest:
        raise ValueError(f"{name} has no key; {_FORM}")
    return _Line(number, name, rest[0], _terms(name, rest[1:]))


def _terms(name: str, settings: Sequence[str]) -> Terms:
    given: dict[str, str] = {}
    for n, setting in enumerate(settings, start=2):
        key, sign, value = setting.partition("=")
        if not sign or key not in ("models", "requests-per-minute", "tokens-per-minute"):
            raise ValueError(f"word {n} after {name}: is no setting; {_FORM}")
        if key in given:
            raise ValueError(f"{name} has {key} twice")
        if key == "models" and not all(value.split(",")):
            raise ValueError(f"{name} has models= without an id, or a space after a comma; expected ID,ID")
        given[key] = value
    models = given.get("models")
    return Terms(
        frozenset(models.split(",")) if models is not None else None,
        _number(name, "requests-per-minute", given),
        _number(name, "tokens-per-minute", given),
    )


def _number(name: str, setting: str, given: dict[str, str]) -> int | None:
    if (value := given.get(setting)) is None:
        return None
    if not re.fullmatch(r"[0-9]{1,13}", value) or not 1 <= int(value) <= _MOST_PER_MINUTE:
        raise ValueError(f"{name} has a {setting} that is no whole number from 1 to {_MOST_PER_MINUTE}")
    return int(value)


def _spelled(key: str) -> tuple[bytes, ...]:
    """Return what clients send for a key: UTF-8, or latin-1 where it can be written so."""
    spelled = [key.encode("utf-8", "surrogateescape")]
    with contextlib.suppress(UnicodeEncodeError):
        spelled.append(key.encode("latin-1"))
    return tuple(dict.fromkeys(spelled))
