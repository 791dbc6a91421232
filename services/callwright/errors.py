"""The exception tree, and the one place where an error becomes an exit code, an HTTP status or a condition.

    CallwrightError
    ├── Permanent          trying again changes nothing
    │   ├── InvalidInput   the user's file, flag or request is wrong    exit 2, HTTP 400
    │   ├── NotFound       a model, version, file or key is not there   exit 2, HTTP 404
    │   ├── Conflict       somebody else changed or holds it            exit 1, HTTP 409
    │   ├── StageFailed    the work itself failed                       exit 1, HTTP 500
    │   └── GateFailed     the candidate is worse than allowed          exit 3, HTTP 409
    └── Temporary          trying again may help
        ├── Unavailable    a store, server or engine does not answer    exit 1, HTTP 503
        ├── TimedOut       it answered too late                         exit 1, HTTP 504
        └── Interrupted    Ctrl-C or SIGTERM ended it; its work is kept exit 130, 143

What a model got wrong is a value (`callwright.dialects.MalformedCall`), never an exception.
Messages read `what failed: got X; expected Y; do Z` and never hold a secret's value: `without_secrets` sees to the URLs
in them.
"""

import re
import signal
from typing import ClassVar

_SCHEME = r"(?<![A-Za-z0-9+.-])(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{0,31})"
_URL = re.compile(_SCHEME + r"://(?P<rest>(?:(?!(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]{0,31}://)\S)*)")
_ENCODED_URL = re.compile(_SCHEME + r"%(?:25)*3a(?:%(?:25)*2f){2}\S*", re.IGNORECASE)
"""One that is a part of another, say."""
_PASSWORD = re.compile(_SCHEME + r"://[^\s/?#@:]*:(?!\d{0,5}(?:[/?#\s'\";,)]|$))[^\n@]{0,512}@")
"""A user and a password with what ends a URL in it, such as a space."""
_END = re.compile(r"[\s'\"<>`,;)\]]*$")
_AUTHORITY = re.compile(r"[^/?#]*")
_AT = re.compile("@|%(?:25)*40")
_NO_PORT = re.compile(r":(?!\d{0,5}:?$)")
_QUERY = re.compile(r"(?<=[?#]).+")


def without_secrets(text: str) -> str:
    """Return the text, with neither user nor query in its URLs: they may be a password, a key or a signature."""
    text = _PASSWORD.sub(r"\g<scheme>://…@", text)
    return _ENCODED_URL.sub(r"\g<scheme>:…", _URL.sub(_without_secrets, text))


def _without_secrets(url: re.Match[str]) -> str:
    if url["scheme"].lower() == "file":  # names alone
        return url[0]
    end = _END.search(url["rest"])
    assert end is not None
    rest = _QUERY.sub("…", _without_user(url["rest"][: end.start()]))
    return f"{url['scheme']}://{rest}{end[0]}"


def _without_user(rest: str) -> str:
    start, authority = 0, _AUTHORITY.findall(rest)[0]
    if "@" not in authority and not authority.startswith("[") and _NO_PORT.search(authority):
        if "@" not in rest:  # cut off before it
            return f"{authority.partition(':')[0]}:…"
        # A key with a slash in it, as those of S3 have.
        start = rest.index("@") + 1
        authority = _AUTHORITY.findall(rest[start:])[0]
    hidden = start + max((at.end() for at in _AT.finditer(authority)), default=0)
    return f"…@{rest[hidden:]}" if hidden else rest


class CallwrightError(Exception):
    """Any failure that Callwright foresees; everything else is a bug and keeps its traceback."""

    exit_code: int = 1
    http_status: ClassVar[int] = 500

    def __init__(self, message: str = "") -> None:
        super().__init__(without_secrets(message))

    @property
    def reason(self) -> str:
        """The CamelCase word used as a Kubernetes condition's reason."""
        return type(self).__name__


class Permanent(CallwrightError):
    """Trying again changes nothing."""


class InvalidInput(Permanent):
    """The user's file, flag or request is wrong; `problems` has one line per fault."""

    exit_code = 2
    http_status = 400

    def __init__(self, message: str, problems: tuple[str, ...] = ()) -> None:
        self.problems = tuple(map(without_secrets, problems))
        super().__init__("\n".join((message, *(f"  {problem}" for problem in problems))))


class NotFound(Permanent):
    """A model, version, file or key is not there."""

    exit_code = 2
    http_status = 404


class Conflict(Permanent):
    """Somebody else changed it first, or holds it."""

    http_status = 409


class StageFailed(Permanent):
    """The work itself failed."""


class GateFailed(Permanent):
    """The candidate is worse than the gate allows; the promoted version stays."""

    exit_code = 3
    http_status = 409


class Temporary(CallwrightError):
    """Trying again may help."""

    http_status = 503


class Unavailable(Temporary):
    """A store, server or engine does not answer."""


class TimedOut(Temporary):
    """It answered too late."""

    http_status = 504


class Interrupted(Temporary):
    """A signal ended it before its time; `kept` says what is there already, the message also how to go on from it."""

    def __init__(
        self, kept: str, number: signal.Signals = signal.SIGINT, *, again: str = "run the same again to carry on"
    ) -> None:
        self.kept, self.number = kept, number
        self.exit_code = 128 + number  # as a shell says it
        super().__init__(f"{kept}; {again}")

    @classmethod
    def told(cls, stop: "KeyboardInterrupt | Interrupted", again: str) -> "Interrupted":
        """Return what `stop` says, with another way to go on."""
        if isinstance(stop, Interrupted):
            return cls(stop.kept, stop.number, again=again)
        return cls("interrupted", again=again)
