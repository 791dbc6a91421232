"""`Keys`: who may come in. Keys are given, or stand in a file, one a line, and change without a restart.

Compares in constant time, and knows nothing of what a key's owner does.
"""

import hmac
import time
from collections.abc import Iterable
from pathlib import Path

from pydantic import SecretStr

from callwright.errors import InvalidInput
from callwright.sidecar.problems import Refused

_LOOK_SECONDS = 1.0


class Keys:
    """The keys in `path` and those `given`; with neither everybody may come in.

    Raises `InvalidInput` when the file is unreadable or holds none.
    """

    def __init__(self, path: str | None, given: Iterable[SecretStr] = ()) -> None:
        self._path = Path(path) if path else None
        self._given = tuple(key.get_secret_value().encode() for key in given)
        self._keys: tuple[bytes, ...] = ()
        self._stamp: tuple[int, int] | None = None
        self._looked = 0.0
        if self._path:
            self._look()
            if not self._keys:
                raise InvalidInput(f"reading the API keys: {self._path} holds none")

    def check(self, authorization: str | None, x_api_key: str | None = None) -> None:
        """Raise `Refused` with status 401 unless `authorization` is `Bearer` and a key, or `x_api_key` is one."""
        if self._path is None and not self._given:
            return
        if self._path is not None and time.monotonic() - self._looked > _LOOK_SECONDS:
            self._look()
        scheme, _, bearer = (authorization or "").partition(" ")
        given = [key for key in (bearer if scheme.lower() == "bearer" else None, x_api_key) if key]
        known = False
        for key in (*self._given, *self._keys):  # all of them, whichever it is
            for each in given:
                known |= hmac.compare_digest(key, each.strip().encode())
        if not known:
            raise Refused("the API key is missing or unknown", code="invalid_api_key", status=401)

    def _look(self) -> None:
        assert self._path is not None
        self._looked = time.monotonic()
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_ino)
            if stamp != self._stamp:
                lines = self._path.read_text(encoding="utf-8").splitlines()
                self._keys = tuple(line.strip().encode() for line in lines if line.strip() and not line.startswith("#"))
                self._stamp = stamp
        except (OSError, UnicodeDecodeError) as error:
            if self._stamp is None:
                raise InvalidInput(f"reading the API keys: {self._path}: {error}") from None
