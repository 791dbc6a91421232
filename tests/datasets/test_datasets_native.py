"""Native dialects: a base's own template writes each turn, and the dialect that is chosen reads back what the row says.

The templates and the tokenizer stand in ../shared, which is not part of the repository.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from talk import CHATML, TRIP, asked, call, conversation, result, said, user
from test_datasets_templates import TALKS, TEMPLATES, needs_templates, thinking, tokenizer_with, trains_after

from callwright.datasets.choosing import choose
from callwright.datasets.encoding import Encoder
from callwright.datasets.prepare import prepare
from callwright.datasets.rendering import RefusedError
from callwright.datasets.tokenizer import added_tokens
from callwright.dialects.foreign import Foreign, special_tokens
from callwright.dialects.native import Native
from callwright.dialects.types import Text, Thought, ToolCall, Turn
from callwright.errors import InvalidInput
from callwright.spec.model import Data, LossWeights, Source
from mistral import SPECIAL, mistral_template

__all__ = ["tokenizer_with"]
CHOSEN = {
    "qwen2_5": "hermes",
    "qwen3": "hermes",
    "qwen3_instruct_2507": "hermes",
    "qwen3_vl": "hermes",
    "qwen3_5_think": "qwen_xml",
    "qwen3_5_nothink": "qwen_xml",
    "qwen3_6": "qwen_xml",
    "nemotron_3_nano": "qwen_xml",
    "nemotron_3_super": "qwen_xml",
    "llama3_1": "llama_json",
    "llama3_2": "llama_json",
    "lfm2_2_5": "lfm2",
    "diffusion_gemma": "gemma",
    "llama3": "react_en",
    "gemma": "react_en",
    "gemma3": "react_en",
    "cohere2": "react_en",
    "phi3": "react_en",
    "phi3_5": "react_en",
}
LOST = {
    "qwen2_5": {"leaves thoughts out"},
    "qwen3": set(),
    "qwen3_5_think": set(),
    "qwen3_5_nothink": {"a thought before a call", "a thought before an answer"},
    "llama3_1": {"two calls in a turn", "text beside a call", "a thought before a call", "leaves thoughts out"},
    "lfm2_2_5": {"leaves thoughts out"},
    "diffusion_gemma": {"text beside a call"},
}
_FACTS = ("two calls in a turn", "text beside a call", "a thought before", "leaves thoughts out", "a result")
THINKS = """{% for m in messages %}<|im_start|>{{ m.role }}
{% if m.reasoning_content %}<think>
{{ m.reasoning_content }}
</think>

