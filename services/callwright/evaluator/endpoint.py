"""A client of one model behind an OpenAI endpoint: a request in, a reply out, tried again after temporary failures.

    async with Endpoint("http://127.0.0.1:8100/v1", "m") as endpoint:
        await endpoint.check()
        reply = await endpoint.chat({"messages": messages})

What one request meets is a value (`Unanswered`); what makes every further request pointless (nobody there, key
refused, no such model) is an exception.
"""

import asyncio
import json
import ssl
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

from callwright.errors import InvalidInput, NotFound, Unavailable
from callwright.evaluator.report import TOO_LONG

"""Reason of a request that the model has no room for: a wrong answer, no fault of the endpoint."""
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Reply:
    """The endpoint's JSON object, and the seconds from sending to having it whole."""

    body: dict[str, Any]
    seconds: float


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Why a request got no answer; `temporary` when trying again later may help."""

    reason: str
    text: str
    temporary: bool
    status: int | None = None
    """HTTP status, where something answered."""


class Endpoint:
    """A client of `base_url` (with or without its `/v1`) for requests to `model`. Raises `InvalidInput`.

    A request that failed for the time being is sent again `retries` times, after `retry_seconds`, twice those, and so
    on. `dialect` goes along as a header.
    """

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
        url = _parsed(base_url)
        self.base_url = str(url.copy_with(username=None, password=None))
        """The endpoint without credentials, to be shown."""
        self.model = model
        self._retries, self._retry_seconds = retries, retry_seconds
        headers = {"content-type": "application/json"}
        if dialect:
            headers["x-callwright-dialect"] = dialect
        if api_key:
            if not (api_key.isascii() and api_key.isprintable()):
                raise InvalidInput("reaching the endpoint: got an API key with a line break or a letter beyond ASCII")
            headers["authorization"] = f"Bearer {api_key}"
        # httpx looks through all connections of a client at every request, which takes longer than the request itself
        # where there are a thousand. So each connection is a client of its own.
        self._options: dict[str, Any] = {
            "base_url": url,
            "headers": headers,
            "timeout": httpx.Timeout(timeout_seconds, connect=min(10.0, timeout_seconds)),
            "limits": httpx.Limits(max_connections=1),
            "trust_env": False,
            "verify": ssl.create_default_context() if url.scheme == "https" else False,
        }
        self._clients, self._idle = AsyncExitStack(), list[httpx.AsyncClient]()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._clients.aclose()

    async def check(self) -> None:
        """Raise `Unavailable` when nobody answers and `NotFound` when the endpoint lists its models without ours."""
        found = await self._send("GET", "/models")
        if isinstance(found, Unanswered):
            if found.status is None:
                raise Unavailable(
                    f"reaching the endpoint: got {found.text} from {self.base_url}; expected an OpenAI endpoint; start "
                    "the server or correct the base URL"
                )
            return  # endpoints may do without a list of models
        try:
            served = [str(entry["id"]) for entry in found.body["data"]]
        except (KeyError, TypeError):
            return
        if served and self.model not in served:
            raise NotFound(
                f"evaluating {self.model!r}: {self.base_url} does not serve it; expected one of {', '.join(served)}"
            )

    async def chat(self, body: dict[str, Any]) -> Reply | Unanswered:
        """Post one chat completion.

        Raises `InvalidInput` when the key is refused and `NotFound` when the model or path is not there.
        """
        content = json.dumps({"model": self.model, **body}, ensure_ascii=False).encode("utf-8", "replace")
        found = await self._send("POST", "/chat/completions", content)
        match found:
            case Unanswered(status=401 | 403 as status):
                raise InvalidInput(f"evaluating {self.model!r}: {self.base_url} refused the API key (HTTP {status})")
            case Unanswered(status=404):
                raise NotFound(f"evaluating {self.model!r}: {self.base_url} has no such model or path: {found.text}")
            case Unanswered(status=400) if "context length" in found.text:
                return Unanswered(TOO_LONG, found.text, temporary=False, status=400)
            case _:
                return found

    async def _send(self, method: str, path: str, content: bytes | None = None) -> Reply | Unanswered:
        found = await self._send_once(method, path, content)
        for attempt in range(self._retries):
            if isinstance(found, Reply) or not found.temporary:
                break
            await asyncio.sleep(self._retry_seconds * 2**attempt)
            found = await self._send_once(method, path, content)
        return found

    async def _send_once(self, method: str, path: str, content: bytes | None) -> Reply | Unanswered:
        if not self._idle:
            self._idle.append(await self._clients.enter_async_context(httpx.AsyncClient(**self._options)))
        client, started = self._idle.pop(), time.perf_counter()
        try:
            response = await client.request(method, path, content=content)
        except httpx.TimeoutException as error:
            text = f"{type(error).__name__} after {time.perf_counter() - started:.0f} s"
            return Unanswered("too late", text, temporary=True)
        except httpx.RequestError as error:
            text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            return Unanswered("no answer", text, temporary=True)
        finally:
            self._idle.append(client)
        seconds, status = time.perf_counter() - started, response.status_code
        if status != 200:
            temporary = status in (408, 409, 429) or status >= 500
            return Unanswered(f"HTTP {status}", response.text[:_SHOWN], temporary, status)
        try:
            body = json.loads(response.content)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            return Unanswered("rubbish", f"not a JSON object: {response.text[:_SHOWN]!r}", True, status)
        return Reply(body, seconds)


def _parsed(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url.rstrip("/"))
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in ("http", "https") or not url.host or (url.port or 0) > 65535:
        shown = base_url.rpartition("@")[2]
        raise InvalidInput(
            f"reaching the endpoint: got base URL {shown!r}; expected one such as http://127.0.0.1:8000/v1"
        )
    return url if url.path != "/" else url.copy_with(path="/v1")
