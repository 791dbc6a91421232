"""Showing and counting: what a person sees is what the trainer is given."""

import json
import sys
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from talk import TRIP, WAITING, conversation, conversations, said, user

from callwright import dialects
from callwright.cli import main
from callwright.datasets import Report, show, stats
from callwright.datasets.conversation import Conversation
from callwright.datasets.encoding import Encoder
from callwright.spec.model import LossWeights

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def encoder(tokenizer: Any) -> Encoder:
    """Of ms_agent and the recipe's weights."""
    return Encoder(dialects.load("ms_agent"), tokenizer, LossWeights())


@pytest.fixture
def callwright(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """The command line in this process: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["callwright", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        written = capsys.readouterr()
        return int(ended.value.code or 0), written.out, written.err

    return run


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two good rows with a broken line and a faulty row between them."""
    empty = conversation(user(" "), said("What?"))
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join([TRIP.to_json(), "{broken", empty.to_json(), WAITING.to_json()]) + "\n", encoding="utf-8")
    return path


class Spans(HTMLParser):
    """The texts and titles of a page's tokens."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self._title: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._title = dict(attrs).get("title")
        if self._title is not None:
            self.found.append((self._title, ""))

    def handle_data(self, data: str) -> None:
        if self._title is not None:
            self.found[-1] = (self._title, data)

    def handle_endtag(self, tag: str) -> None:
        self._title = None


@settings(max_examples=40, deadline=None)
@given(talk=conversations())
def test_law_what_is_shown_is_what_is_encoded(encoder: Encoder, talk: Conversation) -> None:
    shown = show.tokens(next(encoder.layouts(talk)))
    [example] = encoder.encode(talk)
    assert [token.id for token in shown] == list(example.input_ids)
    assert [token.weight for token in shown] == list(example.weights)
    assert "".join(token.text for token in shown) == next(encoder.layouts(talk)).text
    assert [token for line in show.lines(shown) for token in line.tokens] == shown
    parsed = Spans(show.page("<title>", shown)).found
    assert [text for _, text in parsed] == [token.text for token in shown]


def test_lines_end_with_lines_and_with_pieces(encoder: Encoder) -> None:
    shown = [
        (line.kind, line.weight, "".join(t.text for t in line.tokens))
        for line in show.lines(show.tokens(next(encoder.layouts(TRIP))))
    ]
    assert ("action", 2.0, "Action: get_weather\n") in shown
    assert ("action_input", 2.0, 'Action Input: {"city": "Paris"}\n') in shown
    assert ("observation_marker", 2.0, "Observation:") in shown
    assert ("observation", 0.0, ' {"sky": "clear"}\n') in shown
    assert ("final", 1.0, "Final Answer: You are welcome.") in shown


def test_show_prints_the_row_with_weights(callwright: Run, corpus: Path, base_dir: Path) -> None:
    code, out, err = callwright("data", "show", corpus, "--row", 1, "--base", base_dir, "--dialect", "ms_agent")
    assert code == 0
    assert '   2 observation_marker │ Observation:\n   0 observation        │  {"sky": "clear"}↵\n' in out
    assert f"{corpus}:1 in ms_agent for {base_dir}; " in err
    code, out, err = callwright("data", "show", corpus, "--row", 3, "--base", base_dir, "--preset", "none")
    assert code == 0
    assert f"{corpus}:3 in react_en for {base_dir}; " in err  # whose template shows no tools
    assert "   1 final              │ Final Answer: What?\n" in out
    assert "empty_turn: message 1: got an empty user turn; expected text" in err


def test_show_has_every_layout_that_a_row_is_trained_in(callwright: Run, corpus: Path, base_dir: Path) -> None:
    of_agentfabric = ("data", "show", corpus, "--base", base_dir, "--dialect", "agentfabric")
    _, out, err = callwright(*of_agentfabric)
    assert "Answer: Paris is clear" in out
    assert "agentfabric for" in err
    assert "layout 1 of 5" in err
    code, out, err = callwright(*of_agentfabric, "--layout", 4)
    assert code == 0
    assert [line for line in out.splitlines() if line.startswith("   1 ")] == [
        "   1 final              │  Paris is clear, 北京 has 雨.",
        "   1 end_of_turn        │ <|im_end|>",
    ]
    code, _, err = callwright(*of_agentfabric, "--layout", 6)
    assert code != 0
    assert "got --layout 6; expected 1 to 5" in err


def test_show_makes_control_characters_visible(callwright: Run, tmp_path: Path, base_dir: Path) -> None:
    (tmp_path / "x.jsonl").write_text(conversation(user("a\x1b[31mred\r\x7f"), said("b")).to_json() + "\n")
    _, out, _ = callwright("data", "show", "x.jsonl", "--base", base_dir)
    assert "a␛[31mred␍␡" in out


def test_show_as_a_page_and_as_json(callwright: Run, corpus: Path, base_dir: Path, tmp_path: Path) -> None:
    page = tmp_path / "row.html"
    code, out, err = callwright("data", "show", corpus, "--base", base_dir, "--html", page)
    assert (code, out) == (0, "")
    assert f"written: {page}" in err
    _, out, _ = callwright("data", "show", corpus, "--base", base_dir, "--json")
    tokens = json.loads(out)["tokens"]
    titles = [f"{i}: id {t['id']}, weight {t['weight']:g}, {t['kind']}" for i, t in enumerate(tokens)]
    assert [title for title, _ in Spans(page.read_text(encoding="utf-8")).found] == titles


def test_show_takes_a_finetunes_settings(callwright: Run, corpus: Path, base_dir: Path, tmp_path: Path) -> None:
    document = tmp_path / "finetune.yaml"
    document.write_text(
        "apiVersion: callwright.io/v1alpha1\nkind: FineTune\nmetadata: {name: x}\nspec:\n"
        f"  base: {{model: {base_dir}}}\n  dialect: react_zh\n"
        f"  data: {{sources: [{{path: {corpus}}}], maxLength: 20, tooLong: cut, loss: {{action: 5}}}}\n"
    )
    code, out, err = callwright("data", "show", corpus, "--finetune", document)
    assert code == 0
    assert "   5 action             │ Action: get_weather↵\n" in out
    assert "in react_zh for" in err
    assert "longer than data.maxLength, 20: data.tooLong says to cut it" in err
    _, out, _ = callwright("data", "stats", corpus, "--finetune", document)
    assert "longer than data.maxLength, 20: 3; data.tooLong is cut" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rows.jsonl", "--row", 2], "rows.jsonl: line 2: not JSON: "),
        (["rows.jsonl", "--row", 9], "got no row at line 9; expected one; the last row before it is at 4"),
        (["none.jsonl"], "no file none.jsonl; expected a corpus; check the source's path"),
        (["rows.jsonl", "--dialect", "reakt"], "dialect: got 'reakt'; expected one of native, react_en"),
        (["rows.jsonl", "--format", "orc"], "got format 'orc'; expected auto or one of ms_agent"),
        (["rows.jsonl", "--base", "nowhere"], "no directory nowhere; expected one with config.json"),
        (["rows.jsonl", "--html", "absent/x.html"], "absent/x.html cannot be written: No such file or directory"),
    ],
)
def test_mistakes_are_told(callwright: Run, corpus: Path, arguments: list[object], message: str) -> None:
    code, _, err = callwright("data", "show", *arguments)
    assert code == 2
    assert message in err


def test_stats_count_what_is_there(encoder: Encoder) -> None:
    report = Report()
    counted = stats.collect([TRIP, WAITING], encoder, report)
    assert counted.messages == {"user": 3, "assistant": 5, "tool": 2}
    assert (counted.conversations, counted.with_tools, counted.with_calls) == (2, 2, 2)
    assert counted.called == {"get_weather": 3}
    assert counted.declared == {"get_weather": 2, "now": 2}
    shown = [token for talk in (TRIP, WAITING) for token in show.tokens(next(encoder.layouts(talk)))]
    assert +counted.tokens == Counter((token.kind, token.weight) for token in shown)
    assert sorted(counted.lengths) == sorted(len(show.tokens(next(encoder.layouts(talk)))) for talk in (TRIP, WAITING))
    assert counted.longer_than(min(counted.lengths)) == 1
    assert counted.length_summary()["max"] == max(counted.lengths)
    assert not report.findings


def test_stats_of_a_file(callwright: Run, corpus: Path, base_dir: Path, tmp_path: Path) -> None:
    picture = tmp_path / "lengths.png"
    code, out, err = callwright("data", "stats", corpus, "--base", base_dir, "--histogram", picture)
    assert code == 0
    assert "rows.jsonl: 4 rows in format openai" in out
    assert "conversations: 3, 3 with tools, 2 with calls" in out
    assert "observation_marker weight 2" in out
    assert f"  {corpus}:2: not JSON: " in err
    assert f"  {corpus}:3: message 1: got an empty user turn" in err
    assert picture.read_bytes().startswith(b"\x89PNG")
    _, out, _ = callwright("data", "stats", corpus, "--base", base_dir, "--json")
    found = json.loads(out)
    assert found["formats"] == {str(corpus): "openai"}
    assert sum(row["tokens"] for row in found["tokens"]) == round(found["lengths"]["mean"] * 3)


def test_a_histogram_of_nothing_is_refused(callwright: Run, tmp_path: Path, base_dir: Path) -> None:
    (tmp_path / "bad.jsonl").write_text("{\n")
    code, _, err = callwright("data", "stats", "bad.jsonl", "--base", base_dir, "--histogram", "x.png")
    assert code == 2
    assert "drawing lengths: got no conversation with tokens" in err
