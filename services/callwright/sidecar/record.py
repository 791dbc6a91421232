"""`Record`: what one request comes to, from its arrival to its end, when the metrics, its client's limits and the audit
line get it; and `Ledger`, which opens records.

Holds no content. Tokens are the engine's count; of an answer that the engine could not finish, an estimate.
"""

import time
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from callwright.dialects.types import MalformedCall
from callwright.sidecar import audit
from callwright.sidecar.config import GENERATING_PATHS
from callwright.sidecar.keys import Client
from callwright.sidecar.telemetry import Metrics
from callwright.sidecar.usage import UsageReader
from callwright.store.manifest import VERSION_HEADER

Outcome = Literal["ok", "refused", "failed", "left"]
"""Answered; refused with a 4xx; failed with a 5xx or within the answer; given up by the client."""
_BYTES_OF_A_TOKEN = 4
_FIRST_PACE = 20.0
_LENGTHS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_LINES = {"/v1/messages": 3, "/v1/responses": 3}
"""Lines of an event with a name; others have two."""
_TOKEN_MARKS = {"/v1/completions": b'"text"'}
"""What only an event with a token has, by path of the engine; all others' name a delta."""
_DELTA = b"delta"
_OTHER = "other"


class Ledger:
    """Opens the records of requests. `models` are the ids that the sidecar was configured with, `paths` those open."""

    def __init__(self, metrics: Metrics, models: Iterable[str], paths: Iterable[str], *, audited: bool = True) -> None:
        self.metrics, self.audited = metrics, audited
        self.models, self.paths = frozenset(models) - {"*"}, frozenset(paths)
        self.pace = _FIRST_PACE
        """Tokens a second that an answer has lately been written at."""

    def open(self, path: str, request_id: str | None) -> "Record":
        """Return the record of a request that has arrived; `request_id` is what a proxy before us calls it."""
        return Record(self, path, request_id)


