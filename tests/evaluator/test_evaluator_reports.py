"""Comparisons, and what people and machines get to read: tables, Markdown, HTML, PNG, JSON."""

import html
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from cases import city_of, general, row, small_talk
from rich.console import Console

from callwright.errors import InvalidInput, NotFound
from callwright.evaluator import findings, pages
from callwright.evaluator.compare import compare
from callwright.evaluator.evaluation import evaluate
from callwright.evaluator.figures import comparison
from callwright.evaluator.findings import Findings
from callwright.evaluator.gate import decide
from callwright.evaluator.report import Report
from callwright.spec.model import Gate
from fakes import OpenAIServer, completion

LONG = "Fine, and how are you? " * 20
NASTY = '</pre><script>alert("x")</script>| `**'


def measure(knows: set[str], loss: float) -> Report:
    """A report of a model that knows some cities."""

    def answer(body: dict) -> dict:
        if "tools" not in body:
            entries = [None, *({"7": {"logprob": -loss}} for _ in range(5))]
            return completion("x", tokens=(2, 1)) | {"prompt_logprobs": entries}
        city = city_of(body)
        if city == "you":
            return completion(LONG)
        return completion(calls=[("weather", {"city": city if city in knows else NASTY})])

    seen = [row(str(n), f"C{n}") for n in range(30)]
    unseen = [row(str(n), f"U{n}", set="unseen") for n in range(10)]
    talk = [small_talk(str(n)) for n in range(4)]
    with OpenAIServer(answer) as server:
        return evaluate(
            base_url=server.base_url, model="m", rows=[*seen, *unseen, *talk, general(), general("1")], concurrency=4
        )


@pytest.fixture(scope="module")
def found() -> Findings:
    base = measure({"C0", "C1", "U0"}, 2.0)
    tuned = measure({f"C{n}" for n in range(1, 29)} | {"U1"}, 2.25)
    gate = decide(Gate(min_accuracy=0.9), tuned, promoted=base)
    return findings.gather({"base": base, "fine-tuned": tuned}, gate)


def test_a_comparison_pairs_the_requests(found: Findings):
    (against,) = found.comparisons
    pair = against.calls
    assert pair is not None
    assert (pair.requests, pair.only_first, pair.only_second) == (40, 2, 28)
    assert pair.difference == pytest.approx(26 / 40)
    assert pair.interval[0] < 26 / 40 < pair.interval[1]
    assert pair.p_value < 1e-5
    assert list(against.sets) == ["seen", "unseen"]
    assert against.sets["unseen"].p_value == 1.0
    assert against.no_calls is not None
    assert against.no_calls.difference == 0
    assert against.losses is not None
    assert against.losses.difference == pytest.approx(0.25)
    assert against.losses.interval == pytest.approx((0.25, 0.25))
    assert against.unshared == 0


def test_reports_on_other_requests_are_not_compared(found: Findings):
    base = found.reports["base"]
    other = base.model_copy(update={"calls": {"x/0": True}, "no_calls": {}, "losses": {}})
    assert compare({"a": base, "b": other}, "a", "b") is None
    assert findings.gather({"a": base, "b": other}).comparisons == ()


def test_the_table_for_a_terminal(found: Findings):
    console = Console(file=io.StringIO(), width=100)
    console.print(comparison(found.reports, title="Demo"))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert re.search(r"accuracy, seen +│ +6\.7 % \(2/30\) +│ +93\.3 % \(28/30\)", text)
    assert re.search(r"accuracy, unseen +│ +10\.0 % \(1/10\) +│ +10\.0 % \(1/10\)", text)
    assert re.search(r"all sets +│ +7\.5 % \(3/40\) +│ +72\.5 % \(29/40\)", text)
    assert re.search(r"no call where no tool fits, small-talk +│ +100\.0 % \(4/4\)", text)
    assert re.search(r"malformed calls +│ +0\.0 %", text)
    assert re.search(r"general loss.* 2\.000 │ +2\.250", text)


def test_findings_go_to_json_and_back(found: Findings, tmp_path: Path):
    pages.write(tmp_path / "new" / "folder", found)
    assert findings.load(tmp_path / "new" / "folder") == found
    document = json.loads((tmp_path / "new" / "folder" / "report.json").read_text())
    assert document["accuracy"] == 0.725
    assert document["gate"]["passed"] is False
    assert "calls" not in found.summary()["reports"]["base"]
    assert len(json.dumps(found.summary())) < 20_000


