"""Native formats without a closing tag of their own: what is written is what the models' templates write."""

import json
from pathlib import Path
from typing import Any

import pytest
from dialect_cases import TOOLS
from laws import stream
from mistral_common.integrations.chat_templates.chat_templates import generate_chat_template
from mistral_common.tokens.tokenizers.base import TokenizerVersion
from transformers.utils.chat_template_utils import render_jinja_template

from callwright import dialects
from callwright.dialects import CallDelta, Dialect, Text, Thought, ToolCall, Turn, accumulate

Made = list[tuple[str, dict[str, Any]]]
_FILE = Path(__file__).parents[3] / "shared/templates/chat_templates.json"
TEMPLATES = json.loads(_FILE.read_text(encoding="utf-8")) if _FILE.is_file() else {}
needs_templates = pytest.mark.skipif(not TEMPLATES, reason="needs ../shared/templates")
WEATHER: dict[str, Any] = {
    "city": "Paris", "days": 3, "metric": True, "limit": -1.5, "tags": [1, 2], "where": {"zip": "02139"}, "until": None,
}  # fmt: skip
ONE: Made = [("get_weather", WEATHER)]
TWO: Made = [*ONE, ("fire_alert", {})]


def _mistral(version: TokenizerVersion, *, spm: bool = False, thinks: bool = False, plainly: bool = False) -> str:
    return generate_chat_template(spm, version, False, False, thinks, None, plainly, True, None, None, None)


def _templated(dialect: Dialect, template: str, made: Made, said: str, thought: str, ends: str) -> str:
    """What a template writes for a turn."""
    calls = [
        {"id": dialect.call_id(n), "type": "function", "function": {"name": name, "arguments": given}}
        for n, (name, given) in enumerate(made)
    ]
    turn = {"role": "assistant", "content": said, "tool_calls": calls}
    if thought:
        turn |= {"reasoning_content": thought, "thinking": thought}
    question = {"role": "user", "content": "q"}
    given = {"tools": TOOLS, "bos_token": "<s>", "eos_token": "</s>", "chat_template": template}
    [prompt], _ = render_jinja_template([[question]], add_generation_prompt=True, **given)
    [whole], _ = render_jinja_template([[question, turn]], **given)
    assert whole.startswith(prompt)
    assert whole.endswith(ends)
    return whole[len(prompt) :].removesuffix(ends)


def _turn(made: Made, said: str = "", thought: str = "") -> Turn:
    calls = [ToolCall("", name, json.dumps(given)) for name, given in made]
    return Turn((*([Thought(thought)] if thought else []), *([Text(said)] if said else []), *calls))


def _check(name: str, template: str, made: Made, said: str, thought: str, ends: str) -> None:
    dialect, turn = dialects.load(name), _turn(made, said, thought)
    written = dialect.write(turn, TOOLS)
    assert written == _templated(dialect, template, made, said, thought, ends)
    read = dialect.parse(written, TOOLS)
    assert (read.calls, (read.content or "").strip(), read.thought or "") == (turn.calls, said, thought)
    kinds = [segment.kind for segment in dialect.segment(written, TOOLS)]
    assert [kind for kind in kinds if kind.startswith("action")] == ["action", "action_input"] * len(made)


@needs_templates
@pytest.mark.parametrize("key", ["llama3_1", "llama3_2"])
def test_llama_writes_one_call_as_its_templates_do(key: str) -> None:
    for made in (ONE, [("fire_alert", {})]):
        _check("llama_json", TEMPLATES[key]["template"], made, "", "", "<|eot_id|>")


@needs_templates
def test_lfm2_writes_calls_as_its_template_does() -> None:
    template = TEMPLATES["lfm2_2_5"]["template"]
    for made, said, thought in ((ONE, "", ""), (TWO, "", ""), (TWO, "I look.", ""), (ONE, "", "Look first.")):
        _check("lfm2", template, made, said, thought, "<|im_end|>\n")


@needs_templates
def test_what_lfm2s_template_does_not_escape_is_read_as_it_was() -> None:
    dialect = dialects.load("lfm2")
    for city in ("it's fine", 'the "old" town', "a, b = c", "a\nb", "say 'hi', then go", "[x] (y) {z}"):
        made = [("get_weather", {"city": city, "days": 2})]
        written = _templated(dialect, TEMPLATES["lfm2_2_5"]["template"], made, "", "", "<|im_end|>\n")
        assert dialect.parse(written, TOOLS) == _turn(made), city


