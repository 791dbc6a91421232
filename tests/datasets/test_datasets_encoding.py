"""Encoding: the ids are the server's, every weight sits on the right tokens, and templates that lie are refused."""

import json
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from talk import CHATML, TRIP, WAITING, asked, call, conversation, conversations, result, said, user

from callwright import dialects
from callwright.datasets.conversation import Conversation
from callwright.datasets.encoding import Encoder, Example
from callwright.datasets.layout import LayoutMaker
from callwright.datasets.rendering import RefusedError
from callwright.datasets.tokenizer import load_tokenizer
from callwright.errors import InvalidInput
from callwright.spec.model import LossWeights

REACT = LossWeights()
RELAXED = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
QWEN = """\
{%- if messages[0].role != 'system' %}{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}
{%- for m in messages %}
{%- if m.role == 'tool' %}{{ '<|im_start|>user\\n<tool_response>\\n' + m.content + '</tool_response><|im_end|>\\n' }}
{%- else %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""
TRIMMING = """\
{%- for m in messages %}[{{ m.role }}]{{ m.content | trim }}<|im_end|>{% endfor %}
{%- if add_generation_prompt %}[assistant]{% endif %}"""
WITHOUT_END = """\
{%- for m in messages %}{{ '\\n' + m.role + ': ' + m.content }}{% endfor %}
{%- if add_generation_prompt %}{{ '\\nassistant: ' }}{% endif %}"""
EMPTY_THOUGHT = """\
{%- for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}
{%- if loop.last and m.role == 'assistant' %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}
{{- m.content + '<|im_end|>\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""


def encode(
    talk: Conversation, dialect: str, tokenizer: Any, loss: LossWeights = REACT, **settings: Any
) -> Example | None:
    """The first of the conversation's examples; None where it is too long."""
    made = Encoder(dialects.load(dialect), tokenizer, loss, **settings).encode(talk)
    return made[0] if made else None


def pieces(tokenizer: Any, example: Example | None) -> list[tuple[float, str]]:
    """The example decoded again, in runs of equal weight."""
    assert example is not None
    runs: list[tuple[float, list[int]]] = []
    for token, weight in zip(example.input_ids, example.weights, strict=True):
        if runs and runs[-1][0] == weight:
            runs[-1][1].append(token)
        else:
            runs.append((weight, [token]))
    return [(weight, tokenizer.decode(ids)) for weight, ids in runs]


def test_weights_of_a_react_conversation_decode_to_their_pieces(tokenizer: Any) -> None:
    found = pieces(tokenizer, encode(TRIP, "ms_agent", tokenizer))
    assert found[0][0] == 0
    assert found[0][1].endswith("Weather in Paris, then in 北京?<|im_end|>\n<|im_start|>assistant\n")
    assert found[1:] == [
        (1.0, "Thought: First Paris.\n"),
        (2.0, 'Action: get_weather\nAction Input: {"city": "Paris"}\nObservation:'),
        (0.0, ' {"sky": "clear"}\n'),
        (2.0, 'Action: get_weather\nAction Input: {"city": "北京", "days": 2}\nObservation:'),
        (0.0, " [{'sky': '雨'}]\n"),
        (1.0, "Thought: I now know the final answer\nFinal Answer: Paris is clear, 北京 has 雨.<|im_end|>"),
        (0.0, "\n<|im_start|>user\nThanks<|im_end|>\n<|im_start|>assistant\n"),
        (1.0, "Thought: I now know the final answer\nFinal Answer: You are welcome.<|im_end|>"),
        (0.0, "\n"),
    ]


def test_every_weight_of_ones_own_table_lands_on_its_kind(tokenizer: Any) -> None:
    own = LossWeights(action=3, action_input=4, thought=5, final=6, observation_marker=7, observation=8)
    found = pieces(tokenizer, encode(TRIP, "ms_agent", tokenizer, own))
    assert found[1:8] == [
        (5.0, "Thought: First Paris.\n"),
        (3.0, "Action: get_weather\n"),
        (4.0, 'Action Input: {"city": "Paris"}\n'),
        (7.0, "Observation:"),
        (8.0, ' {"sky": "clear"}\n'),
        (3.0, "Action: get_weather\n"),
        (4.0, 'Action Input: {"city": "北京", "days": 2}\n'),
    ]
    assert found[11] == (6.0, "Final Answer: Paris is clear, 北京 has 雨.<|im_end|>")


@pytest.mark.parametrize(
    ("preset", "weighted"),
    [
        (
            "last_turn",
            ["Thought: I now know the final answer\nFinal Answer: You are welcome.<|im_end|>"],
        ),
        (
            "all",
            [
                'Thought: First Paris.\nAction: get_weather\nAction Input: {"city": "Paris"}\nObservation:',
                'Action: get_weather\nAction Input: {"city": "北京", "days": 2}\nObservation:',
                "Thought: I now know the final answer\nFinal Answer: Paris is clear, 北京 has 雨.<|im_end|>",
                "Thought: I now know the final answer\nFinal Answer: You are welcome.<|im_end|>",
            ],
        ),
        (
            "none",
            [
                'Thought: First Paris.\nAction: get_weather\nAction Input: {"city": "Paris"}\n'
                'Observation: {"sky": "clear"}\n'
                'Action: get_weather\nAction Input: {"city": "北京", "days": 2}\nObservation: [{\'sky\': \'雨\'}]\n'
                "Thought: I now know the final answer\nFinal Answer: Paris is clear, 北京 has 雨.<|im_end|>",
                "Thought: I now know the final answer\nFinal Answer: You are welcome.<|im_end|>",
            ],
        ),
    ],
)
def test_presets(tokenizer: Any, preset: Any, weighted: list[str]) -> None:
    found = pieces(tokenizer, encode(TRIP, "ms_agent", tokenizer, LossWeights(preset=preset)))
    assert [text for weight, text in found if weight] == weighted
    assert {weight for weight, _ in found} == {0.0, 1.0}


def test_a_conversation_that_ends_with_a_call_stops_at_the_marker(tokenizer: Any) -> None:
    found = pieces(tokenizer, encode(WAITING, "ms_agent", tokenizer))
    assert found[-1] == (2.0, 'Action: get_weather\nAction Input: {"city": "Rome"}\nObservation:')


def test_without_a_marker_a_call_ends_the_turn(tokenizer: Any) -> None:
    found = pieces(tokenizer, encode(WAITING, "hermes", tokenizer))
    assert found[-2][1].endswith("</tool_call><|im_end|>")
    assert found[-2][0] == 2.0


def test_results_in_messages_of_their_own_are_not_trained_on(tokenizer: Any) -> None:
    for name in ("hermes", "toolbench"):
        found = pieces(tokenizer, encode(TRIP, name, tokenizer))
        assert not any("clear" in text and "Paris is clear" not in text for weight, text in found if weight)


def test_agentfabric_is_also_laid_out_as_its_page_sends_it(tokenizer: Any) -> None:
    """Each output in a text of its own, after a system message with knowledge; the turn's first too."""
    encoder = Encoder(dialects.load("agentfabric"), tokenizer, REACT)
    _, first, second, third, next_turn = (pieces(tokenizer, layout) for layout in encoder.encode(TRIP))
    told = "".join(text for _, text in second if "<|im_start|>assistant" in text)
    assert "# 知识库\n\nEmpty Response\n\n" in told or "# Knowledge Base\n\nEmpty Response\n\n" in told
    assert told.endswith(
        'First Paris.\nAction: get_weather\nAction Input: {"city": "Paris"}\n\n'
        'Observation: <result>{"sky": "clear"}</result>\nAnswer:<|im_end|>\n<|im_start|>assistant\n'
    )
    assert first[-1] == (2.0, 'Action: get_weather\nAction Input: {"city": "Paris"}\nObservation:')
    assert second[-1][0] == 2.0
    assert second[-1][1].endswith('Action Input: {"city": "北京", "days": 2}\nObservation:')
    assert [text for weight, text in third if weight] == [" Paris is clear, 北京 has 雨.<|im_end|>"]
    assert "<|im_start|>user\n(" in next_turn[0][1]
    assert next_turn[0][1].count("你可以使用工具") + next_turn[0][1].count("you can use tools") == 1
    assert len(Encoder(dialects.load("ms_agent"), tokenizer, REACT).encode(TRIP)) == 1


@pytest.mark.parametrize("name", dialects.TEXT_NAMES)
@RELAXED
@given(talk=conversations())
def test_law_ids_are_the_servers_and_weights_follow_first_characters(
    tokenizer: Any, name: str, talk: Conversation
) -> None:
    dialect = dialects.load(name)
    layout = next(LayoutMaker(dialect, tokenizer, REACT).layouts(talk))
    example = encode(talk, name, tokenizer)
    assert example is not None
    whole = tokenizer.backend_tokenizer.encode(layout.text, add_special_tokens=False)
    assert list(example.input_ids) == whole.ids
    assert layout.pieces[-1].end == len(layout.text)
    for (start, _), weight in zip(whole.offsets, example.weights, strict=True):
        holder = next(piece for piece in layout.pieces if piece.end > start)
        assert weight == holder.weight
    written = "\n".join(m["content"] or "" for m in talk.messages if m["role"] == "assistant")
    weighted = tokenizer.decode([i for i, w in zip(example.input_ids, example.weights, strict=True) if w])
    for word in unicodedata.normalize("NFC", written).split():  # as Qwen's tokenizer reads it
        # toolbench's Finish holds the answer as a JSON string
        assert word in weighted or json.dumps(word, ensure_ascii=False)[1:-1] in weighted


def served_prompts(dialect: dialects.Dialect, talk: Conversation, tokenizer: Any) -> Iterator[str]:
    """What the engine is sent at each of the assistant's turns."""
    for index, message in enumerate(talk.messages):
        if message["role"] == "assistant":
            sent = dialect.render(talk.messages[:index], talk.tools)
            yield tokenizer.apply_chat_template(
                list(sent.messages),
                tokenize=False,
                add_generation_prompt=not sent.continue_final,
                continue_final_message=sent.continue_final,
            )


@pytest.mark.parametrize("name", dialects.TEXT_NAMES)
@RELAXED
@given(talk=conversations())
def test_law_training_text_begins_with_every_serving_prompt(tokenizer: Any, name: str, talk: Conversation) -> None:
    dialect = dialects.load(name)
    text = next(LayoutMaker(dialect, tokenizer, REACT).layouts(talk)).text
    for prompt in served_prompts(dialect, talk, tokenizer):
        assert text.startswith(prompt)


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endfor %}" + CHATML,
        CHATML.replace("in messages", "in messages if message['role'] != 'tool'"),
    ],
    ids=["refuses", "leaves out"],
)
def test_results_are_the_users_where_a_template_has_no_role_for_tools(
    make_base: Callable[..., Path], template: str
) -> None:
    tokenizer = load_tokenizer(make_base(template))
    layout = next(LayoutMaker(dialects.load("toolbench"), tokenizer, REACT).layouts(TRIP))
    assert "<|im_start|>user\n" + TRIP.messages[-2]["content"] in layout.text
    assert not any(piece.weight for piece in layout.pieces if piece.kind == "user")


