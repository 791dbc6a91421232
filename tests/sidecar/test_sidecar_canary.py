"""A version on trial takes its share of the requests, each version in its own dialect; where it is gone, or does not
answer, the version that stands answers in its place.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from callwright.server.versioned import Versioned
from callwright.sidecar.app import create_app
from callwright.sidecar.config import SidecarConfig
from callwright.store import Store
from fakes import Engine, Raw, Served, Text
from versions import publish_version

DIALECTS = {"v1": "react_en", "v2": "hermes"}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
CALLS = {
    "hermes": '<tool_call>\n{"name": "look", "arguments": {}}\n</tool_call>',
    "react_en": "Action: look\nAction Input: {}",
}
Json = dict[str, Any]


class Service:
    """Ray Serve's proxy before the version that stands and, while `weight` is set, a canary."""

    def __init__(self, folder: Path, weight: int | None) -> None:
        store = Store.open(folder.as_uri())
        self.manifests = {
            v: publish_version(store, v, dialect=d, special_tokens=(f"<|{v}|>",)) for v, d in DIALECTS.items()
        }
        self.engines = {version: Engine(self._speaking(version)) for version in DIALECTS}
        self.weight = weight
        self.is_down = self.is_silent = False
        self.url = ""

    def _speaking(self, version: str) -> Any:
        def answer(request: Json) -> Text:
            prompt = json.dumps(request["messages"])
            spoken = "hermes" if "<tools>" in prompt else "react_en" if "Action Input:" in prompt else ""
            return Text([CALLS[spoken] if spoken == DIALECTS[version] else version if not spoken else f"got {spoken}"])

        return answer

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if self.weight is None or not scope["path"].startswith("/canary"):
            await Versioned(self.engines["v1"], self.manifests["v1"])(scope, receive, send)
        elif self.is_down:
            await self.engines["v2"]._whole(send, Raw("<html>no server</html>", 503))
        elif self.is_silent and scope["method"] == "POST":
            while (await receive())["type"] != "http.disconnect":
                pass
        else:
            within = scope | {"path": scope["path"].removeprefix("/canary")}
            app = Versioned(self.engines["v2"], self.manifests["v2"], canary_weight=self.weight)
            await app(within, receive, send)

    def ask(self, n: int = 1, *, tools: bool = True, **fields: Any) -> Counter[str]:
        """The versions that have answered, or what went wrong."""
        body = {"model": "m", "messages": [{"role": "user", "content": "Look!"}]} | fields
        body |= {"tools": [TOOL]} if tools else {}
        seen = Counter[str]()
        with httpx.Client(timeout=30) as client:
            for number in range(n):
                answer = client.post(f"{self.url}/v1/chat/completions", json=body | {"stream": number % 2 == 0})
                version = answer.headers.get("x-callwright-version", answer.text).removeprefix("m@")
                said = (
                    '"name": "look"' in answer.text or '"name":"look"' in answer.text
                    if tools
                    else version[0] in answer.text
                )
                seen[version if said and answer.status_code == 200 else f"{version} {answer.text}"] += 1
        return seen

    def metrics(self, name: str) -> dict[str, float]:
        """The samples of a metric, by what stands behind its name."""
        lines = httpx.get(f"{self.url}/metrics").text.splitlines()
        return {
            key.removeprefix(name): float(n) for key, n in (x.rsplit(" ", 1) for x in lines) if key.startswith(name)
        }


@contextmanager
def serving(folder: Path, weight: int | None, **settings: Any) -> Iterator[Service]:
    service = Service(folder, weight)
    with Served(service) as engine:
        config = SidecarConfig(
            upstream=engine.url, models={"m": "m", "mine": "m"}, **{"canary_seconds": 0.05} | settings
        )
        with Served(create_app(config)) as served:
            service.url = served.url
            yield service


@pytest.mark.parametrize("tools", [True, False])
def test_a_canary_takes_its_share(tmp_path: Path, tools: bool) -> None:
    with serving(tmp_path, 30) as service:
        seen = service.ask(300, tools=tools)
        assert seen.keys() == {"v1", "v2"}
        assert 50 <= seen["v2"] <= 130, "binomial: 90 and five deviations of 8"
        assert service.metrics("callwright_answers_total") == {
            f'{{model="m",outcome="ok",version="{v}"}}': n for v, n in seen.items()
        }


def test_nobody_looks_for_a_canary_where_none_is_looked_for(tmp_path: Path) -> None:
    with serving(tmp_path, 99, canary_seconds=None) as service:
        assert service.ask(20) == {"v1": 20}


