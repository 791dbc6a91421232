"""A checkpoint is used whole or not at all, and the right ones are kept."""

from pathlib import Path

import pytest

from callsmith.errors import Unavailable
from callsmith.store import Store
from callsmith.trainer.checkpoints import Checkpoints


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(Store.open((tmp_path / "store").as_uri()), "run")


def write(checkpoints: Checkpoints, tmp_path: Path, step: int, *, loss: float | None = None, keep: int = 9) -> None:
    folder = tmp_path / f"made-{step}"
    (folder / "adapter").mkdir(parents=True)
    (folder / "adapter" / "weights").write_bytes(b"w" * step)
    (folder / "state").write_bytes(f"state of {step}".encode())
    checkpoints.write(folder, step=step, eval_loss=loss, keep=keep)


def files(tmp_path: Path, step: int) -> Path:
    return tmp_path / "store" / "runs" / "run" / "checkpoints" / f"step-{step:08d}"


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
    record, file = files(tmp_path, 20) / "checkpoint.json", files(tmp_path, 20) / "state"
    match fault:
        case "no record":
            record.unlink()
        case "half a record":
            record.write_bytes(record.read_bytes()[:40])
        case "no file":
            file.unlink()
        case "half a file":
            file.write_bytes(file.read_bytes()[:4])
        case "other bytes":
            file.write_bytes(b"x" * len(file.read_bytes()))
    newest = checkpoints.fetch_newest(tmp_path / "got")
    assert newest
    assert newest.step == 10
    assert (tmp_path / "got" / "state").read_bytes() == b"state of 10"


def test_fetching_other_bytes_than_were_written_fails(checkpoints: Checkpoints, tmp_path: Path) -> None:
    write(checkpoints, tmp_path, 10)
    (made,) = checkpoints.list()
    (files(tmp_path, 10) / "state").write_bytes(b"something")
    with pytest.raises(Unavailable, match="state is not what was written"):
        checkpoints.fetch(made, tmp_path / "got")


def test_the_newest_and_the_best_are_kept(checkpoints: Checkpoints, tmp_path: Path) -> None:
    for step, loss in ((10, 3.0), (20, 1.0), (30, 2.0), (40, 1.0), (50, None), (60, 4.0)):
        write(checkpoints, tmp_path, step, loss=loss, keep=2)
    assert [each.step for each in checkpoints.list()] == [20, 50, 60]
    best = checkpoints.best()
    assert best
    assert (best.step, best.eval_loss) == (20, 1.0)
    left = {path.parent.name for path in files(tmp_path, 0).parent.glob("*/*")}
    assert left == {"step-00000020", "step-00000050", "step-00000060"}


def test_writing_over_what_an_interrupted_one_left_leaves_nothing_of_it(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    files(tmp_path, 10).mkdir(parents=True)
    (files(tmp_path, 10) / "stray").write_bytes(b"half")
    write(checkpoints, tmp_path, 10)
    assert not (files(tmp_path, 10) / "stray").exists()
    assert [each.step for each in checkpoints.list()] == [10]
