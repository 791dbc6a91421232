"""What every room's tests share: fixtures, and which tests are left to `make test-slow`."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import certifi
import pytest

from buckets import s3_server
from callwright.demo import base
from callwright.errors import NotFound

ROOT = Path(__file__).resolve().parent.parent
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background jobs ignore it, and so would the processes that tests end by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what is marked as slow, unless `make test-slow` runs it."""
    if not os.environ.get("CALLWRIGHT_SLOW"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="slow; `make test-slow` runs it"))


@pytest.fixture(scope="session", autouse=True)
def few_authorities(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One certificate authority for all clients, in place of the hundreds that each takes 20 ms and more to read."""
    end = "-----END CERTIFICATE-----\n"
    few = tmp_path_factory.mktemp("authorities") / "one.pem"
    few.write_text(Path(certifi.where()).read_text().partition(end)[0] + end)
    os.environ["SSL_CERT_FILE"] = str(few)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The real corpora, schemas and binaries that stand beside the repository; tests that need them skip without."""
    folder = ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("needs the real corpora of ../shared/data, which are not part of the repository")
    return folder


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The demo's base, which stays where the demo looks for it; tests that need it skip without its package."""
    try:
        return base.smollm2(ROOT / ".callwright" / "demo" / "cache")
    except NotFound as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """URL of an S3 server with the bucket `BUCKET` of `buckets`."""
    with s3_server() as url:
        yield url