class Record:
    """What one request comes to; each answer of the engine's is told by `sent` and `answered`."""

    def __init__(self, ledger: Ledger, path: str, request_id: str | None) -> None:
        self._ledger, self._path = ledger, path
        self.began = time.monotonic()
        self.id = audit.request_id(request_id)
        self.client: Client | None = None
        """Whose key it came with."""
        self.dialect = "no"
        """The dialect that it needed."""
        self.model = self.version = ""
        """As the engine told them, or the sidecar was configured; empty before that."""
        self.usage = UsageReader()
        """Reads the answer, where it is passed on as it is."""
        self._asked_model: str | None = None
        self._most: int | None = None
        self._engine_path = ""
        self.awaits_token = False
        """The stream's first token has not come; what comes is to be shown to `see`."""
        self.lines = 0
        """Lines of the engine's stream so far, which whoever reads it counts."""
        self._sent_bytes = 0
        self._sent_at = 0.0
        self._has_token = False
        self._prompt = self._completion = 0
        """Tokens of the answers that are whole."""
        self._is_generating = False
        self._calls = self._malformed = 0

    @property
    def api(self) -> str:
        """The path, as far as it is one that is open: clients can make up others."""
        return self._path if self._path in self._ledger.paths else _OTHER

    def asks(self, request: Mapping[str, Any]) -> None:
        """Note what the engine is asked for."""
        model = request.get("model")
        self._asked_model = model if isinstance(model, str) else None
        lengths = [length for key in _LENGTHS if type(length := request.get(key)) is int]
        self._most = min(lengths) if lengths else None

    def sent(self, target: str, size: int, version: bytes = b"") -> None:
        """Note that a request of `size` bytes is on its way to the engine, meant for `version` where that is known."""
        self._settle()
        self.model = self.version = ""
        if version:
            self._name(version)
        self._engine_path = target.partition("?")[0]
        self._is_generating = self._engine_path in GENERATING_PATHS
        self._sent_bytes, self._sent_at, self.lines = size, time.monotonic(), 0
        self.awaits_token = False

    def answered(self, status: int, headers: Mapping[bytes, bytes], *, is_stream: bool) -> None:
        """Note the head of the engine's answer."""
        if VERSION_HEADER in headers or not self.version:
            self._name(headers.get(VERSION_HEADER, b""))
        self.id = audit.request_id(headers.get(b"x-request-id", b"").decode("latin-1"), self.id)
        if status != 200:
            self._is_generating = False
        self.awaits_token = is_stream and self._is_generating and not self._has_token

    def _name(self, told: bytes) -> None:
        """Note which version of a model answers, told as `name@version`."""
        name, _, version = told.decode("latin-1").partition("@")
        is_known = self._asked_model in self._ledger.models
        model = self._asked_model if is_known and self._asked_model else name or _OTHER
        self.model, self.version = self._ledger.metrics.known_version(model, version)

    def count_failed(self) -> None:
        """Count that the version which the request was meant for does not answer, and another one is to."""
        if self._engine_path in GENERATING_PATHS:
            self._ledger.metrics.answers.labels("failed", self.model, self.version).inc()

    def see(self, piece: bytes) -> None:
        """Look for the first token in a piece of the engine's stream."""
        if self.awaits_token and _TOKEN_MARKS.get(self._engine_path, _DELTA) in piece:
            self.awaits_token, self._has_token = False, True
            self._ledger.metrics.first_token.labels(self.model, self.version).observe(time.monotonic() - self.began)

    def count_usage(self, usage: object) -> None:
        """Count an OpenAI `usage` object: that of an answer which is whole."""
        self.usage.note(usage)

    def count_call(self, name: str) -> None:
        """Count a call that is sent."""
        self._calls += 1
        self._ledger.metrics.count_call(name, self.model, self.version)

    def count_malformed(self, call: MalformedCall) -> None:
        """Count a malformed call."""
        self._malformed += 1
        self._ledger.metrics.count_malformed(call, self.model, self.version)

    def end(self, status: int, outcome: Outcome) -> None:
        """End the request, whose answer had `status`; 0 for none."""
        metrics, seconds = self._ledger.metrics, time.monotonic() - self.began
        is_generation = self._is_generating or self._prompt > 0
        is_estimate = self._settle(is_whole=outcome != "left" and outcome != "failed", is_left=outcome == "left")
        if self._engine_path in GENERATING_PATHS:
            metrics.answers.labels(outcome, self.model, self.version).inc()
        metrics.count_tokens(self._prompt, self._completion, self.model, self.version)
        if is_generation and outcome == "ok":
            metrics.generation.labels(self.model, self.version).observe(seconds)
        if self.client is not None:
            self.client.spend(self._prompt + self._completion)
            metrics.count_use(self.client.name, self._prompt, self._completion)
        if self._ledger.audited:
            audit.write(self._told(status, outcome, seconds) | ({"estimated": True} if is_estimate else {}))

    def _told(self, status: int, outcome: Outcome, seconds: float) -> dict[str, audit.Value]:
        return {
            "request": self.id,
            "key": self.client.name if self.client else None,
            "api": self.api,
            "model": f"{self.model}@{self.version}" if self.version else self.model or None,
            "dialect": self.dialect,
            "status": status or None,
            "outcome": outcome,
            "seconds": round(seconds, 3),
            "prompt_tokens": self._prompt,
            "completion_tokens": self._completion,
            "calls": self._calls,
            "malformed_calls": self._malformed,
        }

    def _settle(self, *, is_whole: bool = True, is_left: bool = False) -> bool:
        """Add the engine's last answer to the sums; returns whether that had to be estimated.

        Of an answer that is not whole each event counts as a token, or, where none has come and nobody waits for it any
        more, as many as others had in that time; of a prompt that nothing is known of each four bytes.
        """
        prompt, completion = self.usage.prompt, self.usage.completion
        took = time.monotonic() - self._sent_at
        if is_whole and self._is_generating and completion and took > 0:
            self._ledger.pace += 0.1 * (completion / took - self._ledger.pace)
        events = self.lines // _LINES.get(self._engine_path, 2)
        is_estimate = self._is_generating and not is_whole and (is_left or events > 0)
        if is_estimate:
            prompt = prompt or self._sent_bytes // _BYTES_OF_A_TOKEN
            written = events or (0 if completion else int(self._ledger.pace * took))
            completion = max(completion, written if self._most is None else min(written, self._most))
        self._prompt += prompt
        self._completion += completion
        self.usage = UsageReader()
        self._is_generating = False
        return is_estimate
