"""The store's tests run over every backend: a folder, memory, S3 and Google over HTTP, Azure where it is installed."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from buckets import BUCKET
from callwright.store import Store
from clouds import AZURITE, azure_server, google_server


@pytest.fixture(scope="session")
def gs(s3: str) -> Iterator[None]:
    """Google's protocol, with the bucket `BUCKET`."""
    with google_server(s3):
        yield


@pytest.fixture(scope="session")
def az() -> Iterator[None]:
    """Azure's, with the container `BUCKET`."""
    with azure_server():
        yield


@pytest.fixture(params=["file", "memory", "s3", "gs", *(["az"] if shutil.which(AZURITE) else [])])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Opens the same empty store, as another process would; in memory there is but one."""
    match request.param:
        case "file":
            return lambda: Store.open((tmp_path / "a store").as_uri())
        case "memory":
            store = Store.open("memory://")
            return lambda: store
        case _:
            request.getfixturevalue(request.param)
            url = f"{request.param}://{BUCKET}/{tmp_path.name}-{abs(hash(request.node.nodeid))}"
            return lambda: Store.open(url, patience_seconds=10)


@pytest.fixture
def store(opened: Callable[[], Store]) -> Store:
    """An empty store."""
    return opened()