def test_files_that_are_no_findings(tmp_path: Path):
    with pytest.raises(NotFound, match="expected the report"):
        findings.load(tmp_path)
    for text in ('{"accuracy": 3, "x": []}', '{"accuracy": null, "reports": {}}', "[", "\x00"):
        (tmp_path / "report.json").write_text(text)
        with pytest.raises(InvalidInput, match="holds none"):
            findings.load(tmp_path)


def test_a_folder_that_cannot_be_written(found: Findings, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="cannot be written"):
        pages.write(tmp_path / "file", found)


class Reader(HTMLParser):
    """Collects what matters of a page, and whether its elements close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.images: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attrs)["src"] or "")
        elif tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_whole_and_a_models_words_stay_words(found: Findings, tmp_path: Path):
    pages.write(tmp_path, found)
    reader = Reader()
    reader.feed((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert reader.open == []
    assert "script" not in reader.tags
    assert NASTY[:20] in reader.text
    assert len(reader.images) == 3
    assert all(image.startswith("data:image/png;base64,iVBOR") for image in reader.images)
    for words in ("Gate failed: minAccuracy: got 0.725", "fine-tuned against base", "McNemar p < 0.001", "Set unseen"):
        assert words in reader.text
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", markdown):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
    assert "| tool-call accuracy, seen | 6.7 % (2/30) | 93.3 % (28/30) |" in markdown
    assert "+65.0 points" in markdown


def test_the_page_shows_what_each_model_made_of_the_same_requests(found: Findings):
    base, tuned = found.reports.values()
    assert len(tuned.samples) == 10
    assert [(row.set, row.id) for row in base.samples] == [(row.set, row.id) for row in tuned.samples]
    assert {bool(row.what) for row in tuned.samples} == {False, True}
    page = pages.html(found, {"curve.png": b"\x89PNG"})
    reader = Reader()
    reader.feed(page)
    table = page.partition("10 requests, answered by base and fine-tuned")[2].partition("</table>")[0]
    assert re.findall("<th>(.*?)</th>", table) == ["request", "expected", "base", "fine-tuned"]
    rows = [re.findall("<td>(.*?)</td>", line) for line in table.split("<tr>")[2:]]
    assert len(rows) == 10
    for asked, cells in zip(tuned.samples, rows, strict=True):
        assert cells[0].startswith(f"{asked.set}: ")
        assert cells[3].startswith(f"<em>{asked.what}</em>: " if asked.what else "<strong>right</strong>: ")
    assert any(cells[1] == "(no call)" and cells[3].endswith("…") for cells in rows)
    assert max(len(html.unescape(cell)) for cells in rows for cell in cells) < 300
    assert reader.images == ["data:image/png;base64,iVBORw=="]
    assert "script" not in reader.tags


def test_the_page_counts_what_is_wrong_and_says_each_note_once(found: Findings):
    base, tuned = found.reports.values()
    base = base.model_copy(update={"notes": ("two rows are left out",)})
    tuned = tuned.model_copy(update={"version": "m-1", "notes": ("two rows are left out", "nobody answered")})
    page = pages.html(findings.gather({"base": base, "tuned": tuned}), {})
    assert "<h1>Evaluation of m-1</h1>" in page
    assert page.count("two rows are left out") == 1
    assert "tuned: nobody answered" in page
    assert "11 of 44 requests that a call answers or that no tool fits. All are here" in page
    few = tuned.model_copy(update={"failures": tuned.failures[:2]})
    assert "11 of 44 requests that a call answers or that no tool fits. 2 of them, of every kind" in pages.html(
        findings.gather({"tuned": few}), {}
    )


def test_half_surrogates_and_formulas_can_be_written_and_read(tmp_path: Path):
    asked = [row("\ud800", "Oslo", set=r"a $\x$"), row("1", "Rome", set="b"), small_talk("\udfff")]
    answer = completion("\ud83d odd", calls=[("weather", {"city": "\ud800", "\udc00": 1})])
    answer["choices"][0]["message"]["malformed_tool_calls"] = [{"reason": "\ud800"}]
    with OpenAIServer(lambda body: answer) as server:
        report = evaluate(base_url=server.base_url, model="m", rows=asked, results_path=tmp_path / "r.jsonl")
    made = findings.gather({"m $a$": report})
    pages.write(tmp_path, made)
    assert len(findings.load(tmp_path).candidate.failures) == 3
    json.dumps(made.summary()).encode()


def test_a_report_without_calls_draws_nothing_and_still_reads(found: Findings, tmp_path: Path):
    with OpenAIServer(lambda body: completion("fine")) as server:
        report = evaluate(base_url=server.base_url, model="m", rows=[general()])
    pages.write(tmp_path, findings.gather({"m": report}))
    assert not list(tmp_path.glob("*.png"))
    assert "general overlap with the reference" in (tmp_path / "report.html").read_text()
