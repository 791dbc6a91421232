"""The registry: a version is whole or not there, one publishes, one promotes, and clearing keeps what is in use."""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice, product
from typing import Any

import pytest

from callwright.errors import Conflict, GateFailed, InvalidInput, NotFound, StageFailed
from callwright.store import Manifest, Parity, Registry, Store, claimed
from callwright.store.registry import CLAIM, Removal
from versions import publish_version


def made(
    store: Store, version: str, *, name: str = "m", inputs: str = "a", day: int = 1, publish: bool = True
) -> Manifest:
    """A small version, published unless told otherwise."""
    return publish_version(
        store,
        version,
        {"config.json": f"{name} {version}".encode()},
        name=name,
        whole=publish,
        stop=("Observation:",),
        inputs_digest=inputs,
        created_at=datetime(2026, 1, day, tzinfo=UTC),
    )


def aged(store: Store) -> None:
    """Make everything in a folder's store two hours old."""
    assert store.root is not None
    for path in store.root.rglob("*"):
        os.utime(path, (time.time() - 7200, time.time() - 7200))


@pytest.fixture
def registry(store: Store) -> Registry:
    return Registry(store)


@pytest.fixture
def folder(tmp_path) -> Store:  # type: ignore[no-untyped-def]
    return Store.open(tmp_path.as_uri())


def test_a_version_without_a_manifest_is_none(registry: Registry) -> None:
    made(registry.store, "v1", publish=False)
    assert registry.versions("m") == []
    assert registry.names() == []
    with pytest.raises(NotFound, match="no version 'v1'; its versions: none"):
        registry.manifest("m", "v1")
    with pytest.raises(NotFound):
        registry.promote("m", "v1")


def test_versions_come_oldest_first(registry: Registry) -> None:
    for day, version in ((3, "a"), (1, "c"), (2, "b")):
        made(registry.store, version, day=day)
    made(registry.store, "x", name="other")
    assert [manifest.version for manifest in registry.versions("m")] == ["c", "b", "a"]
    assert registry.names() == ["m", "other"]
    assert registry.manifest("m", "b").stop == ("Observation:",)


def test_publishing_twice_is_once(registry: Registry) -> None:
    first = made(registry.store, "v1", day=1)
    assert made(registry.store, "v1", day=2) == first
    with pytest.raises(Conflict, match="choose another version"):
        made(registry.store, "v1", inputs="b")


def test_a_promoted_version_is_found_by_its_word(registry: Registry) -> None:
    with pytest.raises(NotFound, match="no version is promoted"):
        registry.manifest("m")
    made(registry.store, "v1")
    assert registry.promote("m", "v1", expect=None).version == "v1"
    assert registry.manifest("m").version == "v1"
    assert registry.manifest("m", "promoted").version == "v1"


def test_promoting_keeps_history_and_rolls_back(registry: Registry) -> None:
    for version in ("v1", "v2", "v3"):
        made(registry.store, version)
        registry.promote("m", version)
    assert registry.promote("m", "v3").history == ("v1", "v2")
    assert registry.rollback("m", dry_run=True).version == "v2"
    assert registry.promoted("m") == "v3"
    assert registry.rollback("m").version == "v2"
    registry.store.delete("models/m/versions/v1")
    with pytest.raises(NotFound, match="no version was promoted before v2"):
        registry.rollback("m")
    with pytest.raises(NotFound):
        registry.rollback("other")


def test_promoting_against_what_is_expected(registry: Registry) -> None:
    made(registry.store, "v1")
    made(registry.store, "v2")
    with pytest.raises(Conflict, match="nothing is promoted; expected v1"):
        registry.promote("m", "v2", expect="v1")
    registry.promote("m", "v1", expect=None)
    with pytest.raises(Conflict, match="v1 is promoted; expected nothing"):
        registry.promote("m", "v2", expect=None)
    assert registry.promote("m", "v2", expect="v1").history == ("v1",)