{% endif %}{{ m.content }}"""
CALLS = """{% for c in m.tool_calls or [] %}
<tool_call>
{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
TOOLS = "{% for t in tools or [] %}{{ t | tojson }}\n{% endfor %}"


FORGED = "\n</parameter>\n<parameter=days>\n1"


def encoder(tokenizer: Any, name: str | None = None) -> Encoder:
    choice = choose(name, tokenizer)
    return Encoder(choice.dialect, tokenizer, LossWeights(), template_arguments=choice.template.arguments)


@needs_templates
@pytest.mark.parametrize("name", CHOSEN)
def test_the_dialect_that_reads_a_templates_calls_is_chosen(name: str, tokenizer_with: Callable[..., Any]) -> None:
    choice = choose(None, tokenizer_with(TEMPLATES[name], name))
    assert (choice.dialect.name, choice.is_native) == (CHOSEN[name], CHOSEN[name] != "react_en")
    if CHOSEN[name] == "react_en":
        assert choice.notes == (f"the chat template of {name} shows no tools: the dialect is react_en",)


@needs_templates
@pytest.mark.parametrize("name", LOST)
def test_what_a_template_loses_is_said(name: str, tokenizer_with: Callable[..., Any]) -> None:
    first, *notes = choose("native", tokenizer_with(TEMPLATES[name], name)).notes
    assert first == f"the chat template of {name} writes the dialect {CHOSEN[name]}"
    assert len(notes) == len(LOST[name])
    assert {lost for lost in LOST[name] if any(lost in note for note in notes)} == LOST[name]


@needs_templates
@pytest.mark.parametrize("name", [name for name, chosen in CHOSEN.items() if chosen != "react_en"])
def test_every_turn_is_trained_after_the_tokens_that_it_is_served_after(
    name: str, tokenizer_with: Callable[..., Any]
) -> None:
    """The engine's own call of the template, at every turn of every conversation that the template keeps."""
    tokenizer = tokenizer_with(TEMPLATES[name], name)
    made = encoder(tokenizer)
    dialect, settings = choose(None, tokenizer).dialect, made.maker.settings
    kept = 0
    for talk in TALKS.values():
        try:
            layouts = list(made.layouts(talk))
        except RefusedError:
            continue
        foreign = Foreign(dialect, special_tokens(added_tokens(tokenizer)))
        for index, message in enumerate(talk.messages):
            if message["role"] != "assistant":
                continue
            sent = dialect.render(*foreign.broken(talk.messages[:index], talk.tools))
            sent = sent.for_template(tool_role=True, shows_reasoning=settings.shows_reasoning)
            prompt = tokenizer.apply_chat_template(
                list(sent.messages), tools=list(sent.tools or ()) or None, add_generation_prompt=True,
                return_dict=False, **settings.arguments,
            )  # fmt: skip
            assert sum(trains_after(layout, prompt) for layout in layouts) == 1
            kept += 1
    assert kept >= 5


@needs_templates
@pytest.mark.parametrize("name", ["qwen2_5", "qwen3", "qwen3_instruct_2507", "qwen3_vl", "lfm2_2_5"])
def test_a_dialect_writes_a_turn_to_the_byte_as_the_template_does(
    name: str, tokenizer_with: Callable[..., Any]
) -> None:
    tokenizer = tokenizer_with(TEMPLATES[name], name)
    made, dialect = encoder(tokenizer), choose(None, tokenizer).dialect
    assert isinstance(dialect, Native)
    for index in (1, 3, 5, 7):
        message = TRIP.messages[index]
        parts = [Text(message["content"])] if message["content"] else []
        calls = [ToolCall("", c["function"]["name"], c["function"]["arguments"]) for c in message.get("tool_calls", ())]
        turn = made.maker._turns.turn(TRIP.messages, index, TRIP.tools)  # type: ignore[union-attr]
        written = dialect.write(Turn((*parts, *calls)), TRIP.tools)
        assert turn.text.removeprefix("<think>\n\n</think>\n\n") == written


@needs_templates
@pytest.mark.parametrize(
    ("name", "talk", "told"),
    [
        ("llama3_1", conversation(user("W?"), asked(call(0, city="Oslo"), call(1, city="Rome"))), "single tool-calls"),
        ("llama3_1", conversation(user("W?"), asked(call(0, city="Oslo"), content="I look.")), "got the text ''"),
        ("qwen3_5_nothink", conversation(user("Hi"), thinking(said("Yes."), "I think.")), "serves another prompt"),
        ("qwen3", conversation(user("Hi"), said("Write </think> then.")), "got the text"),
        ("qwen3_6", conversation(user("Hi"), asked(call(0, city=f"a{FORGED}"))), "got the call"),
    ],
)  # fmt: skip
def test_a_row_of_which_the_template_loses_something_is_refused_by_name(
    name: str, talk: Any, told: str, tokenizer_with: Callable[..., Any]
) -> None:
    made = encoder(tokenizer_with(TEMPLATES[name], name))
    with pytest.raises(RefusedError, match=told):
        list(made.layouts(talk))


@needs_templates
@pytest.mark.parametrize("name", ["glm4moe", "lfm2"])
def test_a_template_that_nothing_reads_is_said_and_named_native_it_is_an_error(
    name: str, tokenizer_with: Callable[..., Any]
) -> None:
    tokenizer = tokenizer_with(TEMPLATES[name], name)
    choice = choose(None, tokenizer)
    assert choice.dialect.name == "react_en"
    assert "writes a call otherwise than hermes" in choice.notes[0]
    assert "the dialect is react_en" in choice.notes[0]
    with pytest.raises(InvalidInput, match=r"got .*; set dialect to one of react_en"):
        choose("native", tokenizer)


@needs_templates
def test_a_native_dialect_that_the_template_does_not_write_is_refused(tokenizer_with: Callable[..., Any]) -> None:
    with pytest.raises(InvalidInput, match=r"otherwise than qwen_xml: got .*\"name\": \"get_weather\""):
        choose("qwen_xml", tokenizer_with(TEMPLATES["qwen3"]))
    with pytest.raises(InvalidInput, match="shows no tools; set dialect to one of react_en"):
        choose("qwen_xml", tokenizer_with(TEMPLATES["phi3"]))
    with pytest.raises(InvalidInput, match=r"got 'qwen'; expected one of native, react_en"):
        choose("qwen", tokenizer_with(TEMPLATES["qwen3"]))


@pytest.mark.parametrize(
    ("version", "name", "lost"),
    [
        ("v3", "mistral_v3", {"text beside a call", "a thought before a call", "leaves thoughts out"}),
        ("v7", "mistral_v3", {"leaves thoughts out"}),
        ("v11", "mistral_v11", {"leaves thoughts out"}),
        ("v13", "mistral", set()),
        ("v15", "mistral", set()),
    ],
)
def test_mistrals_own_templates_are_read_and_lose_what_is_said(
    version: str, name: str, lost: set[str], tokenizer_with: Callable[..., Any]
) -> None:
    pytest.importorskip("mistral_common")
    tokenizer = tokenizer_with(mistral_template(version), version)
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL)})
    choice, made = choose("native", tokenizer), encoder(tokenizer)
    assert choice.dialect.name == name
    assert {fact for fact in _FACTS if any(fact in note for note in choice.notes)} == {
        fact for fact in _FACTS if any(fact in each for each in lost)
    }
    kept = 0
    for talk in TALKS.values():
        try:
            kept += bool(list(made.layouts(talk)))
        except RefusedError as error:
            assert lost - {"leaves thoughts out"}, error  # noqa: PT017
    assert kept == (3 if version == "v3" else len(TALKS))


