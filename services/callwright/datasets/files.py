"""Reads a corpus file row by row: JSON Lines, a JSON array, Parquet or CSV, plain or compressed; text is UTF-8.

Owns opening and decoding; memory does not grow with the file. A row that cannot be decoded comes back as a value, and
a file that is cut off, or no file of its kind, is refused. Knows no conversation format.
"""

import codecs
import contextlib
import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, NamedTuple

from callwright.dialects.literals import read_unambiguous
from callwright.errors import InvalidInput, NotFound

SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet", ".csv")
COMPRESSED = (".gz", ".zst", ".bz2")
MAX_ROW_BYTES = 8 * 1024**2
"""Of a row, unpacked; a longer line is left out, and any other longer row ends the reading."""
_MAX_SKIPPED = 128 * MAX_ROW_BYTES
_MAX_VALUES = 1_000_000
_VALUE = MAX_ROW_BYTES // _MAX_VALUES
_PARQUET_BYTES = 256 * 1024**2
_BLOCK = 1 << 18
_HEAD = 8
_PARQUET_ROWS = 256
_NO_JSON = "not JSON"
_AT_MOST = f"expected a row of at most {MAX_ROW_BYTES}; split it, or leave it out"
_WHITE = b"\t\n\v\f\r"
_PLAIN = json.JSONDecoder(strict=False)
_SPACE = re.compile(r"\s*+")
_SEPARATOR = re.compile(r"\s*+[,\]]")
_MARK = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{},]', re.DOTALL)
"""A string, which may be cut off, or what stands between the values of JSON."""


class Row(NamedTuple):
    """One row of a file: its line (or its position, where rows have no lines) from 1, and its value or its fault."""

    line: int
    value: dict[str, Any] | None
    problem: str | None = None


