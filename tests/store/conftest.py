"""The store's tests run over every backend that exists here: a folder, memory, and S3 over HTTP."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from buckets import BUCKET, s3_server
from callsmith.store import Store


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """URL of an S3 server with the bucket `BUCKET`."""
    with s3_server() as url:
        yield url


@pytest.fixture(params=["file", "memory", "s3"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Opens the same empty store, as another process would; in memory there is but one."""
    match request.param:
        case "file":
            return lambda: Store.open((tmp_path / "a store").as_uri())
        case "memory":
            store = Store.open("memory://")
            return lambda: store
        case _:
            request.getfixturevalue("s3")
            url = f"s3://{BUCKET}/{tmp_path.name}-{abs(hash(request.node.nodeid))}"
            return lambda: Store.open(url, patience_seconds=10)


@pytest.fixture
def store(opened: Callable[[], Store]) -> Store:
    """An empty store."""
    return opened()