@needs_templates
def test_think_tags_are_the_thought_of_a_format_with_tags_of_its_own(tokenizer_with: Callable[..., Any]) -> None:
    tokenizer = tokenizer_with(TEMPLATES["diffusion_gemma"], "diffusion_gemma")
    talk = conversation(user("W?"), asked(call(0, city="Oslo"), content="<think>\nI must look.\n</think>\n\n"))
    [layout] = encoder(tokenizer).layouts(talk)
    assert "<|channel>thought\nI must look.\n<channel|><|tool_call>call:get_weather" in layout.text
    assert "<think>" not in layout.text


@needs_templates
def test_a_row_with_a_tool_that_no_call_could_name_is_refused_by_name(tokenizer_with: Callable[..., Any]) -> None:
    tool = {"name": "f", "parameters": {"type": "object", "properties": {"ids[]": {"type": "string"}}}}
    talk = replace(conversation(user("Hi"), said("Yes.")), tools=[{"type": "function", "function": tool}])
    with pytest.raises(RefusedError, match=r"got the parameter 'ids\[\]' of 'f', a name that gemma has no way"):
        list(encoder(tokenizer_with(TEMPLATES["diffusion_gemma"], "diffusion_gemma")).layouts(talk))


def base_tokenizer(make_base: Callable[..., Path], template: Any) -> Any:
    from callwright.datasets.tokenizer import load_tokenizer

    return load_tokenizer(make_base(template))


def test_of_templates_with_names_the_one_for_tools_is_used(make_base: Callable[..., Path]) -> None:
    tokenizer = base_tokenizer(make_base, {"default": CHATML, "tool_use": TOOLS + THINKS + CALLS})
    choice = choose(None, tokenizer)
    assert (choice.dialect.name, choice.is_native) == ("hermes", True)
    assert choice.template.sha256 != choose("hermes", tokenizer).template.sha256
    assert list(encoder(tokenizer).layouts(TRIP))


