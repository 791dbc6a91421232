"""`Api`: how the clients of one endpoint ask and are answered, and OpenAI's chat completions, which are used inside.

Another API is a translation in front of that one. Knows nothing of dialects.
"""

import json
from typing import Any, Protocol

from callwright.sidecar import events, requests
from callwright.sidecar.problems import Refused

Json = dict[str, Any]


class Api(Protocol):
    """One request's side towards its client, from its arrival to its end."""

    @property
    def keep_alive(self) -> bytes:
        """What is sent within a stream when the engine is silent."""

    def chat(self, request: Json) -> Json | None:
        """The chat request, with tools, that `request` stands for; None for one that the engine answers by itself.

        Raises `Refused`.
        """

    def refused(self, error: Refused) -> Refused:
        """The refusal of the chat request, in terms of the client's."""

    def whole(self, answer: Json) -> Json:
        """The client's answer for a chat completion.

        Raises `LookupError`, `TypeError`, `ValueError` or `AttributeError` for a malformed one.
        """

    def event(self, event: bytes) -> bytes:
        """What the client gets for an event of a chat completion's stream, as it is on the wire."""

    def error(self, error: Json, status: int) -> Json:
        """The client's error for OpenAI's."""

    def error_event(self, error: Json, status: int) -> bytes:
        """The same as the end of a stream that has begun; nothing where that has ended with an error."""


class Completions:
    """`/v1/chat/completions`: everything stays as it is."""

    keep_alive = events.KEEP_ALIVE

    def chat(self, request: Json) -> Json | None:
        """The request itself."""
        if requests.needs_dialect(request):
            return request
        requests.check_without_tools(request)
        return None

    def refused(self, error: Refused) -> Refused:
        """The refusal itself."""
        return error

    def whole(self, answer: Json) -> Json:
        """The answer itself."""
        return answer

    def event(self, event: bytes) -> bytes:
        """The event itself."""
        return event

    def error(self, error: Json, status: int) -> Json:
        """The error itself."""
        return error

    def error_event(self, error: Json, status: int) -> bytes:
        """The error as an event, and the end."""
        return events.event(json.dumps(error).encode()) + events.DONE