@pytest.mark.parametrize(
    ("name", "template", "said", "thought"),
    [
        ("mistral_v3", _mistral(TokenizerVersion.v3, spm=True), "", ""),
        ("mistral_v11", _mistral(TokenizerVersion.v11), "I look.", ""),
        ("mistral_v11", _mistral(TokenizerVersion.v11, plainly=True), "I look.", "Look first."),
        ("mistral", _mistral(TokenizerVersion.v13), "I look.", ""),
        ("mistral", _mistral(TokenizerVersion.v13, thinks=True), "I look.", "Look first."),
    ],
)
def test_mistral_writes_calls_as_its_makers_templates_do(name: str, template: str, said: str, thought: str) -> None:
    for made in (ONE, TWO):
        _check(name, template, made, said, thought, "</s>")
        _check(name, template, made, "", "", "</s>")


def test_mistrals_array_is_read_with_and_without_a_space() -> None:
    dialect = dialects.load("mistral_v3")
    written = _templated(dialect, _mistral(TokenizerVersion.v7), TWO, "I look.", "", "</s>")
    assert written == dialect.write(_turn(TWO, "I look."), TOOLS).replace("] [", "][")
    assert dialect.parse(written, TOOLS) == _turn(TWO, "I look.")


def test_ids_of_mistral_have_nine_letters_or_digits_and_tell_the_calls_place() -> None:
    for name in ("mistral", "mistral_v11", "mistral_v3"):
        ids = [dialects.load(name).call_id(index) for index in (0, 1, 12345)]
        assert ids == ["call00000", "call00001", "call12345"]
        assert all(len(each) == 9 and each.isalnum() for each in ids)


@pytest.mark.parametrize("name", ["llama_json", "mistral", "mistral_v11", "mistral_v3"])
def test_arguments_of_json_formats_arrive_as_they_are_written(name: str) -> None:
    dialect, given = dialects.load(name), {"city": "x" * 200}
    text = dialect.write(_turn([("get_weather", given)]), TOOLS)
    parser = dialect.parser(TOOLS, eager=True)
    half = [delta for character in text[:150] for delta in parser.feed(character)]
    assert [delta.name for delta in half if isinstance(delta, CallDelta) and delta.name] == ["get_weather"]
    sent = "".join(delta.arguments for delta in half if isinstance(delta, CallDelta))
    assert len(sent) > 50
    whole = accumulate(half + parser.feed(text[150:]) + parser.close())
    assert whole == _turn([("get_weather", given)])


@pytest.mark.parametrize("name", ["llama_json", "mistral", "mistral_v11", "mistral_v3", "pythonic", "lfm2", "olmo3"])
def test_a_call_is_sent_before_the_next_one_is_written(name: str) -> None:
    dialect = dialects.load(name)
    text = dialect.write(_turn([("fire_alert", {}), ("get_weather", {"city": "Paris"})]), TOOLS)
    place = text.index("get_weather")
    parser = dialect.parser(TOOLS)
    before = accumulate(parser.feed(text[:place]))
    assert [call.name for call in before.calls] == ["fire_alert"]


@pytest.mark.parametrize("name", ["llama_json", "mistral", "pythonic", "lfm2"])
def test_prose_that_opens_like_a_call_is_held_no_longer_than_it_may_be_one(name: str) -> None:
    for opening, rest in (("[", "1] see"), ("{", "x}"), ("[a", " b"), ('{"', 'a": 1}')):
        deltas = dialects.load(name).parser(TOOLS).feed(opening + rest[0] + rest[1])
        assert accumulate(deltas).content == (opening + rest[:2]).rstrip()


@pytest.mark.parametrize("name", ["pythonic", "lfm2", "olmo3"])
def test_names_that_python_has_no_word_for_are_unpacked(name: str) -> None:
    made: Made = [("get_weather", {"city": "x", "a b": 1, "none": None, "": [], "from": "y"})]
    dialect = dialects.load(name)
    written = dialect.write(_turn(made), TOOLS)
    assert "get_weather(**{" in written
    assert dialect.parse(written, TOOLS) == _turn(made)
    assert accumulate(stream(dialect, list(written), TOOLS)) == _turn(made)
