"""`Bucket`: how much may be taken in a minute. Knows nothing of what is taken."""

import time

_MINUTE = 60.0


class Bucket:
    """Holds `per_minute` at most, and fills evenly. More may be taken than it holds: that is owed."""

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._level, self._at = float(per_minute), time.monotonic()

    def take(self, amount: float) -> None:
        """Take `amount`, be it there or not."""
        self._fill()
        self._level -= amount

    def seconds_until(self, amount: float) -> float:
        """Return how long it takes until `amount` is there; 0 where it is."""
        self._fill()
        return max(0.0, (amount - self._level) * _MINUTE / self.per_minute)

    def _fill(self) -> None:
        now = time.monotonic()
        filled = self._level + (now - self._at) * self.per_minute / _MINUTE
        self._level, self._at = min(float(self.per_minute), filled), now