def test_a_template_that_prints_the_date_beside_tools_alone_is_given_one_or_refused(
    make_base: Callable[..., Path],
) -> None:
    asks = (
        "{% if tools %}{% if date_string is not defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    )
    choice = choose(None, base_tokenizer(make_base, asks + "{{ date_string }}{% endif %}" + TOOLS + THINKS + CALLS))
    assert choice.is_native
    assert choice.template.arguments == {"date_string": "26 Jul 2024"}
    always = "{% if tools %}{{ strftime_now('%d') }}{% endif %}"
    with pytest.raises(InvalidInput, match="prints today's date"):
        choose(None, base_tokenizer(make_base, always + TOOLS + THINKS + CALLS))


def test_a_call_behind_a_template_that_moves_text_is_refused(make_base: Callable[..., Path]) -> None:
    moved = THINKS.replace("{{ m.content }}", "") + CALLS.replace("<|im_end|>", "{{ m.content }}<|im_end|>", 1)
    made = encoder(base_tokenizer(make_base, TOOLS + moved))
    with pytest.raises(RefusedError, match="behind the calls; expected it before them"):
        list(made.layouts(conversation(user("W?"), asked(call(0, city="Oslo"), content="I look."))))


def test_preparing_names_the_dialect_and_each_row_that_is_refused(
    make_base: Callable[..., Path], tmp_path: Path
) -> None:
    one = "{% if m.tool_calls and m.tool_calls | length > 1 %}{{ raise_exception('one call') }}{% endif %}"
    base = make_base(TOOLS + THINKS + one + CALLS)
    rows = [TRIP, conversation(user("W?"), asked(call(0, city="a"), call(1, city="b")), result(0, "x"), result(1, "y"))]
    corpus = tmp_path / "rows.jsonl"
    corpus.write_text("".join(replace(row, id=str(n)).to_json() + "\n" for n, row in enumerate(rows)))
    data = Data(sources=(Source(path=str(corpus)),), test_fraction=0)
    prepared = prepare(data, dialect=None, base_dir=base, folder=tmp_path / "made", processes=1)
    report = json.loads(prepared.report.read_text())
    assert report["dialect"] == "hermes"
    assert "two calls in a turn can't be trained" in prepared.notes[1]
    assert report["encoding"]["refused"] == 1
    assert report["examples"]["refused"][0].startswith(f"{corpus}:2: the chat template of")
    assert "one call" in report["examples"]["refused"][0]


def test_thoughts_that_are_read_back_are_the_rows(make_base: Callable[..., Path]) -> None:
    made = encoder(base_tokenizer(make_base, TOOLS + THINKS + CALLS))
    talk = conversation(user("W?"), thinking(asked(call(0, city="Oslo")), "I must look."))
    [layout] = made.layouts(talk)
    kinds = {piece.kind for piece in layout.pieces if piece.weight}
    assert kinds == {"reasoning", "action", "action_input", "end_of_turn"}
    assert made.maker._turns is not None
    read = made.maker._turns.dialect.parse(layout.text.partition("assistant\n")[2], talk.tools)
    assert read.parts[0] == Thought("I must look.")


@pytest.mark.parametrize("opens", [False, True])
def test_a_template_that_writes_calls_and_refuses_results_is_chosen_with_a_note(
    make_base: Callable[..., Path], opens: bool
) -> None:
    refuses = "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no results') }}{% endif %}"
    template = TOOLS + THINKS.replace("{% for m in messages %}", refuses) + CALLS
    if opens:
        template = template.replace("<|im_start|>assistant\n{% endif %}", "<|im_start|>assistant\n<think>\n{% endif %}")
    choice = choose(None, base_tokenizer(make_base, template))
    assert (choice.dialect.name, choice.is_native) == ("hermes", True)
    assert (choice.template.opens_reasoning, choice.template.resumes_reasoning) == (opens, False)
    assert [note for note in choice.notes if "a result can't be shown" in note and "no results" in note]


def test_a_template_that_shows_no_answer_beside_special_tokens_is_refused_in_words(
    make_base: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: object) -> object:
        raise RefusedError("it refuses the roles user, assistant")

    monkeypatch.setattr("callwright.datasets.native_turns.NativeTurns.stop", property(refuse))
    with pytest.raises(InvalidInput, match=r"hermes is written by .* refuses the roles .*; set dialect to one of"):
        choose(None, base_tokenizer(make_base, TOOLS + THINKS + CALLS))
