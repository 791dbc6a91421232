"""What the trainer's tests share: a tiny base, encoded rows, and documents."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from callwright import spec
from callwright.datasets.arrow import Writer, to_batch
from callwright.datasets.encoding import Example
from models import tiny_model


@pytest.fixture(scope="session")
def base_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen2."""
    return tiny_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def write_rows() -> Callable[..., Path]:
    """Writes token ids, and their loss weights where they are not all 1, as an Arrow file."""

    def write(path: Path, rows: Sequence[list[int]], weights: Sequence[list[float]] | None = None) -> Path:
        chosen = weights or [[1.0] * len(ids) for ids in rows]
        with Writer(path) as writer:
            pairs = enumerate(zip(rows, chosen, strict=True))
            writer.write(to_batch([Example(ids, w, id=f"{path.stem}-{n}", source="s") for n, (ids, w) in pairs]))
        return path

    return write


@pytest.fixture(scope="session")
def finetune() -> Callable[..., spec.FineTune]:
    """Makes the document that trains `base` as the keys of its spec say."""

    def make(base: Path, **chosen: Any) -> spec.FineTune:
        asked = {"base": {"model": str(base)}, "data": {"sources": [{"path": "unused.jsonl"}]}, **chosen}
        head = {"apiVersion": spec.API_VERSION, "kind": "FineTune", "metadata": {"name": "tiny"}}
        return spec.FineTune.model_validate({**head, "spec": asked})

    return make
