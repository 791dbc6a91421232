"""The controller behind an API server that fails: all it works on comes to its end, nothing is lost, nothing doubled.

The API server is the real one, with a proxy before it that makes the faults.
"""

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from faulty_api_server import FAULTS, WATCH_FAULTS, Choose, FaultyApiServer, faulty_api_server

import kube
from callwright.controller import cluster as cluster_module
from callwright.controller.app import Controller
from callwright.controller.cluster import CONFIG_MAP, EVENT, FINE_TUNE, JOB, NETWORK_POLICY, RAY_JOB, Cluster
from callwright.controller.metrics import Metrics
from callwright.controller.reconcile import Reconciler
from callwright.store import Registry, Store
from cast import SERVICE, Play, config_of
from kube import apiserver, cluster, garbage_collector, namespace

__all__ = ["apiserver", "cluster", "garbage_collector", "namespace"]
pytestmark = pytest.mark.usefixtures("garbage_collector")
Figure = Callable[[str, object, object], None]
OFTEN = ("500", "a reset after it", "no answer")
"""Faults of which the others go the way: those are the slow tests'."""
SILENT = ("PATCH finetunes/status", "POST jobs", "LIST finetunes")
"""Calls that are left without an answer: each costs the time that the client waits for one."""
CHILDREN = (RAY_JOB, JOB, CONFIG_MAP, NETWORK_POLICY)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(f"file://{tmp_path}/store")


@pytest.fixture
def play(cluster: Cluster, namespace: str, store: Store) -> Play:
    return Play(cluster, namespace, store, seconds=100)


@contextmanager
def controller(server: kube.ApiServer, play: Play, choose: Choose) -> Iterator[FaultyApiServer]:
    """The controller of the play's namespace, which sees the API server through the proxy. The play sees it whole."""
    with faulty_api_server(server.url, choose) as (url, proxy):
        seen_through = kube._write_kubeconfig(server.folder / f"{play.namespace}.kubeconfig", url, "admin-token")
        config = config_of(play.store.url, namespace=play.namespace, namespaces=(play.namespace,), poll_seconds=0.3)
        made, stop = Controller(Reconciler(kube.connect(seen_through), config), Metrics()), threading.Event()
        running = threading.Thread(target=made.run, args=[stop])
        running.start()
        try:
            yield proxy
            assert made.healthy()
        finally:
            stop.set()
            running.join(60)


def no_traces(records: list[logging.LogRecord]) -> None:
    """Every failure was foreseen: each is one line of the log."""
    assert [record.getMessage() for record in records if record.exc_info] == []


def live(play: Play, name: str, uids: set[str]) -> None:
    """Whoever acts besides the controller does so once for `name`, if it is time, and notes what runs were made of."""
    play.turn(name)
    for kind in (RAY_JOB, JOB):
        labels = {"callwright.io/finetune": name}
        uids |= {each["metadata"]["uid"] for each in play.cluster.find(kind, play.namespace, labels=labels)}


def to_the_end(play: Play, names: list[str], phases: set[str]) -> set[str]:
    """Act until every document has one of `phases`; returns the uids of all that was made of RayJobs and Jobs."""
    uids: set[str] = set()

    def ended() -> bool:
        for name in names:
            live(play, name, uids)
        return all(play.status(name).get("phase") in phases for name in names)

    kube.wait_until(ended, what=lambda: str({name: play.status(name) for name in names}), seconds=play.seconds)
    return uids


def deleted(play: Play, names: list[str]) -> None:
    for name in names:
        play.cluster.delete(FINE_TUNE, play.namespace, name)
    assert play.cluster.find(FINE_TUNE, play.namespace) == []

    def left() -> list[str]:
        found = [each for kind in CHILDREN for each in play.cluster.find(kind, play.namespace)]
        return [each["metadata"]["name"] for each in found if each["metadata"].get("ownerReferences")]

    kube.wait_until(lambda: left() == [], what=lambda: f"{left()} gone", seconds=100)


