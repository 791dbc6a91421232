"""Work for a client ends with the client, and only then."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from callwright.sidecar.asgi import until_disconnect

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


def leaving(gone: asyncio.Event) -> Receive:
    """A client that sends something more, and leaves at `gone`."""
    said = iter(({"type": "http.request"},))

    async def receive() -> MutableMapping[str, Any]:
        if (message := next(said, None)) is not None:
            return message
        await gone.wait()
        return {"type": "http.disconnect"}

    return receive


def test_work_that_ends_first_is_done() -> None:
    async def main() -> None:
        done = []

        async def work() -> None:
            await asyncio.sleep(0)
            done.append(1)

        await until_disconnect(work(), leaving(asyncio.Event()))
        assert done
        assert len(asyncio.all_tasks()) <= 2
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1, "nobody watches on"

    asyncio.run(main())


def test_a_client_that_leaves_cancels_the_work_and_nothing_else() -> None:
    async def main() -> None:
        gone, cancelled = asyncio.Event(), []

        async def work() -> None:
            gone.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.append(1)
                raise

        with pytest.raises(ClientDisconnect):
            await until_disconnect(work(), leaving(gone))
        task = asyncio.current_task()
        assert cancelled
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(0)  # is not cancelled either

    asyncio.run(main())


@pytest.mark.parametrize("leaves", [False, True])
def test_a_server_that_stops_is_no_client_that_leaves(leaves: bool) -> None:
    """Even where both happen at once."""

    async def main() -> None:
        gone, begun = asyncio.Event(), asyncio.Event()

        async def work() -> None:
            begun.set()
            await asyncio.sleep(60)

        serving = asyncio.ensure_future(until_disconnect(work(), leaving(gone)))
        await begun.wait()
        await asyncio.sleep(0)
        if leaves:
            gone.set()
            await asyncio.sleep(0)
        serving.cancel()
        with pytest.raises((asyncio.CancelledError, ClientDisconnect)) as error:
            await serving
        assert leaves or error.type is asyncio.CancelledError

    asyncio.run(main())