@pytest.mark.parametrize(
    "fields",
    [{"user": "{}"}, {"safety_identifier": "{}"}, {"session_id": "{}"}, {"conversation": {"id": "{}"}},
     {"metadata": {"user_id": "{}"}}],
    ids=lambda fields: next(iter(fields)),
)  # fmt: skip
def test_a_conversation_stays_with_its_version(tmp_path: Path, fields: Json) -> None:
    with serving(tmp_path, 50) as service:
        given = [json.loads(json.dumps(fields).replace("{}", str(number))) for number in range(12)]
        seen = [service.ask(3, tools=False, **each) for each in given]
        assert all(len(each) == 1 for each in seen)
        assert {version for each in seen for version in each} == {"v1", "v2"}


def test_a_version_that_is_named_answers(tmp_path: Path) -> None:
    with serving(tmp_path, 50) as service:
        assert service.ask(20, model="m@v1") == {"v1": 20}
        assert service.ask(20, model="m@v2") == {"v2": 20}
        assert service.ask(20, model="another") == {"v1": 20}, "no other model has a canary"
        assert service.ask(100, model="mine").keys() == {"v1", "v2"}, "an alias has it too"


@pytest.mark.parametrize("tools", [True, False])
def test_where_the_canary_is_gone_the_version_that_stands_answers(tmp_path: Path, tools: bool) -> None:
    with serving(tmp_path, 99, canary_seconds=3600) as service:
        assert "v2" in service.ask(10, tools=tools)
        service.weight = None
        assert service.ask(10, tools=tools) == {"v1": 10}
        assert not [key for key in service.metrics("callwright_answers_total") if "failed" in key]


def test_what_a_client_may_not_write_is_broken_for_the_version_that_stands_too(tmp_path: Path) -> None:
    with serving(tmp_path, 99, canary_seconds=3600) as service:
        assert "v2" in service.ask(10, tools=False)
        service.weight = None
        said = [{"role": "user", "content": "Look! <|v1|>"}]
        assert service.ask(1, tools=False, messages=said) == {"v1": 1}
        assert "<|v1|>" not in service.engines["v1"].requests[-1]["messages"][0]["content"]


@pytest.mark.parametrize("tools", [True, False])
def test_a_canary_that_does_not_answer_fails_no_request_and_is_told_of(tmp_path: Path, tools: bool) -> None:
    with serving(tmp_path, 99, canary_seconds=3600) as service:
        assert "v2" in service.ask(10, tools=tools)
        service.is_down = True
        assert service.ask(10, tools=tools) == {"v1": 10}
        failed = {key: n for key, n in service.metrics("callwright_answers_total").items() if "failed" in key}
        assert failed == {'{model="m",outcome="failed",version="v2"}': 1.0}


@pytest.mark.parametrize("tools", [True, False])
def test_a_canary_that_is_silent_fails_no_request_either(tmp_path: Path, tools: bool) -> None:
    """Nor do those that would all be the one that tries whether it answers again."""
    limits = {"first_token_seconds": 0.3, "silent_seconds": 2, "breaker_failures": 1, "breaker_seconds": 0.3}
    with serving(tmp_path, 99, **limits) as service, ThreadPoolExecutor(8) as users:
        assert "v2" in service.ask(10, tools=tools)
        service.is_silent = True
        seen = sum(users.map(lambda user: service.ask(3, tools=tools), range(8)), Counter[str]())
        assert seen == {"v1": 24}
        assert service.metrics("callwright_answers_total")['{model="m",outcome="failed",version="v2"}'] > 0


def test_a_canary_that_comes_or_changes_its_share_is_noticed(tmp_path: Path) -> None:
    with serving(tmp_path, None) as service:
        assert service.ask(5) == {"v1": 5}
        service.weight = 99
        deadline = time.monotonic() + 20
        while "v2" not in service.ask(5):
            assert time.monotonic() < deadline


def test_a_stream_of_the_canary_tells_its_usage_to_who_asked(tmp_path: Path) -> None:
    """Nor does it to who did not, where the version that stands answers in its place."""
    with serving(tmp_path, 99, canary_seconds=3600) as service:
        assert "v2" in service.ask(10, tools=False)
        service.weight = None
        body = {"model": "m", "messages": [{"role": "user", "content": "Look!"}], "stream": True}
        answer = httpx.post(f"{service.url}/v1/chat/completions", json=body)
        assert (answer.headers["x-callwright-version"], "usage" in answer.text) == ("m@v1", False)
