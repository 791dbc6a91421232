"""`Breaker`: an engine that fails is left alone for a while, and then tried by a request now and then.

Knows nothing of HTTP: `callwright.sidecar.upstream` says what came of each request.
"""

import time
from typing import Literal

from callwright.errors import Unavailable

State = Literal["closed", "half-open", "open"]
STATES: tuple[State, ...] = ("closed", "half-open", "open")


class Breaker:
    """Opens when `failures` requests in a row have failed; after `seconds` it is half-open.

    Then one request in each `seconds` goes through as a probe: an answer closes the breaker, a failure opens it again.
    """

    def __init__(self, failures: int = 5, seconds: float = 5.0) -> None:
        self._most, self._seconds = failures, seconds
        self._failed = 0
        self._was_silent = False
        self._until = 0.0

    @property
    def state(self) -> State:
        """Closed: all may ask. Half-open: the next one may. Open: none may."""
        if self._failed < self._most:
            return "closed"
        return "open" if time.monotonic() < self._until else "half-open"

    def admit(self) -> None:
        """Raise `Unavailable` unless a request may go to the engine now."""
        match self.state:
            case "open":
                raise Unavailable("the engine has failed several times in a row; try again later")
            case "half-open":
                self._until = time.monotonic() + self._seconds

    def succeed(self, *, with_tokens: bool) -> None:
        """Note an answer. One that needed no token says nothing of an engine that was silent."""
        if with_tokens or not self._was_silent:
            self._failed, self._was_silent = 0, False

    def fail(self, *, was_silent: bool) -> None:
        """Note a request that got no answer."""
        self._failed, self._was_silent = self._failed + 1, was_silent
        self._until = time.monotonic() + self._seconds