@pytest.mark.parametrize("turns", [1, 2])
def test_a_turn_that_goes_on_after_a_result_is_trained_as_it_is_served(
    make_base: Callable[..., Path], turns: int
) -> None:
    tokenizer = load_tokenizer(make_base(EMPTY_THOUGHT))
    each = [(user(f"{n}?"), asked(call(n, city="Oslo")), result(n, "snow"), said(f"{n}.")) for n in range(turns)]
    talk = conversation(*(message for messages in each for message in messages))
    dialect = dialects.load("react_en")
    made = list(LayoutMaker(dialect, tokenizer, REACT).layouts(talk))
    for prompt in served_prompts(dialect, talk, tokenizer):
        [layout] = [layout for layout in made if len(prompt) in layout.prompts.values()]
        assert layout.text.startswith(prompt)


@pytest.mark.parametrize("template", [QWEN, TRIMMING, WITHOUT_END, EMPTY_THOUGHT])
def test_other_templates(make_base: Callable[..., Path], template: str) -> None:
    tokenizer = load_tokenizer(make_base(template))
    talk = conversation(
        user("  Weather? "), asked(call(0, city="Oslo")), result(0, "snow"), said("Snow."), tools=TRIP.tools
    )
    found = pieces(tokenizer, encode(talk, "ms_agent", tokenizer))
    weighted = [text for weight, text in found if weight]
    assert weighted[0].removeprefix("<think>\n\n</think>\n\n").startswith("Action: get_weather\n")
    # A template that trims takes the line's end, too, off what the model goes on with.
    before = "\n" if template == TRIMMING else ""
    assert weighted[-1] == f"{before}Thought: I now know the final answer\nFinal Answer: Snow.<|im_end|>"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (
            "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}>>{% endif %}",
            "another prompt",
        ),
        (None, "no chat template"),
    ],
)
def test_a_template_that_would_make_training_and_serving_differ_is_named(
    make_base: Callable[..., Path], template: str | None, message: str
) -> None:
    base = make_base(template)
    with pytest.raises(InvalidInput, match=message) as caught:
        encode(TRIP, "ms_agent", load_tokenizer(base))
    assert str(base) in str(caught.value)


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ m.role }}:{{ m.content | upper }}{% endfor %}",
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}{% endfor %}",
        "{% for m in messages if m.role != 'user' %}{{ m.content }}{% endfor %}",
    ],
    ids=["rewrites", "refuses", "leaves out"],
)
def test_a_conversation_that_the_template_cannot_hold_is_refused(make_base: Callable[..., Path], template: str) -> None:
    with pytest.raises(RefusedError):
        encode(TRIP, "ms_agent", load_tokenizer(make_base(template)))


