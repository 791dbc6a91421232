"""What containers do around an engine: the base is linked, and who waits is told in time. Draining: see the charts'."""

import json
from pathlib import Path

import pytest

from callwright.errors import NotFound, StageFailed, TimedOut
from callwright.server import lifecycle
from callwright.store import Store
from fakes import OpenAIServer


def test_a_base_is_linked_to_and_linked_anew(tmp_path: Path) -> None:
    link = tmp_path / "base"
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        for file in ("config.json", "model.safetensors"):
            (tmp_path / name / file).write_text("{}")
        lifecycle.base(str(tmp_path / name), link, cache=tmp_path / "cache")
        assert link.resolve() == tmp_path / name
    with pytest.raises(NotFound):
        lifecycle.base(str(tmp_path / "none"), link, cache=tmp_path / "cache")


def test_a_base_that_the_run_s_preparation_has_kept_is_not_downloaded(tmp_path: Path) -> None:
    store, link = Store.open((tmp_path / "store").as_uri()), tmp_path / "base"
    for name in ("config.json", "model.safetensors"):
        store.put_bytes(f"bases/owner/model/abc/{name}", b"{}")
    store.put_bytes("runs/m-1/base.json", json.dumps({"key": "bases/owner/model/abc"}).encode())
    lifecycle.base("owner/model", link, cache=tmp_path / "cache", store=store.url, run="m-1")
    assert sorted(path.name for path in link.iterdir()) == ["config.json", "model.safetensors"]


def test_who_waits_goes_on_when_it_answers_and_fails_when_it_does_not() -> None:
    with pytest.raises(TimedOut, match=r"no answer in 0 s: .*see the log of the container `engine`"):
        lifecycle.wait("http://127.0.0.1:1/", 0)
    with OpenAIServer(lambda _: {}) as server:
        lifecycle.wait(f"{server.base_url}/models", 60)


def test_a_model_is_looked_for_among_those_served() -> None:
    with OpenAIServer(lambda _: {}, models=["a", "b"]) as server:
        lifecycle.check(f"{server.base_url}/models", "b")
        with pytest.raises(StageFailed, match=r"got \['a', 'b'\]; expected c"):
            lifecycle.check(f"{server.base_url}/models", "c")
    with pytest.raises(StageFailed, match="Connection refused"):
        lifecycle.check("http://127.0.0.1:1/v1/models", "c")


def test_the_first_key_that_is_no_comment_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, str]] = []

    def get(url: str, *, timeout: float, headers: dict[str, str]) -> bytes:
        sent.append(headers)
        return b'{"data": [{"id": "b"}]}'

    monkeypatch.setattr(lifecycle, "get", get)
    lifecycle.check("http://x", "b", "# the team's\n\n  # two\n ключ \nsecond\n")
    lifecycle.check("http://x", "b", " \n")
    lifecycle.check("http://x", "b", "one: k1 models=a,c\ntwo:\tk2  models=a,b requests-per-minute=5\nk3\n")
    lifecycle.check("http://x", "b", "one: k1 models=a\n")
    keys = ["ключ".encode().decode("latin-1"), None, "k2", None]
    assert sent == [{"Authorization": f"Bearer {key}"} if key else {} for key in keys]
