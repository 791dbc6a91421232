"""Files as people have them: in other encodings, cut off, put together, and JSON that json itself stumbles over.

Each is read whole, gives a finding by line with the rest kept, or is refused by name; none is read in part silently.
"""

import bz2
import codecs
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from talk import WEATHER, asked, call, conversation, result, said, user

from callwright import dialects
from callwright.datasets import Report, files, readers, sources
from callwright.datasets.convert import convert
from callwright.errors import InvalidInput


def row(number: int, **changes: Any) -> str:
    """A conversation's line."""
    messages = [user(f"Weather {number}?"), said("Snow.")]
    return json.dumps({"id": str(number), "messages": messages} | changes)


def lines(*texts: str) -> bytes:
    return "".join(f"{text}\n" for text in texts).encode()


def array(*texts: str) -> bytes:
    return f"[{', '.join(texts)}]".encode()


def read(path: Path, data: bytes) -> tuple[list[str], list[str]]:
    """Ids of the rows that are kept, and the findings without the file's name."""
    path.write_bytes(data)
    report = Report()
    kept = [found.id for found in readers.read(path, report=report)]
    return kept, [example.removeprefix(f"{path}:") for example in report.first_examples(9)]


WHOLE: dict[str, tuple[str, bytes]] = {
    "mark before an array": ("a.json", codecs.BOM_UTF8 + array(row(1), row(2))),
    "mark and white space before an array": ("a.json", codecs.BOM_UTF8 + b" \r\n" + array(row(1), row(2))),
    "mark before lines": ("a.jsonl", codecs.BOM_UTF8 + lines(row(1), row(2))),
    "mark before lines under .json": ("a.json", codecs.BOM_UTF8 + lines(row(1), row(2))),
    "mark before a compressed array": ("a.json.gz", gzip.compress(codecs.BOM_UTF8 + array(row(1), row(2)))),
    "mark between files put together": ("a.jsonl", lines(row(1)) + codecs.BOM_UTF8 + lines(row(2))),
    "upper-case suffix": ("a.JSON", array(row(1), row(2))),
    "mixed-case suffixes": ("a.Json.GZ", gzip.compress(array(row(1), row(2)))),
    "bzip2": ("a.jsonl.bz2", bz2.compress(lines(row(1))) + bz2.compress(lines(row(2)))),
    "gzip of two members": ("a.JSONL.gz", gzip.compress(lines(row(1))) + gzip.compress(lines(row(2)))),
    "CRLF": ("a.jsonl", lines(row(1), row(2)).replace(b"\n", b"\r\n")),
    "strings that look like an array's end": ("a.json", array(row(1, note='"], [{\\'), row(2, note="[[{,"))),
    "a comma too many": ("a.json", array(row(1), row(2))[:-1] + b",\n]"),
}


@pytest.mark.parametrize(("name", "data"), WHOLE.values(), ids=WHOLE)
def test_a_file_is_read_whole(tmp_path: Path, name: str, data: bytes) -> None:
    assert read(tmp_path / name, data) == (["1", "2"], [])


CUT = gzip.compress(lines(*map(row, range(50))))
REFUSED: dict[str, tuple[str, bytes, str]] = {
    "UTF-16": ("a.jsonl", lines(row(1)).decode().encode("utf-16"), "expected text in UTF-8"),
    "UTF-16 without a mark": ("a.jsonl", lines(row(1)).decode().encode("utf-16-be"), "expected text in UTF-8"),
    "UTF-16 array": ("a.json", array(row(1)).decode().encode("utf-16-le"), "expected text in UTF-8"),
    "UTF-32 array": ("a.json", array(row(1)).decode().encode("utf-32"), "expected text in UTF-8"),
    "UTF-16 table": ("a.csv", "instruction,output\na,b\n".encode("utf-16"), "expected text in UTF-8"),
    "gzip without its suffix": ("a.jsonl", CUT, "name a file by what it is: .jsonl"),
    "xz": ("a.jsonl.xz", b"\xfd7zXZ\x00\x00\x04", "name a file by what it is"),
    "array cut after an element": ("a.json", array(row(1), row(2))[:-1], "no end: after row 1 it is cut off"),
    "array cut after a comma": ("a.json", array(row(1), row(2))[:-1] + b", ", "no end: after row 2 it is cut off"),
    "array cut in an element": ("a.json", array(row(1), row(2))[:-9], "no end: after row 1 it is cut off"),
    "array cut at once": ("a.json", b"[", "no end: after row 0"),
    "array whose brackets do not match": ("a.json", array(row(1), '{"a": [', row(2)), "no end: after row 1"),
    "array named as lines": ("a.jsonl", b"\n[\n" + lines(row(1)) + b"]", "line 2; expected an object in each line"),
    "text after an array": ("a.json", array(row(1)) + b" {}", "got text after the array of 1 rows"),
    "two arrays": ("a.json", array(row(1)) + b"\n" + codecs.BOM_UTF8 + array(row(2)), "got text after the array"),
    "an object over several lines": ("a.json", b'{"data": [\n' + lines(row(1) + ",", row(2)) + b"]}", "an array of"),
    "an object of rows": ("a.json", f'{{"data": [{row(1)}]}}'.encode(), "got a row with data; expected"),
    "gzip without its trailer": ("a.jsonl.gz", CUT[:-8], "cannot be read: Compressed file ended"),
    "gzip cut": ("a.jsonl.gz", CUT[:-60], "cannot be read: Compressed file ended"),
    "gzip damaged": ("a.jsonl.gz", CUT[:40] + b"\xff" * 9 + CUT[49:], "cannot be read: Error"),
    "gzip with text behind": ("a.jsonl.gz", CUT + b"text", "cannot be read: Not a gzipped file"),
    "bzip2 cut": ("a.jsonl.bz2", bz2.compress(lines(row(1)))[:-4], "cannot be read: Truncated"),
    "table cut in quotes": ("a.csv", b'instruction,output\na,b\nc,"d', "cannot be read: line 3: unexpected end"),
    "table with a column twice": ("a.csv", b"instruction,output,output\na,b,c\n", "the column 'output' twice"),
}


