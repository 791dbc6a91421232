"""Reads a corpus file row by row: JSON Lines, a JSON array, Parquet or CSV, plain or in gzip or zstd.

Owns opening and decoding; memory does not grow with the file. A row that cannot be decoded comes back as a value.
Knows no conversation format.
"""

import codecs
import csv
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from callwright.errors import InvalidInput, NotFound

SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet", ".csv")
_ARRAY_BLOCK = 1 << 18
_PARQUET_ROWS = 256


class Row(NamedTuple):
    """One row of a file: its line (or its position, where rows have no lines) from 1, and its value or its fault."""

    line: int
    value: dict[str, Any] | None
    problem: str | None = None


def rows(path: str | Path) -> Iterator[Row]:
    """Yield the rows of the file at `path`.

    The last suffix but `.gz` and `.zst` says what it is; every other one is read as JSON Lines. Raises `NotFound`, and
    `InvalidInput` for a file that cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFound(f"reading conversations: no file {path}; expected a corpus; check the source's path")
    plain = Path(path.stem) if path.suffix in (".gz", ".zst") else path
    try:
        match plain.suffix.lower():
            case ".parquet":
                yield from _parquet(path)
            case ".csv":
                with _open(path) as stream:
                    yield from _csv(stream)
            case ".json":
                with _open(path) as stream:
                    yield from _json(stream)
            case _:
                with _open(path) as stream:
                    yield from _lines(stream)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"reading conversations: {path} cannot be read: {error}") from None


def _open(path: Path) -> IO[bytes]:
    match path.suffix.lower():
        case ".gz":
            return cast(IO[bytes], gzip.open(path, "rb"))
        case ".zst":
            import pyarrow

            return io.BufferedReader(pyarrow.input_stream(str(path), compression="zstd"))
        case _:
            return path.open("rb")


def _lines(stream: IO[bytes]) -> Iterator[Row]:
    for number, line in enumerate(stream, start=1):
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if line.strip():
            yield _decoded(number, line)


def _decoded(number: int, line: bytes) -> Row:
    try:
        return _object(number, json.loads(line))
    except UnicodeDecodeError as error:
        return Row(number, None, f"not UTF-8: {error.reason} at byte {error.start}")
    except json.JSONDecodeError as error:
        return Row(number, None, f"not JSON: {error.msg} at column {error.colno}")
    except RecursionError:
        return Row(number, None, "not readable: nested too deeply")


def _object(number: int, value: Any) -> Row:
    if not isinstance(value, dict):
        return Row(number, None, f"got a JSON {type(value).__name__}; expected an object")
    return Row(number, value)


def _json(stream: IO[bytes]) -> Iterator[Row]:
    """The elements of an array, or JSON Lines under the name `.json`, as BFCL has them."""
    first = stream.read(1)
    while first.isspace():
        first = stream.read(1)
    if first == b"[":
        yield from _array(io.TextIOWrapper(stream, encoding="utf-8"))
        return
    stream.seek(0)
    yield from _lines(stream)


def _array(text: IO[str]) -> Iterator[Row]:
    decoder = json.JSONDecoder()
    buffer = ""
    number = 1
    block = _ARRAY_BLOCK
    while True:
        more = text.read(block)
        buffer += more
        position = 0
        while True:
            while position < len(buffer) and buffer[position] in ", \t\r\n":
                position += 1
            if position == len(buffer) or buffer[position] == "]":
                break
            try:
                value, position = decoder.raw_decode(buffer, position)
            except json.JSONDecodeError as error:
                if not more:
                    yield Row(number, None, f"not JSON from here to the end of the array: {error.msg}")
                    return
                break
            block = _ARRAY_BLOCK
            yield _object(number, value)
            number += 1
        if not more or buffer[position : position + 1] == "]":
            return
        # An element longer than the block is looked at again only once the block has doubled.
        block = max(_ARRAY_BLOCK, len(buffer) - position)
        buffer = buffer[position:]


def _csv(stream: IO[bytes]) -> Iterator[Row]:
    csv.field_size_limit(1 << 26)
    reader = csv.DictReader(io.TextIOWrapper(stream, encoding="utf-8-sig", newline=""))
    _ = reader.fieldnames  # reads the header, which is before the first row
    line = reader.line_num + 1
    for values in reader:
        yield Row(line, {key: value for key, value in values.items() if isinstance(key, str)})
        line = reader.line_num + 1


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        for batch in parquet.ParquetFile(path).iter_batches(batch_size=_PARQUET_ROWS):
            for value in batch.to_pylist():
                number += 1
                yield _object(number, _without_padding(value))
    except pyarrow.ArrowException as error:
        raise InvalidInput(f"reading conversations: {path} is not Parquet: {error}") from None


def _without_padding(value: Any) -> Any:
    """A value without the nulls that Parquet gives every field that some other row has."""
    if isinstance(value, dict):
        return {key: _without_padding(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_padding(item) for item in value]
    return value