@pytest.mark.slow
def test_a_third_of_all_calls_fail(
    play: Play, apiserver: kube.ApiServer, caplog: pytest.LogCaptureFixture, figure: Figure
) -> None:
    """Five documents are promoted, one of them served; two are held, changed or deleted on their way; then all go."""
    chance = random.Random(20)

    def choose(call: str) -> str | None:
        faults = (*FAULTS, *WATCH_FAULTS) if call.startswith("WATCH") else FAULTS
        return chance.choice(faults) if chance.random() < 0.3 else None

    names = [f"model-{number}" for number in range(5)]
    play.install_service("model-0")
    began = time.monotonic()
    with controller(apiserver, play, choose) as proxy:
        for name in names:
            play.apply(play.document(name, **({"deploy": {"service": SERVICE}} if name == "model-0" else {})))
        play.apply(play.document("gone"))
        play.apply(play.document("held", suspend=True))
        play.prepare("gone")
        play.cluster.delete(FINE_TUNE, play.namespace, "gone")
        play.wait_for("Suspended", "held")
        play.change("held", suspend=False)
        uids = to_the_end(play, [*names, "held"], {"Promoted"})
        lived = time.monotonic() - began
        assert play.cluster.get(FINE_TUNE, play.namespace, "gone") is None
        assert len(uids) == 4 * 6, "a RayJob and three Jobs for each, once"
        assert play.served() == [play.status("model-0")["version"]]
        owners = {each["manager"] for each in play.service()["metadata"]["managedFields"] if "subresource" not in each}
        assert "callwright" not in owners, "the service is its author's again"
        for name in [*names, "held"]:
            status = play.status(name)
            assert Registry(play.store).promoted(name) == status["version"]
            assert status["attempt"] == 0
        events = play.cluster.find(EVENT, play.namespace)
        promoted = Counter(each["involvedObject"]["name"] for each in events if each["reason"] == "Promoted")
        assert promoted == dict.fromkeys([*names, "held"], 1), "each end is told, once"
        deleted(play, [*names, "held"])
    no_traces(caplog.records)
    calls, faults = proxy.calls.total(), proxy.faults.total()
    figure("API server, 30 % of calls fail: calls, of them failed", f"{calls}, {faults}", "")
    figure("… seconds until 6 documents are promoted, one deleted on its way", f"{lived:.0f}", "all are")
    figure("… tracebacks, documents stuck, runs doubled", "0, 0, 0", "0, 0, 0")


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, marks=[] if fault in OFTEN else [pytest.mark.slow])
        for fault in (*FAULTS, *WATCH_FAULTS, "no answer")
    ],
)
def test_one_fault_at_each_call_in_turn(
    play: Play,
    apiserver: kube.ApiServer,
    caplog: pytest.LogCaptureFixture,
    figure: Figure,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    """Each kind of call fails once where it is made first, in a document's life and again when it is deleted.

    What the client makes again at once fails as often as that, and once more.
    """
    times = 4 if fault in ("500", "503", "a reset before the request", "a reset after it") else 1
    met: Counter[str] = Counter()
    monkeypatch.setattr(cluster_module, "_TIMEOUT_SECONDS", 3)

    def choose(call: str) -> str | None:
        if fault in WATCH_FAULTS and not call.startswith("WATCH"):
            return None
        if fault == "no answer" and call not in SILENT:
            return None
        met[call] += 1
        return fault if met[call] <= times else None

    play.install_service("weather")
    with controller(apiserver, play, choose) as proxy:
        play.apply(play.document(deploy={"service": SERVICE}))
        play.prepare()
        play.change(suspend=True)
        play.wait_for("Suspended")
        play.change(suspend=False)
        assert len(to_the_end(play, ["weather"], {"Promoted"})) == 4
        assert play.served() == [play.status()["version"]]
        met.clear()
        deleted(play, ["weather"])
    no_traces(caplog.records)
    met_by = len({call for call, _ in proxy.faults})
    figure(f"API server, each call once: {fault}", f"{met_by} kinds of calls", "promoted, deleted")
