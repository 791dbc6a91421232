"""A checkpoint is used whole or not at all, and the right ones are kept."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from buckets import BUCKET, s3_server
from callwright.errors import Unavailable
from callwright.store import Store
from callwright.trainer.checkpoints import Checkpoints


@pytest.fixture(scope="module")
def s3() -> Iterator[None]:
    with s3_server():
        yield


@pytest.fixture(params=["file", "s3"])
def checkpoints(request: pytest.FixtureRequest, tmp_path: Path) -> Checkpoints:
    if request.param == "file":
        return Checkpoints(Store.open((tmp_path / "store").as_uri()), "run")
    request.getfixturevalue("s3")
    return Checkpoints(Store.open(f"s3://{BUCKET}/{tmp_path.name}"), "run")


def write(checkpoints: Checkpoints, tmp_path: Path, step: int, *, loss: float | None = None, keep: int = 9) -> None:
    folder = tmp_path / f"made-{step}"
    (folder / "adapter").mkdir(parents=True)
    (folder / "adapter" / "weights").write_bytes(b"w" * step)
    (folder / "state").write_bytes(f"state of {step}".encode())
    checkpoints.write(folder, step=step, eval_loss=loss, keep=keep)


def key(step: int, name: str) -> str:
    return f"runs/run/checkpoints/step-{step:08d}/{name}"


def test_the_newest_comes_back_as_it_was_written(checkpoints: Checkpoints, tmp_path: Path) -> None:
    assert checkpoints.fetch_newest(tmp_path / "none") is None
    for step in (100, 20, 3):
        write(checkpoints, tmp_path, step)
    newest = checkpoints.fetch_newest(tmp_path / "got")
    assert newest
    assert newest.step == 100
    assert (tmp_path / "got" / "adapter" / "weights").read_bytes() == b"w" * 100
    assert (tmp_path / "got" / "state").read_bytes() == b"state of 100"


@pytest.mark.parametrize("fault", ["no record", "half a record", "no file", "half a file", "other bytes"])
def test_one_that_was_cut_short_is_never_used(checkpoints: Checkpoints, tmp_path: Path, fault: str) -> None:
    write(checkpoints, tmp_path, 10)
    write(checkpoints, tmp_path, 20)
    store, record, file = checkpoints.store, key(20, "checkpoint.json"), key(20, "state")
    match fault:
        case "no record":
            store.delete_keys([record])
        case "half a record":
            store.put_bytes(record, store.get_bytes(record)[:40])
        case "no file":
            store.delete_keys([file])
        case "half a file":
            store.put_bytes(file, store.get_bytes(file)[:4])
        case "other bytes":
            store.put_bytes(file, b"x" * len(store.get_bytes(file)))
    newest = checkpoints.fetch_newest(tmp_path / "got")
    assert newest
    assert newest.step == 10
    assert (tmp_path / "got" / "state").read_bytes() == b"state of 10"


def test_fetching_other_bytes_than_were_written_fails(checkpoints: Checkpoints, tmp_path: Path) -> None:
    write(checkpoints, tmp_path, 10)
    (made,) = checkpoints.list()
    checkpoints.store.put_bytes(key(10, "state"), b"something")
    with pytest.raises(Unavailable, match="state is not what was written"):
        checkpoints.fetch(made, tmp_path / "got")


def test_the_newest_and_the_best_are_kept(checkpoints: Checkpoints, tmp_path: Path) -> None:
    for step, loss in ((10, 3.0), (20, 1.0), (30, 2.0), (40, 1.0), (50, None), (60, 4.0)):
        write(checkpoints, tmp_path, step, loss=loss, keep=2)
    assert [each.step for each in checkpoints.list()] == [20, 50, 60]
    best = checkpoints.best()
    assert best
    assert (best.step, best.eval_loss) == (20, 1.0)
    left = {entry.key.split("/")[3] for entry in checkpoints.store.list("runs/run")}
    assert left == {"step-00000020", "step-00000050", "step-00000060"}


def test_writing_over_what_an_interrupted_one_left_leaves_nothing_of_it(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    checkpoints.store.put_bytes(key(10, "stray"), b"half")
    write(checkpoints, tmp_path, 10)
    assert not checkpoints.store.exists(key(10, "stray"))
    assert [each.step for each in checkpoints.list()] == [10]
