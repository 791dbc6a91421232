"""`Patience`: how long to wait after a failure before the next try. Knows nothing of what is tried."""

import logging
from collections.abc import Callable

from callwright.controller.cluster import TooManyRequests
from callwright.errors import CallwrightError, Conflict, Permanent

_SECONDS = (0.2, 1.0, 5.0, 15.0, 60.0)
_LASTING = 3
_logger = logging.getLogger("callwright.controller")


class Patience:
    """The failures in a row of one thing that is tried again until it succeeds."""

    def __init__(self, name: str, count: Callable[[Exception], None] = lambda error: None) -> None:
        self._name, self._count_failed = name, count
        self._failed = ""
        self._count = 0
        self.trouble = ""
        """What fails, and of what; empty while nothing does."""

    def after(self, error: Exception) -> float:
        """Return the seconds to wait after `error`, which is logged.

        They grow while the same call fails: a try that fails at another one has got on. An API server that says when
        to come back is not asked before.
        """
        self._count_failed(error)
        failed = str(error).partition(": ")[0]
        self._count = self._count + 1 if failed == self._failed else 1
        self._failed = failed
        self.trouble = f"{self._name}: {error}"
        seconds = _SECONDS[min(self._count, len(_SECONDS)) - 1]
        if isinstance(error, TooManyRequests):
            seconds = max(seconds, error.seconds)
        trace = None if isinstance(error, CallwrightError) else error  # what nobody foresaw is a bug
        _logger.warning("%s: trying again in %s s: %s", self._name, seconds, error, exc_info=trace)
        return seconds

    def lasting(self, error: Exception) -> bool:
        """Return whether people should know of `error`, the newest: time alone won't mend it, or has not so far."""
        return self._count >= _LASTING or (isinstance(error, Permanent) and not isinstance(error, Conflict))

    def renew(self) -> None:
        """A try has succeeded."""
        self._failed, self._count, self.trouble = "", 0, ""