def test_too_long(tokenizer: Any) -> None:
    whole = encode(TRIP, "ms_agent", tokenizer)
    assert whole is not None
    assert encode(TRIP, "ms_agent", tokenizer, max_length=len(whole.input_ids)) == whole
    limit = len(whole.input_ids) - 1
    assert encode(TRIP, "ms_agent", tokenizer, max_length=limit) is None
    with pytest.raises(InvalidInput, match=r"talk\.jsonl:1: got \d+ tokens; expected at most data\.maxLength"):
        encode(TRIP, "ms_agent", tokenizer, max_length=limit, too_long="fail")


def test_a_long_conversation_is_cut_after_the_last_turn_that_fits(tokenizer: Any) -> None:
    whole = encode(TRIP, "ms_agent", tokenizer)
    assert whole is not None
    first = encode(TRIP, "ms_agent", tokenizer, max_length=len(whole.input_ids) - 1, too_long="cut")
    assert first is not None
    assert first.cut
    assert pieces(tokenizer, first)[-2][1].endswith("Final Answer: Paris is clear, 北京 has 雨.<|im_end|>")
    second = encode(TRIP, "ms_agent", tokenizer, max_length=len(first.input_ids) - 1, too_long="cut")
    assert pieces(tokenizer, second)[-1][1].endswith('{"city": "北京", "days": 2}\nObservation:')
    assert encode(TRIP, "ms_agent", tokenizer, max_length=20, too_long="cut") is None
