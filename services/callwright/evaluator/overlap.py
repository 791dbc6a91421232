"""Whether an evaluation's requests stand in the training data, which would make its numbers too good.

Compares what users say, without case, spaces and punctuation, by `callwright.datasets`' own measure of likeness.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

from callwright.datasets.conversation import Conversation, fingerprint
from callwright.evaluator.rows import Message, Row


def known(conversations: Iterable[Conversation]) -> set[int]:
    """Fingerprints of everything that users ask in training, up to each of their turns; eight bytes each."""
    return {mark for conversation in conversations for mark in _marks(conversation.messages)}


def _marks(messages: Iterable[Message]) -> Iterator[int]:
    said: list[Message] = []
    for message in messages:
        if message["role"] == "user":
            said.append(message)
            yield fingerprint(said)


def find(rows: Iterable[Row], known: set[int]) -> Counter[str]:
    """Count the rows of each set whose users' words stand in training."""
    return Counter(row.set for row in rows if fingerprint(row.messages) in known)


def notes(rows: Iterable[Row], known: set[int]) -> list[str]:
    """Warnings with counts; none where nothing overlaps."""
    rows = list(rows)
    sizes, found = Counter(row.set for row in rows), find(rows, known)
    return [
        f"{name}: {count} of {sizes[name]} requests also stand in the training data: their results are too good"
        for name, count in sorted(found.items())
    ]
