"""Checkpoints of a run in the store: written whole or not at all, found again, checked before they are used.

`runs/<run>/checkpoints/step-00000100/` holds files and, written last, `checkpoint.json` with their digests. A folder
without it, or whose files differ from it, is no checkpoint. Knows no torch, no Ray and nothing of what is in the files.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from callwright.errors import InvalidInput, NotFound, Temporary, Unavailable
from callwright.store import Store, checked_paths
from callwright.store.documents import read_object
from callwright.store.manifest import FileEntry

_RECORD = "checkpoint.json"


class Checkpoint(BaseModel):
    """One whole checkpoint."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    step: int
    """Optimizer steps done."""
    eval_loss: float | None = None
    """Loss on the test split at that step, in nats per token, where it was measured."""
    files: dict[str, FileEntry]
    """Every file of the checkpoint by its path."""


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of the run `run` in `store`; one process writes, any may read."""

    store: Store
    run: str

    def write(self, folder: Path, *, step: int, eval_loss: float | None = None, keep: int) -> Checkpoint:
        """Store the files below `folder` as the checkpoint of `step`; then keep the newest `keep` and the best one."""
        names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        made = Checkpoint(step=step, eval_loss=eval_loss, files={name: FileEntry.of(folder / name) for name in names})
        self.store.delete(self._prefix(step))  # whatever an interrupted one left here
        self.store.put_tree(self._prefix(step), folder)
        self.store.put_bytes(f"{self._prefix(step)}/{_RECORD}", made.model_dump_json(indent=2).encode())
        self._prune(keep)
        return made

    def list(self) -> list[Checkpoint]:
        """Return the checkpoints whose files are all there at their sizes, the oldest first."""
        prefix = f"runs/{self.run}/checkpoints"
        sizes = {entry.key: entry.size for entry in self.store.list(prefix)}
        found = []
        for key in sorted(key for key in sizes if key.endswith(f"/{_RECORD}")):
            try:
                made = Checkpoint.model_validate(read_object(self.store.get_bytes(key), key, unique=True))
                checked_paths(made.files, where=key)
            except (ValidationError, NotFound, InvalidInput):
                continue
            here = key.removesuffix(f"/{_RECORD}")
            if all(sizes.get(f"{here}/{name}") == entry.size for name, entry in made.files.items()):
                found.append(made)
        return sorted(found, key=lambda each: each.step)

    def best(self) -> Checkpoint | None:
        """Return the one with the least evaluation loss, the earliest of equals; None where none was evaluated."""
        return _best(self.list())

    def describe_newest(self) -> str:
        """Return which checkpoint is the newest, for people."""
        try:
            whole = self.list()
        except Temporary as error:
            return f"which checkpoint is the newest can't be told: {error}"
        return f"the newest checkpoint is that of step {whole[-1].step}" if whole else "there is no checkpoint yet"

    def fetch(self, checkpoint: Checkpoint, folder: Path) -> None:
        """Copy its files into `folder`. Raises `Unavailable` when a file is gone or its digest differs."""
        for name, entry in checkpoint.files.items():
            key = f"{self._prefix(checkpoint.step)}/{name}"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            try:
                self.store.get_file(key, folder / name)
            except NotFound as error:
                raise Unavailable(f"reading a checkpoint: {key} is gone") from error
            if FileEntry.of(folder / name) != entry:
                raise Unavailable(f"reading a checkpoint: {key} is not what was written")

    def fetch_newest(self, folder: Path) -> Checkpoint | None:
        """Copy the newest checkpoint that is whole, byte for byte, into `folder`; None when there is none."""
        for each in reversed(self.list()):
            try:
                self.fetch(each, folder)
            except Unavailable:
                continue
            return each
        return None

    def _prefix(self, step: int) -> str:
        return f"runs/{self.run}/checkpoints/step-{step:08d}"

    def _prune(self, keep: int) -> None:
        whole = self.list()
        best = _best(whole)
        for each in whole[:-keep]:
            if each != best:
                # The record first, so that none is ever cut short.
                self.store.delete_keys([f"{self._prefix(each.step)}/{_RECORD}"])
                self.store.delete(self._prefix(each.step))


def _best(checkpoints: Iterable[Checkpoint]) -> Checkpoint | None:
    evaluated = [(each.eval_loss, each.step, each) for each in checkpoints if each.eval_loss is not None]
    return min(evaluated, key=lambda each: each[:2])[2] if evaluated else None
