"""The real sidecar, as a process, in front of an engine that plays a model which calls its tool and then answers.

Each client's test is one file and skips where its client is missing: `make test-clients` has them all.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playing import LEARNED, RESULT, SPOKEN, WeatherTool, play
from serving import learned

from callwright import dialects
from fakes import Engine, Served
from sidecar_process import started


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """The engine."""
    with Served(made := Engine(play)) as served:
        made.url = served.url
        yield made


@pytest.fixture(scope="session")
def sidecar(engine: Engine) -> Iterator[str]:
    """Address of the sidecar, without `/v1`. A model id that is a dialect's name speaks it, any other react_en."""
    spoken = [flag for name in dialects.NAMES for flag in ("--dialect", f"{name}={name}")]
    with started(engine.url, *spoken, "--dialect", "*=react_en", "--until-stdin-closes") as (_, url):
        yield url


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The same address of the model that is really trained and served, beside which nothing else is to run for long."""
    if "CALLWRIGHT_CLIENTS" not in os.environ:
        pytest.skip("a model is trained and served for it; `make test-clients` runs it")
    with learned(tmp_path_factory.mktemp("learned")) as url:
        yield url


@pytest.fixture
def origin(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Address of the sidecar that has the model; the clients' environment points nowhere else."""
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "LANGCHAIN_", "LANGSMITH_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    model = request.getfixturevalue("model") if "model" in request.fixturenames else None
    return str(request.getfixturevalue("served" if model == LEARNED else "sidecar"))


@pytest.fixture
def base_url(origin: str) -> str:
    """What most clients are given."""
    return f"{origin}/v1"


@pytest.fixture(params=SPOKEN)
def model(request: pytest.FixtureRequest) -> str:
    """The id of a model that speaks the dialect of that name."""
    return str(request.param)


@pytest.fixture
def asked(engine: Engine) -> Callable[[], list[dict[str, Any]]]:
    """What the engine is asked from here on."""
    before = len(engine.requests)
    return lambda: engine.requests[before:]


@pytest.fixture
def places() -> list[str]:
    """Where `weather` was asked about."""
    return []


@pytest.fixture
def weather(places: list[str]) -> WeatherTool:
    """The tool of every client that takes a function of Python."""

    def get_current_weather(location: str) -> str:
        """Tells the weather."""
        places.append(location)
        return RESULT

    return get_current_weather