@pytest.mark.parametrize(("name", "data", "words"), REFUSED.values(), ids=REFUSED)
def test_a_file_that_would_be_read_in_part_is_refused_by_name(
    tmp_path: Path, name: str, data: bytes, words: str
) -> None:
    with pytest.raises(InvalidInput, match=name) as caught:
        read(tmp_path / name, data)
    assert words in str(caught.value)


def _deep(levels: int) -> str:
    return row(2, note="@").replace('"@"', "[" * levels + "]" * levels)


FAULTY = {
    "a whole number of 5,000 digits": (row(2, note="@").replace('"@"', "9" * 5000), "a number of 5000 digits"),
    "a number beyond any float": (row(2, note="@").replace('"@"', "1e999"), "the number 1e999 is out of range"),
    "NaN": (row(2, note="@").replace('"@"', "NaN"), "NaN is no JSON"),
    "1,000 levels": (_deep(1000), "nested deeper than"),
    "200,000 levels": (_deep(200_000), "nested deeper than"),
    "a key twice": (row(2)[:-1] + ', "messages": []}', "the key 'messages' stands twice in one object"),
    "a malformed value": ('{"id": nobody}', "not JSON: Expecting value at column 8"),
    "no object": ("[1]", "got a JSON list; expected an object"),
    "two rows without a comma between": (f"{row(2)} {row(4)}", "not JSON: Extra data"),
    "half a surrogate pair": (row(2, messages=[user("look \ud83d"), said("Yes.")]), "got half a surrogate pair"),
}


@pytest.mark.parametrize("form", [lines, array])
@pytest.mark.parametrize(("text", "words"), FAULTY.values(), ids=FAULTY)
def test_a_faulty_row_is_named_and_the_rest_kept(
    tmp_path: Path, form: Callable[..., bytes], text: str, words: str
) -> None:
    name = "a.json" if form is array else "a.jsonl"
    kept, (found,) = read(tmp_path / name, form(row(1), text, row(3)))
    assert kept == ["1", "3"]
    assert found.startswith("2: ")
    assert words in found


@pytest.mark.parametrize("form", [lines, array])
def test_a_row_in_another_encoding_is_named_and_the_rest_kept(tmp_path: Path, form: Callable[..., bytes]) -> None:
    data = form(row(1), row(2, note="@"), row(3)).replace(b"@", "é".encode("latin-1"))
    kept, (found,) = read(tmp_path / ("a.json" if form is array else "a.jsonl"), data)
    assert (kept, found.partition(" at byte")[0]) == (["1", "3"], "2: not UTF-8: invalid continuation byte")


@pytest.mark.parametrize("separator", ["\r", "\u2028", "\u2029", "\x85"])
def test_only_a_line_feed_ends_a_row(tmp_path: Path, separator: str) -> None:
    inside = json.dumps(json.loads(row(1, note=f"a{separator}b")), ensure_ascii=False).encode()
    assert read(tmp_path / "a.jsonl", inside + b"\n" + lines(row(2))) == (["1", "2"], [])
    kept, (found,) = read(tmp_path / "b.jsonl", lines(row(1) + separator + row(2), row(3)))
    assert (kept, found.partition(" at")[0]) == (["3"], "1: not JSON: Extra data")


