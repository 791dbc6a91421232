"""What several files of tests share."""

from collections.abc import Iterator

import pytest
from asking import CALL, Bench, bench


@pytest.fixture(scope="module")
def refusing() -> Iterator[Bench]:
    """A bench for requests that never reach the engine."""
    with bench(CALL) as b:
        yield b


@pytest.fixture
def anyio_backend() -> str:
    """What coroutines among the tests run on."""
    return "asyncio"