def rows(path: str | Path) -> Iterator[Row]:
    """Yield the rows of the file at `path`.

    The last suffix but `COMPRESSED` says what it is; every other one is read as JSON Lines. Raises `NotFound`, and
    `InvalidInput` for a file that cannot be read, or not to its end.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFound(f"reading conversations: no file {path}; expected a corpus; check the source's path")
    try:
        match plain_suffix(path.name):
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
                    yield from _json_lines(stream)
    except (OSError, EOFError, ValueError, csv.Error, zlib.error) as error:
        raise InvalidInput(f"reading conversations: {path} cannot be read: {' '.join(str(error).split())}") from None


def plain_suffix(name: str) -> str:
    """Return the suffix that says how the file is written, in lower case: `.json` of `A.JSON.gz`."""
    path = Path(name.lower())
    return Path(path.stem).suffix if path.suffix in COMPRESSED else path.suffix


def _open(path: Path) -> io.BufferedReader:
    """Return the text at `path`, after a byte order mark. Raises `ValueError` for what is no text in UTF-8."""
    stream = io.BufferedReader(_open_bytes(path))
    head = stream.peek(_HEAD)[:_HEAD]
    wide = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if wide or any(byte < ord(" ") for byte in head.translate(None, _WHITE)):
        stream.close()
        raise ValueError(
            f"got {head!r} at its beginning; expected text in UTF-8; write UTF-16 and UTF-32 again in UTF-8, and name "
            f"a file by what it is: {', '.join((*SUFFIXES, *COMPRESSED))}"
        )
    if head.startswith(codecs.BOM_UTF8):
        stream.read(len(codecs.BOM_UTF8))
    return stream


def _open_bytes(path: Path) -> Any:
    match path.suffix.lower():
        case ".gz":
            return gzip.open(path, "rb")
        case ".zst" | ".bz2" as suffix:
            import pyarrow

            return pyarrow.input_stream(str(path), compression="zstd" if suffix == ".zst" else "bz2")
        case _:
            return path.open("rb", buffering=0)


def _lines(stream: IO[bytes], first: int = 1) -> Iterator[Row]:
    for number, line in enumerate(iter(lambda: stream.readline(MAX_ROW_BYTES + 1), b""), start=first):
        if len(line) > MAX_ROW_BYTES and not line.endswith(b"\n"):
            yield Row(number, None, f"got a line of {_rest_of_line(stream, number) + len(line)} bytes; {_AT_MOST}")
            continue
        line = line.removeprefix(codecs.BOM_UTF8)  # of a file that was put behind another one
        if text := line.rstrip():
            yield _decoded(number, text)


def _rest_of_line(stream: IO[bytes], number: int) -> int:
    """Pass by the rest of a line, which may have no end: `ValueError`."""
    passed = 0
    while part := stream.readline(_BLOCK):
        passed += len(part)
        if part.endswith(b"\n"):
            break
        if passed > _MAX_SKIPPED:
            raise ValueError(f"line {number}: got over {passed} bytes; {_AT_MOST}")
    return passed


def _json_lines(stream: io.BufferedReader) -> Iterator[Row]:
    """JSON Lines. Raises `ValueError` for an array over several lines, of which some would be rows, and some not."""
    opens = stream.peek(1).lstrip()[:1] == b"["
    lines = _lines(stream)
    head = list(islice(lines, 1))
    if opens and (head[0].problem or "").startswith(_NO_JSON):
        raise ValueError(
            f"got the beginning of an array in line {head[0].line}; expected an object in each line; name the file "
            "of an array .json"
        )
    yield from chain(head, lines)


def _decoded(number: int, text: bytes) -> Row:
    if (values := sum(map(text.count, (b",", b"[", b"{")))) > _MAX_VALUES:
        return Row(number, None, f"got about {values} values; expected a row of at most {_MAX_VALUES}")
    try:
        value = read_unambiguous(text.decode())
    except UnicodeDecodeError as error:
        return Row(number, None, f"not UTF-8: {error.reason} at byte {error.start}")
    except json.JSONDecodeError as error:
        return Row(number, None, f"{_NO_JSON}: {error.msg} at column {error.colno}")
    except ValueError as error:
        return Row(number, None, f"not readable: {error}")
    if not isinstance(value, dict):
        return Row(number, None, f"got a JSON {type(value).__name__}; expected an object")
    return Row(number, value)


def _json(stream: io.BufferedReader) -> Iterator[Row]:
    """Yield the elements of an array, or JSON Lines under the name `.json`, as BFCL has them."""
    number = 1
    while (first := stream.peek(1)[:1]).isspace():
        number += stream.read(1) == b"\n"
    if first == b"[":
        stream.read(1)
        yield from _array(stream)
        return
    lines = _lines(stream, number)
    head = list(islice(lines, 2))
    if len(head) == 2 and all((row.problem or "").startswith(_NO_JSON) for row in head):
        raise ValueError(
            f"got no JSON in line {head[0].line} and in line {head[1].line}; expected an array of objects, or an "
            "object in each line; write one that goes over several lines as an array"
        )
    yield from chain(head, lines)


def _array(stream: IO[bytes]) -> Iterator[Row]:
    """Yield the elements of an array without its opening bracket. Raises `ValueError` where it ends too early or too
    late.
    """
    decoded = io.TextIOWrapper(stream, encoding="utf-8", errors="surrogateescape", newline="")
    number, text, start = 0, "", 0
    while more := decoded.read(max(_BLOCK, len(text) - start)):  # what is not whole is looked at when it has doubled
        text, start = text[start:] + more, 0
        while (end := _element_end(text, start)) is not None:
            if element := text[start:end].strip():
                number += 1
                yield _decoded(number, element.encode("utf-8", "surrogateescape"))
            start = end + 1
            if text[end] == "]":
                if text[start:].strip() or any(block.strip() for block in iter(lambda: decoded.read(_BLOCK), "")):
                    raise ValueError(
                        f"got text after the array of {number} rows; expected its end; split the file, or mend it"
                    )
                return
        if len(text) - start > MAX_ROW_BYTES:
            raise ValueError(f"row {number + 1}: got over {MAX_ROW_BYTES} bytes; {_AT_MOST}")
    raise ValueError(
        f"the array has no end: after row {number} it is cut off, or not JSON; fetch the file again, or mend it"
    )


def _element_end(text: str, start: int) -> int | None:
    """Return the comma or bracket where the array's element that begins at `start` ends; None in a later block."""
    with contextlib.suppress(ValueError, RecursionError):
        _, end = _PLAIN.raw_decode(text, _SPACE.match(text, start).end())  # type: ignore[union-attr]
        if separator := _SEPARATOR.match(text, end):
            return separator.end() - 1
    depth = 0  # of what is faulty, by its brackets and strings alone
    for mark in _MARK.finditer(text, start):
        match mark[0]:
            case "[" | "{":
                depth += 1
            case "]" | "}" if depth:
                depth -= 1
            case "," | "]" if not depth:
                return mark.start()
    return None


