"""A client of one model behind an OpenAI endpoint: a request in, an answer or a failure out, with retries.

Owns the HTTP connections and what counts as trying again. Knows nothing of rows and scores. What one request meets is
a value; what makes every further request pointless (nobody there, key refused, no such model) is an exception.
"""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from callwright.errors import InvalidInput, NotFound, Unavailable

TOO_LONG = "prompt too long"
"""Reason of a request that the model has no room for: a wrong answer, no fault of the endpoint."""
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Reply:
    """The endpoint's JSON object, and the seconds from sending to having it whole."""

    body: dict[str, Any]
    seconds: float


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request got no answer; `temporary` when trying again later may help."""

    reason: str
    text: str
    temporary: bool


class Endpoint:
    """Connections to `base_url` (with or without its `/v1`), for requests to `model`."""

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        dialect: str | None = None,
        api_key: str | None = None,
        timeout_seconds: float = 120.0,
        retries: int = 2,
        retry_seconds: float = 0.5,
    ) -> None:
        self._url = _with_version(base_url)
        parts = urlsplit(self._url)
        self.base_url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        """The endpoint without credentials, to be shown."""
        self.model = model
        self._retries, self._retry_seconds = retries, retry_seconds
        headers = {"content-type": "application/json"}
        if dialect:
            headers["x-callwright-dialect"] = dialect
        if api_key:
            headers["authorization"] = f"Bearer {api_key}"
        # A pool of httpx looks through all its connections at every request, which costs more than the request; one
        # client a connection does not.
        self._options: dict[str, Any] = {
            "headers": headers,
            "timeout": httpx.Timeout(timeout_seconds, connect=min(10.0, timeout_seconds)),
            "limits": httpx.Limits(max_connections=1, max_keepalive_connections=1),
            "trust_env": False,
            "verify": ssl.create_default_context() if parts.scheme == "https" else False,
        }
        self._idle: list[httpx.AsyncClient] = []
        self._all: list[httpx.AsyncClient] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._all:
            await client.aclose()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[httpx.AsyncClient]:
        """An idle connection, or a new one."""
        if not self._idle:
            self._idle.append(httpx.AsyncClient(**self._options))
            self._all.append(self._idle[-1])
        client = self._idle.pop()
        try:
            yield client
        finally:
            self._idle.append(client)

    async def check(self) -> None:
        """Raise `Unavailable` when nobody answers and `NotFound` when the endpoint lists its models without ours."""
        for attempt in range(self._retries + 1):
            try:
                async with self._connection() as client:
                    response = await client.get(f"{self._url}/models")
                break
            except httpx.TransportError as error:
                if attempt == self._retries:
                    raise Unavailable(
                        f"reaching the endpoint: got {_named(error)} from {self.base_url}; expected an OpenAI "
                        "endpoint; start the server or correct the base URL"
                    ) from None
                await asyncio.sleep(self._retry_seconds * 2**attempt)
        try:
            served = [entry["id"] for entry in response.json()["data"]]
        except (ValueError, KeyError, TypeError):
            return  # endpoints may do without a list of models
        if served and self.model not in served:
            raise NotFound(
                f"evaluating {self.model!r}: {self.base_url} does not serve it; expected one of {', '.join(served)}"
            )

    async def chat(self, body: dict[str, Any]) -> Reply | Failure:
        """Post one chat completion, trying again after a temporary failure.

        Raises `InvalidInput` when the key is refused and `NotFound` when the model or path is not there.
        """
        content = json.dumps({"model": self.model, **body}, ensure_ascii=False).encode("utf-8", "replace")
        for attempt in range(self._retries + 1):
            outcome = await self._post(content)
            if isinstance(outcome, Reply) or not outcome.temporary or attempt == self._retries:
                return outcome
            await asyncio.sleep(self._retry_seconds * 2**attempt)
        raise AssertionError("unreachable: the last attempt returns")

    async def _post(self, content: bytes) -> Reply | Failure:
        started = time.perf_counter()
        try:
            async with self._connection() as client:
                response = await client.post(f"{self._url}/chat/completions", content=content)
        except httpx.TimeoutException:
            return Failure("too late", f"no answer in {time.perf_counter() - started:.0f} s", True)
        except httpx.TransportError as error:
            return Failure("no answer", _named(error), True)
        seconds = time.perf_counter() - started
        if response.status_code != 200:
            return self._refused(response)
        try:
            body = json.loads(response.content)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            return Failure("rubbish", f"not a JSON object: {response.text[:_SHOWN]!r}", True)
        return Reply(body, seconds)

    def _refused(self, response: httpx.Response) -> Failure:
        text = response.text[:_SHOWN]
        match response.status_code:
            case 401 | 403 as status:
                raise InvalidInput(f"evaluating {self.model!r}: {self.base_url} refused the API key (HTTP {status})")
            case 404:
                raise NotFound(f"evaluating {self.model!r}: {self.base_url} has no such model or path: {text}")
            case 400 if "context length" in text:
                return Failure(TOO_LONG, text, False)
            case status:
                return Failure(f"HTTP {status}", text, status in (408, 409, 429) or status >= 500)


def _with_version(base_url: str) -> str:
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        shown = base_url.rpartition("@")[2]
        raise InvalidInput(f"reaching the endpoint: got base URL {shown!r}; expected http://HOST:PORT/v1")
    base_url = base_url.rstrip("/")
    return base_url if urlsplit(base_url).path else f"{base_url}/v1"


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
