"""The Arrow files between `data` and `train`: written a batch at a time, mapped by every worker.

Owns the columns, `SCHEMA`.
"""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa

from callwright.datasets.encoding import Example

SCHEMA = pa.schema(
    {"input_ids": pa.list_(pa.int32()), "weights": pa.list_(pa.float32()), "id": pa.string(), "source": pa.string()}
)


def to_batch(examples: Sequence[Example]) -> Any:
    """Return one `pyarrow.RecordBatch` of `examples`, to hand from one process to another."""
    return pa.record_batch(
        [
            _lists([example.input_ids for example in examples], "int32"),
            _lists([example.weights for example in examples], "float32"),
            pa.array([example.id for example in examples], pa.string()),
            pa.array([example.source for example in examples], pa.string()),
        ],
        schema=SCHEMA,
    )


class Writer:
    """An Arrow IPC file that grows batch by batch; use as a context.

    with Writer(path) as writer:
        writer.write(to_batch(examples))
    """

    def __init__(self, path: Path) -> None:
        self._file = pa.ipc.new_file(str(path), SCHEMA)
        self.rows = 0
        self.tokens = 0

    def write(self, batch: Any) -> None:
        """Append a batch that `to_batch` has made."""
        self._file.write_batch(batch)
        self.rows += batch.num_rows
        self.tokens += len(batch.column("input_ids").values)

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def read(path: str | Path) -> Any:
    """Return the pyarrow table in the file at `path`, mapped and not loaded."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _lists(rows: Sequence[Sequence[float]], kind: str) -> Any:
    """Return a list array of `rows`; by way of numpy, since pyarrow looks at every Python number by itself."""
    values = np.concatenate([np.empty(0, kind), *(np.asarray(row, kind) for row in rows)])
    return pa.ListArray.from_arrays(np.cumsum([0, *map(len, rows)], dtype="int32"), values)
