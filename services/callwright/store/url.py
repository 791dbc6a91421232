"""URLs of stores and of objects in them: taken apart, with nothing of them dropped.

Names are percent-decoded. What a URL may have besides and no store has use for (a query, a fragment, a user, a port) is
refused: left out without a word, it would make one store of two.
"""

import os
import re
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

from callwright.errors import InvalidInput

SCHEMES = ("file", "s3", "gs", "az", "memory")
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):(//(?P<host>[^/]*))?(?P<path>/.*)?", re.DOTALL)
_BUCKET = re.compile(r"[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?")


@dataclass(frozen=True)
class StoreURL:
    """A store's URL, taken apart."""

    scheme: str
    host: str
    """The bucket or container."""
    path: str
    """The folder or prefix, decoded, beginning with a slash where there is one."""

    @classmethod
    def read(cls, url: str) -> "StoreURL":
        """Take apart `url`. Raises `InvalidInput` for one that cannot be a store's."""
        match = _URL.fullmatch(url)
        if match is None or (scheme := match["scheme"].lower()) not in SCHEMES:
            raise InvalidInput(f"opening the store: got {url!r}; expected a URL with one of {', '.join(SCHEMES)}")
        host, path = match["host"] or "", match["path"] or ""
        if "@" in host:  # not shown, for it may hold a password
            raise InvalidInput(
                f"opening the store: got a user in {scheme}://…@{host.rpartition('@')[2]}; expected "
                f"{scheme}://bucket/prefix; give credentials in the environment"
            )
        path = _decoded(path, url, any_bytes=scheme == "file")
        match scheme:
            case "file" if host not in ("", "localhost") or not path:
                raise InvalidInput(f"opening the store: got {url}; expected file:///absolute/path")
            case "s3" | "gs" | "az" if not _BUCKET.fullmatch(host) or {".", ".."} & set(path.split("/")):
                raise InvalidInput(f"opening the store: got {url}; expected {scheme}://bucket/prefix")
        return cls(scheme, host, path)

    def holds(self, other: "StoreURL") -> bool:
        """Return whether `other` is this store or a folder in it."""
        same = self.scheme == other.scheme and (self.scheme == "file" or self.host == other.host)
        return same and f"{other.path.removesuffix('/')}/".startswith(f"{self.path.removesuffix('/')}/")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}{quote(self.path)}"


def located(url: str) -> tuple[str, str]:
    """Return the URL of the folder that an object's URL names, and the object's key in it. Raises `InvalidInput`."""
    folder, _, name = url.rpartition("/")
    scheme = StoreURL.read(folder).scheme
    return folder, _decoded(name, url, any_bytes=scheme == "file")


def _decoded(text: str, url: str, *, any_bytes: bool) -> str:
    if odd := re.search(r"[?#\x00-\x1f\x7f]", text):
        raise InvalidInput(
            f"opening the store: got {odd[0]!r} in {url!r}; expected names with / between them; write it as "
            f"{quote(odd[0])} where it belongs to a name"
        )
    decoded = unquote_to_bytes(os.fsencode(text))
    try:
        if b"\0" in decoded:
            raise ValueError
        return os.fsdecode(decoded) if any_bytes else decoded.decode()
    except ValueError:
        raise InvalidInput(f"opening the store: got {url!r}; expected names that are UTF-8, percent-encoded") from None