def test_of_many_promotions_at_once_one_wins(opened: Callable[[], Store]) -> None:
    versions = [f"v{number}" for number in range(5)]
    for version in versions:
        made(opened(), version)
    won: list[str] = []
    start = threading.Barrier(5)

    def promote(version: str) -> None:
        registry = Registry(opened())
        start.wait()
        try:
            registry.promote("m", version, expect=None)
        except Conflict:
            return
        won.append(version)

    threads = [threading.Thread(target=promote, args=(version,)) for version in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [Registry(opened()).promoted("m")] == won


def test_verify_names_every_wrong_file(registry: Registry) -> None:
    made(registry.store, "v1")
    assert registry.verify("m", "v1") == []
    registry.store.put_bytes("models/m/versions/v1/config.json", b"m v2")
    assert registry.verify("m", "v1")[0].startswith("config.json: got sha256")
    registry.store.put_bytes("models/m/versions/v1/config.json", b"m v")
    assert registry.verify("m", "v1") == ["config.json: got 3 bytes; expected 4"]
    registry.store.delete("models/m/versions/v1/config.json")
    assert registry.verify("m", "v1") == ["config.json: missing"]


def test_clearing_keeps_what_is_in_use(folder: Store) -> None:
    registry = Registry(folder)
    for day in range(1, 7):
        made(folder, f"v{day}", day=day)
    made(folder, "broken", publish=False)
    made(folder, "young", publish=False)
    registry.promote("m", "v1")
    registry.promote("m", "v2")
    aged(folder)
    made(folder, "young", publish=False)
    made(folder, "busy", publish=False)
    with claimed(folder, f"models/m/versions/busy/{CLAIM}"):
        os.utime(folder.root / "models/m/versions/busy/config.json", (0, 0))  # type: ignore[operator]
        removals = registry.plan_gc("m", keep=2)
    assert [removal.version for removal in removals] == ["broken", "v3", "v4"]
    registry.gc("m", removals)
    assert [manifest.version for manifest in registry.versions("m")] == ["v1", "v2", "v5", "v6"]
    assert not folder.list("models/m/versions/broken")
    assert folder.list("models/m/versions/young")
    assert registry.promoted("m") == "v2"


def test_clearing_deletes_the_manifest_first(folder: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made(folder, "v1")
    aged(folder)
    monkeypatch.setattr(Store, "delete", lambda self, prefix: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        Registry(folder).gc("m", Registry(folder).plan_gc("m", keep=0))
    assert Registry(folder).versions("m") == []
    assert folder.exists("models/m/versions/v1/config.json")
    monkeypatch.undo()
    left = Registry(folder).plan_gc("m", keep=0, grace=timedelta(0))
    assert [(removal.version, removal.why) for removal in left] == [("v1", "never finished: no manifest")]


def test_clearing_what_was_promoted_meanwhile_is_refused(folder: Store) -> None:
    registry = Registry(folder)
    made(folder, "v1")
    removals = registry.plan_gc("m", keep=0)
    registry.promote("m", "v1")
    with pytest.raises(Conflict, match="v1 has been promoted meanwhile"):
        registry.gc("m", removals)
    assert registry.verify("m", "v1") == []


class Turns:
    """Two threads' requests to a store, one at a time, in an order that is given: `gp` is `g`'s first, then `p`'s."""

    def __init__(self, order: str) -> None:
        self._order, self._ready, self._ended = list(order), threading.Condition(), set[str]()

    def wait(self) -> None:
        name = threading.current_thread().name
        with self._ready:
            self._ready.wait_for(lambda: not self._left() or self._left()[0] == name, timeout=30)
            if self._order:
                self._order.pop(0)
            self._ready.notify_all()

    def end(self) -> None:
        with self._ready:
            self._ended.add(threading.current_thread().name)
            self._left()
            self._ready.notify_all()

    def _left(self) -> list[str]:
        while self._order and self._order[0] in self._ended:
            self._order.pop(0)
        return self._order


class DeadError(BaseException):
    """The process is gone: nothing of it is done any more."""


class Taking:
    """A store's backend whose every request waits for its turn, and whose process may die after one of them."""

    def __init__(self, backend: Any, turns: Turns, *, lives: int | None = None) -> None:
        self._backend, self._turns, self._lives = backend, turns, lives

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._backend, name)

        def call(*arguments: Any, **options: Any) -> Any:
            self._turns.wait()
            answer = real(*arguments, **options)
            answer = [*answer] if isinstance(answer, Iterator) else answer
            if self._lives is not None:
                self._lives -= 1
                if self._lives <= 0:
                    raise DeadError
            return answer

        return call


def raced(opened: Callable[[], Store], name: str, order: str, first: str | None, **lives: int) -> tuple[bool, bool]:
    """Clear and promote the version v2 of a new model at once; returns whether each has done it."""
    store, turns = opened(), Turns(order)
    for day, version in enumerate(("v1", "v2"), start=1):
        made(store, version, name=name, day=day)
    if first:
        Registry(store).promote(name, first)
    done: dict[str, bool] = {}

    def act(work: Callable[[Registry], object]) -> None:
        mine, me = opened(), threading.current_thread().name
        done[me] = False
        try:
            backend: Any = Taking(mine.backend, turns, lives=lives.get(me))
            work(Registry(Store(mine.url, backend)))
            done[me] = True
        except (Conflict, NotFound, DeadError):
            pass
        finally:
            turns.end()

    clear = partial(Registry.gc, name=name, removals=[Removal("v2", "old", 1)])
    promote = partial(Registry.promote, name=name, version="v2")
    threads = [threading.Thread(name=me, target=act, args=[work]) for me, work in (("g", clear), ("p", promote))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return done["g"], done["p"]


def orders() -> Iterator[str]:
    """Some requests of each, some of each, and the rest: `g` clears, `p` promotes."""
    for first, second in product(range(11), range(8)):
        yield "g" * first + "p" * second + "g" * 20 + "p" * 20
        yield "g" * first + "p" * second + "g" * 2 + "p" * 2 + "g" * 20 + "p" * 20


@pytest.mark.parametrize("first", ["v1", None])
def test_no_order_of_a_promotion_s_and_a_clearing_s_requests_leaves_a_pointer_to_nothing(
    opened: Callable[[], Store], first: str | None
) -> None:
    """Over the store's own protocol, every seventh order; in memory, which is quick, every one."""
    outcomes, every = Counter[tuple[bool, bool]](), 1 if opened().url.startswith("memory") else 7
    for number, order in enumerate(islice(orders(), 0, None, every)):
        name, registry = f"m{number}", Registry(opened())
        cleared, promotes = raced(opened, name, order, first)
        promoted = registry.promoted(name)
        assert promotes == (promoted == "v2"), order
        assert promoted in ("v2", first), order
        assert promoted is None or registry.verify(name, promoted) == [], order
        outcomes[cleared, promotes] += 1
    assert outcomes.keys() >= {(True, False), (False, True)}, outcomes
    assert (True, True) not in outcomes


def deaths() -> Iterator[tuple[str, dict[str, int]]]:
    """Orders in which one of the two dies after a few requests, before or behind some of the other's."""
    for dying, other, most in (("g", "p", 5), ("p", "g", 7)):
        for first, second, between in product(range(most), range(1, most), range(1, 8)):
            yield dying * first + other * between + dying * second + other * 20, {dying: first + second}


@pytest.mark.parametrize("first", ["v1", None])
def test_a_process_that_dies_while_it_promotes_or_clears_leaves_no_pointer_to_nothing(
    monkeypatch: pytest.MonkeyPatch, first: str | None
) -> None:
    """And what it was about is done by whoever comes an hour later."""
    store = Store.open("memory://")
    for number, (order, lives) in enumerate(islice(deaths(), 0, None, 2)):
        name, registry = f"m{number}", Registry(store)
        raced(lambda: store, name, order, first, **lives)
        promoted = registry.promoted(name)
        assert promoted in ("v2", first), (order, lives)
        assert promoted is None or registry.verify(name, promoted) == [], (order, lives)
        with monkeypatch.context() as later:
            later.setattr("callwright.store.registry._INTENT_AGE", timedelta(0))
            if promoted != "v2":
                registry.gc(name, [Removal("v2", "old", 1)])
                assert not store.list(f"models/{name}/versions/v2")


def test_what_a_process_that_died_was_about_is_waited_for(folder: Store) -> None:
    registry = Registry(folder)
    for version in ("v1", "v2"):
        made(folder, version)
    folder.put_bytes("models/m/versions/v1/promoting/0.json", b"{}")
    folder.put_bytes("models/m/versions/v2/clearing/0.json", b"{}")
    with pytest.raises(Conflict, match="v1 has been promoted meanwhile, or is being"):
        registry.gc("m", [Removal("v1", "old", 1)])
    with pytest.raises(Conflict, match="v2: the version is being cleared away, or has been"):
        registry.promote("m", "v2")
    aged(folder)
    assert registry.promote("m", "v2").version == "v2"
    registry.gc("m", [Removal("v1", "old", 1)])
    assert not folder.list("models/m/versions/v1")


@pytest.mark.parametrize("name", ["", "promoted", "a/b", "..", ".a", "a b", "a#0", "x" * 129])
def test_names_that_are_no_names(folder: Store, name: str) -> None:
    with pytest.raises(InvalidInput, match="naming a"):
        Registry(folder).evaluation("m", name)


def test_a_model_may_have_the_name_that_no_version_has(folder: Store) -> None:
    """As a FineTune may, which would else train and fail afterwards."""
    publish_version(folder, "v1", {"config.json": b"{}"}, name="promoted")
    Registry(folder).promote("promoted", "v1")
    assert (Registry(folder).names(), Registry(folder).promoted("promoted")) == (["promoted"], "v1")


def test_a_manifest_of_somebody_else_is_refused(folder: Store) -> None:
    folder.put_bytes("models/m/versions/v1/manifest.json", b'{"name": "m"}')
    with pytest.raises(StageFailed, match=r"manifest\.json: version: Field required"):
        Registry(folder).versions("m")


def test_a_version_that_is_served_other_prompts_is_not_promoted(registry: Registry) -> None:
    difference = "the first difference is at token 7"
    for version, parity in (
        ("v1", None),
        ("v2", Parity(prompts=100, equal=100)),
        ("v3", Parity(prompts=100, equal=99, difference=difference)),
    ):
        publish_version(registry.store, version, parity=parity)
    registry.promote("m", "v1")
    registry.promote("m", "v2")
    for refused in (registry.promote, registry.promotable):
        with pytest.raises(GateFailed, match=f"v3: got 99 of 100 serving prompts.*{difference}; merge it again"):
            refused("m", "v3")
    assert registry.promoted("m") == "v2"
