"""An engine whose grammars hang is told from one that has much to do, and from one that answers again."""

import asyncio

import pytest

from callwright.errors import TimedOut
from callwright.server.forced_calls import ForcedCalls


class Engine:
    """Gives a token of a kind once its event is set."""

    def __init__(self) -> None:
        self.may = {True: asyncio.Event(), False: asyncio.Event()}
        self.asked: list[bool] = []

    async def token(self, forced: bool) -> None:
        self.asked.append(forced)
        await self.may[forced].wait()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_forced_call_without_an_answer_after_a_plain_one_is_a_hang_until_it_is_answered() -> None:
    async def main() -> None:
        engine = Engine()
        watch = ForcedCalls(engine.token, seconds=0)
        engine.may[False].set()
        watch.check()
        await settle()
        for _ in range(2):
            with pytest.raises(TimedOut, match="no forced call"):
                watch.check()
        assert engine.asked == [True, False]  # none is asked for while one waits
        engine.may[True].set()
        await settle()
        watch.check()
        await settle()
        watch.check()

    asyncio.run(main())


def test_an_engine_that_answers_neither_has_much_to_do() -> None:
    async def main() -> None:
        watch = ForcedCalls(Engine().token, seconds=0)
        for _ in range(3):
            watch.check()
            await settle()

    asyncio.run(main())


def test_a_refusal_is_an_answer() -> None:
    async def main() -> None:
        async def refuse(forced: bool) -> None:
            raise ValueError("no grammars here")

        watch = ForcedCalls(refuse, seconds=0)
        for _ in range(3):
            watch.check()
            await settle()

    asyncio.run(main())