def _csv(stream: IO[bytes]) -> Iterator[Row]:
    csv.field_size_limit(MAX_ROW_BYTES)
    text = io.TextIOWrapper(stream, encoding="utf-8", errors="surrogateescape", newline="")
    length = 0  # of the row that is being read, which may have several lines

    def parts() -> Iterator[str]:
        nonlocal length
        while part := text.readline(MAX_ROW_BYTES + 1):
            length += len(part)
            if length > MAX_ROW_BYTES:
                raise ValueError(f"line {line}: got over {MAX_ROW_BYTES} bytes; {_AT_MOST}")
            yield part

    line = 1
    lines = csv.reader(parts(), strict=True)
    names = next(lines, [])
    if twice := [name for index, name in enumerate(names) if name in names[:index]]:
        raise ValueError(f"got the column {twice[0]!r} twice; expected each once")
    line, length = lines.line_num + 1, 0
    try:
        for values in lines:
            if values:
                yield _csv_row(line, names, values)
            line, length = lines.line_num + 1, 0
    except csv.Error as error:
        raise ValueError(f"line {line}: {error}") from None


def _csv_row(line: int, names: list[str], values: list[str]) -> Row:
    if len(values) != len(names):
        return Row(line, None, f"got {len(values)} columns; expected {len(names)}, as in the first line")
    if [value.removeprefix("\ufeff") for value in values] == names:
        return Row(line, None, "got the columns' names again; expected a row")
    try:
        "".join(values).encode()
    except UnicodeEncodeError:
        return Row(line, None, "not UTF-8")
    return Row(line, dict(zip(names, values, strict=True)))


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        file = parquet.ParquetFile(path, page_checksum_verification=True)
        for group in range(file.num_row_groups):
            columns = file.metadata.row_group(group)
            # A value stands in its column's bytes at least once, but may be that of every row.
            largest = max(
                (columns.column(each).total_uncompressed_size for each in range(columns.num_columns)), default=1
            )
            rows_at_once = max(1, min(_PARQUET_ROWS, _PARQUET_BYTES // max(1, largest)))
            for batch in file.iter_batches(batch_size=rows_at_once, row_groups=[group]):
                for part, size in _parts(batch.to_struct_array()):
                    if size > MAX_ROW_BYTES:
                        number += 1
                        yield Row(number, None, f"got a row of {size} bytes; {_AT_MOST}")
                        continue
                    for value in part.to_pylist():
                        number += 1
                        yield Row(number, _in_json(value))
    except pyarrow.ArrowException as error:
        raise ValueError(f"not Parquet: {error}") from None


def _parts(table: Any) -> Iterator[tuple[Any, int]]:
    """Yield the rows of a table with their size, as many together as `MAX_ROW_BYTES` lets be made at a time."""
    size = _size(table)
    if size <= MAX_ROW_BYTES or len(table) == 1:
        yield table, size
        return
    half = len(table) // 2
    yield from _parts(table.slice(0, half))
    yield from _parts(table.slice(half))


def _size(values: Any) -> int:
    """Return the bytes of an array's values, each with `_VALUE` more; what a dictionary holds counts as often as it
    stands.
    """
    from pyarrow import compute, types

    kind = values.type
    if types.is_dictionary(kind):
        texts = types.is_string(kind.value_type) or types.is_large_string(kind.value_type)
        lengths = compute.binary_length(values.dictionary).take(values.indices) if texts else values.indices
        size = (compute.sum(lengths).as_py() or 0) if texts else lengths.nbytes
    elif types.is_struct(kind):
        size = sum(map(_size, values.flatten()))
    elif types.is_nested(kind):
        size = _size(values.flatten())
    else:
        size = values.nbytes
    return int(size) + _VALUE * len(values)


def _in_json(value: Any) -> Any:
    """Return a value of Parquet in JSON's terms, without the nulls that it gives every field that some other row
    has.
    """
    match value:
        case dict():
            return {key: _in_json(item) for key, item in value.items() if item is not None}
        case list() | tuple():
            return [_in_json(item) for item in value]
        case bytes():
            return value.decode("utf-8", "surrogateescape")
        case None | bool() | int() | float() | str():
            return value
        case _:
            return str(value)