def test_rows_of_a_table_that_do_not_fit_its_columns_are_named(tmp_path: Path) -> None:
    table = b"instruction,output\na,b\nc\nd,e,f\ng,\xe9\n" + codecs.BOM_UTF8 + b"instruction,output\nh,i\n"
    kept, found = read(tmp_path / "A.CSV", codecs.BOM_UTF8 + table)
    assert kept == ["A.CSV:2", "A.CSV:7"]
    assert found == [
        "3: got 1 columns; expected 2, as in the first line",
        "4: got 3 columns; expected 2, as in the first line",
        "5: not UTF-8",
        "6: got the columns' names again; expected a row",
    ]


def test_what_parquet_holds_beyond_json_becomes_json(tmp_path: Path) -> None:
    import datetime

    import pyarrow as pa
    from pyarrow import parquet

    path = tmp_path / "a.PARQUET"
    day = datetime.date(2024, 5, 1)
    rows = [{"instruction": b"Say \xc3\xa9", "output": "x", "day": day, "share": float("nan")}]
    parquet.write_table(pa.Table.from_pylist(rows), path)
    (found,) = files.rows(path)
    assert found.value is not None
    assert (found.value["instruction"], found.value["day"]) == ("Say é", "2024-05-01")
    assert [c.messages[0]["content"] for c in readers.read(path)] == ["Say é"]
    infinite = {"type": "function", "function": {"name": "f", "parameters": {"maximum": float("inf")}}}
    parquet.write_table(pa.Table.from_pylist([{"messages": [user("a"), said("b")], "tools": [infinite]}]), path)
    assert read(path, path.read_bytes()) == ([], ["1: got a number that JSON cannot hold; expected a finite one"])
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InvalidInput, match=r"a\.PARQUET cannot be read: not Parquet"):
        list(files.rows(path))


def test_a_hubs_only_file_may_have_an_upper_case_suffix() -> None:
    assert sources._only_file(["README.md", "Data.JSONL.GZ"], "o/n") == "Data.JSONL.GZ"


HALF = "look \ud83d"
HALVES = {
    "content": conversation(user(HALF), said("Yes.")),
    "answer": conversation(user("a"), said(HALF)),
    "arguments": conversation(user("a"), asked(call(0, city="Oslo")), result(0, HALF), said("b")),
    "description": conversation(
        user("a"), said("b"), tools=({"type": "function", "function": {"name": "f", "description": HALF}},)
    ),
    "name of a tool": conversation(user("a"), said("b"), tools=({"type": "function", "function": {"name": HALF}},)),
}


@pytest.mark.parametrize("where", [*HALVES, "escape in arguments", "id", "name of a call"])
def test_half_a_surrogate_pair_is_a_finding_and_what_is_kept_of_it_can_be_written(tmp_path: Path, where: str) -> None:
    source, target = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    found = HALVES.get(where) or conversation(user("a"), asked(call(0, city="Oslo")), result(0, "r"), said("b"))
    document = {"id": "1", "messages": found.messages, "tools": found.tools}
    text = json.dumps(document)
    match where:
        case "escape in arguments":
            text = text.replace("Oslo", r"\\ud83d")
        case "id":
            text = json.dumps(document | {"id": HALF})
        case "name of a call":
            text = text.replace('"get_weather", "arguments"', r'"get\ud83d", "arguments"')
    source.write_bytes(lines(text, row(2)))
    for to in ("openai", *dialects.TEXT_NAMES):
        report = Report()
        written = convert(source, target, to=to, strict="keep", report=report)
        assert written + report.findings["dialect"] == 2  # a name of U+FFFD is none that every dialect reads back
        assert report.findings["encoding"] == 1
        json.dumps(report.to_dict(), ensure_ascii=False).encode()
        target.read_text(encoding="utf-8")
    assert [kept.id for kept in readers.read(source)] == ["2"]
    shown, faults = readers.find(source, 1)
    assert "encoding" in [fault.kind for fault in faults]
    made = dialects.load("hermes").render(shown.messages, shown.tools)
    json.dumps(made.messages, ensure_ascii=False).encode()


@pytest.mark.parametrize("levels", [100, 1000, 200_000])
@pytest.mark.parametrize("where", ["arguments", "tools"])
def test_deep_nesting_in_a_text_is_a_finding(tmp_path: Path, where: str, levels: int) -> None:
    nested = "[" * levels + "]" * levels
    made = call(0, city="Oslo")
    made["function"]["arguments"] = f'{{"city": {nested}}}'
    changes: dict[str, Any] = {"messages": [user("a"), asked(made), result(0, "r"), said("b")], "tools": [WEATHER]}
    if where == "tools":
        changes = {"tools": f'[{{"name": "f", "parameters": {{"enum": {nested}}}}}]'}
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(row(1, **changes), row(2)))
    report = Report()
    assert [found.id for found in readers.read(path, report=report)][-1] == "2"
    expected = {"arguments": {100: {"schema": 1}}, "tools": {100: {}}}[where].get(levels, {where: 1})
    assert report.findings == expected
