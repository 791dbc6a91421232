"""`Budget`: the bytes that all requests may hold together, and `Held`: what one of them does.

Held are bodies, from their announcement until the engine has taken them, and what there is of answers: whole ones, what
a stream waits to say, and what a slow reader has not taken. Knows nothing of what is held.
"""

from callwright.sidecar.errors import Overloaded


class Budget:
    """`size` bytes."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.held = 0
        """Bytes of it that are held."""


class Held:
    """What one request holds of a budget; to be closed."""

    def __init__(self, budget: Budget) -> None:
        self._budget, self._size = budget, 0

    def keep(self, size: int) -> None:
        """Hold `size` bytes in all from here on. Raises `Overloaded`, and holds nothing, where there is no room."""
        held = self._budget.held + size - self._size
        if held > self._budget.size and size > self._size:
            found = self._budget.held
            self.close()  # at once, else all others that grow now find no room either
            raise Overloaded(f"{found} bytes of requests and answers are held already; try again later")
        self._budget.held, self._size = held, size

    def add(self, size: int) -> None:
        """Hold `size` bytes more. Raises `Overloaded`."""
        self.keep(self._size + size)

    def close(self) -> None:
        """Hold nothing."""
        self.keep(0)
