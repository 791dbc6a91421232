"""`Chat` answers chat completions, and the APIs that are translations in front of them; `CountTokens` counts prompts.

`Chat.answer` is the whole way of a chat request with tools: read, plan, ask, translate, write.
"""

import asyncio
import contextlib
import json
from dataclasses import replace
from typing import Any, ClassVar

from callwright.dialects.types import Part
from callwright.errors import CallwrightError, Unavailable
from callwright.sidecar import sse
from callwright.sidecar.asking import Asking
from callwright.sidecar.errors import Overloaded
from callwright.sidecar.exchange import EVENT_STREAM
from callwright.sidecar.handlers import down
from callwright.sidecar.plan import ChatPlan
from callwright.sidecar.retry import MalformedTurn, malformed_turn, second_request, summed_usage
from callwright.sidecar.translation import (
    MALFORMED_COMPLETION,
    StreamTranslation,
    has_malformed_call,
    read_turns,
    translate_completion,
)
from callwright.sidecar.upstream import DOWN_STATUSES, EngineResponse
from callwright.sidecar.worker import SHORT

Json = dict[str, Any]
_PROMPT_FIELDS = (
    "model", "messages", "tools", "add_generation_prompt", "continue_final_message", "chat_template_kwargs",
)  # fmt: skip
"""What decides a prompt, in a request to the engine."""
_LOOK_BYTES = 4096
"""So much of a stream is translated before what it keeps is looked at once more."""
_LONG_CALL = 1024 * 1024
"""Bytes that wait for what follows them, so that a call may end that is long to read."""
_AT_ONCE = 128
"""Events of a stream that are translated before others have their turn."""
_NO_COMPLETION = "the engine's answer is not a chat completion"


