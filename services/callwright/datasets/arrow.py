"""The Arrow files between `data` and `train`: written a batch at a time, mapped by every worker.

Owns the columns: `input_ids` list<int32>, `weights` list<float32>, `id` and `source` strings. Arrays are made from
buffers, since pyarrow would import pandas to look at Python lists.
"""

from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import Any

from callwright.datasets.encoding import Example


def to_bytes(examples: Sequence[Example]) -> bytes:
    """One Arrow stream with one batch of `examples`, to hand from one process to another."""
    import pyarrow as pa

    made = _batch(examples)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, made.schema) as stream:
        stream.write_batch(made)
    return bytes(sink.getvalue())


class Writer:
    """An Arrow IPC file that grows batch by batch; use as a context."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        self._file = pa.ipc.new_file(str(path), _batch([]).schema)
        self.rows = 0
        self.tokens = 0

    def write(self, encoded: bytes) -> None:
        """Append what `to_bytes` has made."""
        import pyarrow as pa

        for made in pa.ipc.open_stream(encoded):
            self._file.write_batch(made)
            self.rows += made.num_rows
            self.tokens += len(made.column(0).values)

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def read(path: str | Path) -> Any:
    """The pyarrow table in the file at `path`, mapped and not loaded."""
    import pyarrow as pa

    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def examples(path: str | Path) -> Iterator[Example]:
    """The rows of the file at `path`, one at a time."""
    for batch in read(path).to_batches():
        for row in batch.to_pylist():
            yield Example(**row)


def _batch(rows: Sequence[Example]) -> Any:
    import pyarrow as pa

    columns = [
        _lists(pa.int32(), array("i"), [row.input_ids for row in rows]),
        _lists(pa.float32(), array("f"), [row.weights for row in rows]),
        _strings([row.id for row in rows]),
        _strings([row.source for row in rows]),
    ]
    return pa.record_batch(columns, names=["input_ids", "weights", "id", "source"])


def _lists(value_type: Any, values: "array[int] | array[float]", lists: Sequence[Sequence[Any]]) -> Any:
    import pyarrow as pa

    for each in lists:
        values.extend(each)
    flat = pa.Array.from_buffers(value_type, len(values), [None, pa.py_buffer(values)])
    return pa.Array.from_buffers(pa.list_(value_type), len(lists), [None, _ends(map(len, lists))], children=[flat])


def _strings(texts: Sequence[str]) -> Any:
    import pyarrow as pa

    encoded = [text.encode("utf-8", "replace") for text in texts]
    return pa.Array.from_buffers(
        pa.string(), len(texts), [None, _ends(map(len, encoded)), pa.py_buffer(b"".join(encoded))]
    )


def _ends(lengths: Iterator[int]) -> Any:
    import pyarrow as pa

    return pa.py_buffer(array("i", accumulate(lengths, initial=0)))