class Chat(Asking):
    """Answers chat completions with tools, whole or as a stream of events."""

    _begun = False
    """Events of a stream that may be long have been written."""

    async def answer(self) -> None:
        """Read the request, plan the engine's, ask, translate the answer and write it."""
        request = await self._read_request()
        if request is None:
            await self._relay()
            return
        first = [request]
        del request
        with self._exchange:
            plan, response = await self._asked(self._read_again, first)
            if response.status == 200 and response.media_type == EVENT_STREAM:
                await self._answer_in_events(plan, response)
                return
            body = await response.read(self._held.add)
        if response.status == 200:
            answer = await self._translated(plan, body)
        else:
            answer = self._refusal(response.status, body)
        self._held.keep(len(answer) + self._api.kept)
        if self._writer.is_held:
            await self._send_whole(response.status, body)
            return
        body = b""
        await self._writer.send(response.status, self._writer.engine_headers, answer)

    async def _answer_in_events(self, plan: ChatPlan, response: EngineResponse) -> None:
        stream = StreamTranslation(plan, self._record)
        self._writer.start_stream(self._api.keep_alive, self._services.config.keep_alive_seconds)
        await self._write_events(response, stream)
        self._exchange.close()
        if stream.malformed_turn is not None:
            await self._write_second_stream(plan, stream, stream.malformed_turn)
        await self._writer.end()

    async def _write_events(self, response: EngineResponse, stream: StreamTranslation) -> None:
        """Translate the engine's stream and write it, as it comes."""
        reader, write, event = sse.EventReader(), self._writer.write, self._api.event
        record = self._record
        kept = self._api.kept
        unseen = 0  # bytes since what is kept was looked at
        try:
            async for piece in response:
                record.lines += piece.count(b"\n")
                if record.awaits_token:
                    record.see(piece)
                unseen += len(piece)
                if unseen < _LOOK_BYTES and kept < SHORT:
                    events: list[bytes] = []
                    for data in reader.feed(piece):
                        events += stream.event(data)
                    if events:
                        await write(b"".join(map(event, events)))
                    continue
                await self._write_slices(reader.feed(piece), stream, kept)
                if len(piece) > SHORT:
                    await asyncio.sleep(0)  # the next piece may be there already, and others wait for their turn
                kept, unseen = reader.kept + stream.kept + self._api.kept, 0
                self._held.keep(self._exchange.kept + kept)
            if not stream.done:
                raise Unavailable("the engine ended the stream early")
            self._failed = stream.failed
        except MALFORMED_COMPLETION:
            raise Unavailable(_NO_COMPLETION) from None
        except Overloaded:
            raise
        except CallwrightError:
            if not stream.done and not stream.failed:  # else the engine has said what is wrong
                raise
            self._failed = stream.failed

    async def _write_slices(self, engine_events: list[bytes], stream: StreamTranslation, kept: int) -> None:
        """Translate and write what may be long, by little, and beside the event loop where an event is long itself."""
        events: list[bytes] = []
        for n, data in enumerate(engine_events, start=1):
            is_long = len(data) > SHORT or kept > _LONG_CALL
            size = len(data) + kept
            events += await self._services.worker.run(size, stream.event, data) if is_long else stream.event(data)
            if n % _AT_ONCE == 0:
                await self._write(events)
                events = []
                await asyncio.sleep(0)
        await self._write(events)

    async def _write(self, events: list[bytes]) -> None:
        """Write events, given their data."""
        if events:
            made = map(self._api.event, events)
            tells = events[-1] == sse.DONE or not self._begun  # what is kept is told at the beginning and the end
            size = sum(map(len, events)) + (self._api.kept if tells else 0)
            self._begun = True
            is_long = size > SHORT
            await self._writer.write(
                await self._services.worker.run(size, b"".join, made) if is_long else b"".join(made)
            )

    async def _translated(self, plan: ChatPlan, body: bytes) -> bytes:
        """Return the client's answer for the engine's, or for that of a second try where the plan wants one."""
        worker, size = self._services.worker, len(body)
        completion, parts, turn = await worker.run(size, self._completion, plan, body)
        if turn is not None and (second := await self._second_completion(plan, turn)) is not None:
            usage = summed_usage(second[0].get("usage"), completion.get("usage"))
            completion, parts = second[0] | {"usage": usage}, second[1]
        try:
            return await worker.run(size, lambda: sse.dumps(self._api.answer(completion, parts)))
        except MALFORMED_COMPLETION:
            raise Unavailable(_NO_COMPLETION) from None

    def _completion(self, plan: ChatPlan, body: bytes) -> tuple[Json, list[Part], MalformedTurn | None]:
        """Return a translated completion, its parts, and its turn as the engine wrote it if it is to be tried again."""
        try:
            completion: Json = json.loads(body)
            turns = read_turns(completion, plan)
            malformed = malformed_turn(completion, turns, plan)
            return completion, translate_completion(completion, turns, plan, self._record), malformed
        except MALFORMED_COMPLETION:
            raise Unavailable(_NO_COMPLETION) from None

    async def _second_completion(self, plan: ChatPlan, turn: MalformedTurn) -> tuple[Json, list[Part]] | None:
        """Return the completion of a second try and its parts, or None when the engine has none: the first stands."""
        second = None
        with contextlib.suppress(CallwrightError), self._exchange:
            second_plan, response = await self._asked(lambda: second_request(self._read_again(), plan, turn))
            if response.status == 200:
                body = await response.read(self._held.add)
                second = (await self._services.worker.run(len(body), self._completion, second_plan, body))[:2]
        self._services.metrics.count_repair(second is not None and not has_malformed_call(second[0]))
        return second

    async def _write_second_stream(self, plan: ChatPlan, stream: StreamTranslation, turn: MalformedTurn) -> None:
        """Go on with a second try, or end the stream with what was kept back for it."""
        metrics = self._services.metrics
        try:
            with self._exchange:
                second_plan, response = await self._asked(lambda: second_request(self._read_again(), plan, turn))
                if response.status != 200:
                    raise Unavailable("the engine refused the second try")
                await self._write(stream.resume(second_plan))
                await self._write_events(response, stream)
        except CallwrightError:
            metrics.count_repair(False)
            if stream.malformed_turn is None:
                raise  # within the second answer
            await self._write(await self._services.worker.run(stream.kept, stream.release))
            return
        metrics.count_repair(not stream.has_malformed_call and not stream.failed)

    def _refusal(self, status: int, body: bytes) -> bytes:
        """Return the client's error for the engine's, which stays as it is where it has the same shape."""
        try:
            error = json.loads(body)
        except (ValueError, RecursionError):
            error = None
        if isinstance(error, dict):
            told = self._api.error(error, status)
            return body if told is error else sse.dumps(told)
        if status in DOWN_STATUSES:
            raise down(status)
        return body  # whatever stands before the engine has sent it


class CountTokens(Chat):
    """Answers with the length of a message's prompt, what its dialect makes of its tools included."""

    _defaults: ClassVar[Json] = {"max_tokens": 1}

    async def answer(self) -> None:
        """Count the prompt's tokens, as the engine does."""
        request = await self._read_request()
        if request is None:
            await self._relay()
            return
        with self._exchange:
            _, response = await self._asked(self._read_again, [request])
            body = await response.read(self._held.add)
        if response.status == 200:
            try:
                answer = sse.dumps({"input_tokens": json.loads(body)["count"]})
            except MALFORMED_COMPLETION:
                raise Unavailable("the engine's answer is no count of tokens") from None
        else:
            answer = self._refusal(response.status, body)
        await self._writer.send(response.status, self._writer.engine_headers, answer)

    async def _written(self, plan: ChatPlan) -> list[bytes]:
        prompt = {key: plan.body[key] for key in _PROMPT_FIELDS if key in plan.body}
        return await super()._written(replace(plan, body=prompt, fallbacks=()))

    def _engine_path(self) -> str:
        return "/tokenize"
