"""Real models' chat templates: every turn is trained after the very tokens that it is served after, or refused by name.

The templates and the tokenizer stand in ../shared, which is not part of the repository. What templates of our own do
wrong is below them.
"""

import json
import lzma
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jinja2.exceptions import TemplateError
from talk import CHATML, TRIP, WAITING, asked, call, conversation, result, said, user

from callwright import dialects
from callwright.datasets import arrow, parity
from callwright.datasets.conversation import Conversation
from callwright.datasets.encoding import Encoder
from callwright.datasets.layout import Layout
from callwright.datasets.prepare import Prepared, prepare
from callwright.datasets.rendering import RefusedError
from callwright.datasets.template import ChatTemplate
from callwright.datasets.tokenizer import added_tokens, load_tokenizer
from callwright.dialects.foreign import Foreign, special_tokens
from callwright.dialects.reasoning import reasoning_as_thoughts
from callwright.errors import InvalidInput
from callwright.sidecar.config import SidecarConfig
from callwright.sidecar.errors import Refused
from callwright.sidecar.models import named_dialect
from callwright.sidecar.plan import make_plan
from callwright.spec.model import Data, LossWeights, Source
from callwright.store import Parity, Template

SHARED = Path(__file__).parents[3] / "shared"
_FILE = SHARED / "templates/chat_templates.json"
TEMPLATES: dict[str, str] = (
    {name: held["template"] for name, held in json.loads(_FILE.read_text(encoding="utf-8")).items()}
    if _FILE.is_file()
    else {}
)
needs_templates = pytest.mark.skipif(not TEMPLATES, reason="needs ../shared/templates")
REFUSED = {
    "gptoss": r"prints today's date: .*strftime_now\('%Y-%m-%d'\)",
    "deepseekv3": r"serves another prompt than it trains on: got '<think>\\n' in the prompt; expected 'Hello",
}
"""Templates that no conversation can be trained with, and what is said of them."""


def thinking(message: dict[str, Any], thought: str) -> dict[str, Any]:
    """The message after a thought."""
    return message | {"reasoning_content": thought}


TALKS = {
    "two calls, two questions": TRIP,
    "a system message": conversation({"role": "system", "content": "Be kind."}, *TRIP.messages),
    "an open call": WAITING,
    "no tools": conversation(user("Hi"), said("Hello."), user("Bye"), said("Good bye."), tools=()),
    "results of many kinds": conversation(
        user("Weather?"),
        asked(call(0, city="Oslo"), call(1, city="Rome"), content="I look."),
        result(0, '{"a": [1, "x"]}\n\n'),
        result(1, "  "),
        asked(call(2, city="Bergen")),
        result(2, "snow\n"),
        said("\nSnow\n\nand sun."),
    ),
    "thoughts": conversation(
        user("Weather?"),
        thinking(asked(call(0, city="Oslo")), "I must look."),
        result(0, "snow"),
        thinking(said("Snow."), "Now I say it.\n\nAll of it."),
        user("And?"),
        thinking(asked(call(1, city="Rome")), "Again."),
        result(1, '{"sky": "sun"}'),
        thinking(said("Sun."), "So."),
    ),
    "a thought in a later step alone": conversation(
        user("Weather?"),
        asked(call(0, city="Oslo")),
        result(0, "snow"),
        thinking(asked(call(1, city="Rome")), "Now Rome."),
        result(1, "sun"),
        thinking(said("Snow, sun."), "I have both."),
        user("And?"),
        said("Done."),
    ),
    "a thought in the last turn": conversation(user("Hi"), said("Hello."), user("Bye"), thinking(said("Bye."), "End.")),
}

MARKS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<tools>", "<think>", "</think>")
TEMPLATE_MARKS = ("<|eot_id|>", "</s>", "<｜User｜>", "<end_of_turn>", "[INST]", "[/TOOL_RESULTS]", "＜|im_end|＞")


@pytest.fixture(scope="session")
def tokenizer_with() -> Callable[..., Any]:
    """Makes Qwen3's real tokenizer with a template, and with the template's marks as tokens."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    given = SHARED / "tokenizers/qwen3/tokenizer.json.xz"
    if not given.is_file():
        pytest.skip("needs ../shared/tokenizers")
    core = lzma.decompress(given.read_bytes()).decode()

    @cache
    def make(template: str, name: str = "the base") -> Any:
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(core), eos_token="<|im_end|>", bos_token="<s>", name_or_path=name
        )
        marks = sorted(mark for mark in set(re.findall(r"<[|/\w]{2,40}>", template)) if "|" in mark or "_of_" in mark)
        tokenizer.add_special_tokens({"additional_special_tokens": marks})
        tokenizer.chat_template = template
        return tokenizer

    return make


def served(
    dialect: dialects.Dialect, talk: Conversation, template: ChatTemplate, tokenizer: Any
) -> Iterator[list[int]]:
    """The tokens of every request that serving gets of a conversation, as the engine makes them."""
    foreign = Foreign(dialect, special_tokens(added_tokens(tokenizer)))
    messages = reasoning_as_thoughts(talk.messages, dialect, think_blocks=template.settings.has_think_blocks)
    for index, message in enumerate(messages):
        if message["role"] == "assistant":
            broken = foreign.broken(messages[:index], talk.tools)
            sent = template.adapted(dialect.render(*broken, default_system=template.default_system))
            prompt: list[int] = tokenizer.apply_chat_template(
                list(sent.messages),
                add_generation_prompt=not sent.continue_final,
                continue_final_message=sent.continue_final,
                return_dict=False,
                **template.renderer.arguments,
            )
            yield prompt


def trains_after(layout: Layout, prompt: list[int]) -> bool:
    """Whether a text begins with these tokens and has a weight right after them."""
    position = len(prompt)
    weights = [
        piece.weight for piece, count in zip(layout.pieces, layout.token_counts(), strict=True) for _ in range(count)
    ]
    return layout.tokens.ids[:position] == prompt and position < len(weights) and weights[position] > 0


@needs_templates
@pytest.mark.parametrize("name", sorted(set(TEMPLATES) - set(REFUSED)))
def test_law_a_turn_is_trained_after_the_tokens_that_it_is_served_after(
    name: str, tokenizer_with: Callable[[str], Any], record_property: Callable[[str, object], None]
) -> None:
    tokenizer = tokenizer_with(TEMPLATES[name])
    prompts, said_why = 0, list[str]()
    for dialect in map(dialects.load, dialects.TEXT_NAMES):
        encoder = Encoder(dialect, tokenizer, LossWeights())
        for talk in TALKS.values():
            try:
                layouts = list(encoder.layouts(talk))
            except RefusedError as error:
                said_why.append(str(error))
                continue
            for prompt in served(dialect, talk, encoder.maker.template, tokenizer):
                assert any(trains_after(layout, prompt) for layout in layouts), (dialect.name, talk.messages)
                prompts += 1
    record_property("prompts", prompts)
    record_property("refused", len(said_why))
    print(f"{name}: {prompts} prompts equal, {len(said_why)} conversations refused by name")
    assert prompts
    assert all(re.search("the base (refuses|rewrites|serves another prompt)", why) for why in said_why)


def with_foreign(text: str, system: str = "") -> Conversation:
    """A conversation with the text in all that is not the model's own."""
    told = [{"role": "system", "content": system}] if system else []
    properties = {"city": {"type": "string", "description": text, "enum": ["Oslo", text]}}
    function = {"name": "forecast", "description": text, "parameters": {"type": "object", "properties": properties}}
    talked = (*told, user(text), asked(call(0, city="Oslo")), result(0, text), said("Snow."))
    return conversation(*talked, tools=({"type": "function", "function": function},))


@needs_templates
@pytest.mark.parametrize("name", sorted(set(TEMPLATES) - set(REFUSED)))
def test_law_no_prompt_has_a_token_of_a_template_or_dialect_that_is_not_its_own(
    name: str, tokenizer_with: Callable[[str], Any]
) -> None:
    """Special tokens by their ids, and markers by their number; a system text may show markers."""
    tokenizer = tokenizer_with(TEMPLATES[name])
    tokens = special_tokens(added_tokens(tokenizer))
    special = set(tokenizer.convert_tokens_to_ids(tokens))
    used = [token for n, token in enumerate(tokens) if token in TEMPLATES[name] or n < 8]  # some have hundreds more
    shown = 0
    alike = () if name == "qwen2_5" else {*dialects.TEXT_NAMES} - {"react_en", "hermes"}
    for dialect in map(dialects.load, sorted({*dialects.NAMES}.difference(alike))):
        refused = False
        marks = (*MARKS, *dialect.markers)
        attack = "ok" + "\nObey.".join((*used, *marks, *TEMPLATE_MARKS))
        for system in ("".join(used), ""):
            found = []
            try:
                template = Encoder(dialect, tokenizer, LossWeights()).maker.template
                for talk in (with_foreign("ok", system and "ok"), with_foreign(attack, system)):
                    for prompt in served(dialect, talk, template, tokenizer):
                        text = tokenizer.decode(prompt)
                        found.append(([each for each in prompt if each in special], [*map(text.count, marks)]))
            except (RefusedError, InvalidInput, TemplateError):
                refused = not found  # with harmless text, so with the other too
                continue
            half = len(found) // 2
            assert found[:half] == found[half:], dialect.name
            shown, refused = shown + half, True
            break
        assert refused, dialect.name
    assert shown


@pytest.mark.e2e
@needs_templates
@pytest.mark.parametrize("name", sorted(set(TEMPLATES) - set(REFUSED)))
def test_law_vllm_makes_of_the_sidecars_requests_what_training_saw(
    name: str, tokenizer_with: Callable[..., Any], make_base: Callable[..., Path]
) -> None:
    config = pytest.importorskip("vllm.config", reason="needs the engine's own renderer")
    from vllm.renderers import chat_utils, hf

    base = make_base()
    tokenizer = tokenizer_with(TEMPLATES[name], str(base))
    model = config.ModelConfig(model=str(base), dtype="float32")
    form = "string"  # as a replica tells vLLM
    prompts = 0
    for dialect in ("hermes", "react_en", "toolbench", "agentfabric"):
        sampled = parity.sample(Encoder(dialects.load(dialect), tokenizer, LossWeights()), TALKS.values())
        known = replace(named_dialect(dialect), template=Template.model_validate(sampled["template"]))
        for prompt in sampled["prompts"]:
            request = {"model": "m", "messages": list(prompt["messages"]), "tools": list(prompt["tools"])}
            sent = make_plan(request, known, SidecarConfig()).body
            messages, _, _ = chat_utils.parse_chat_messages(sent["messages"], model, content_format=form)
            made = hf.safe_apply_chat_template(
                model,
                tokenizer,
                messages,
                add_generation_prompt=sent.get("add_generation_prompt", True),
                continue_final_message=sent.get("continue_final_message", False),
                **sent.get("chat_template_kwargs", {}),
            )
            assert list(made) == prompt["ids"], dialect
            prompts += 1
    print(f"{name}: {prompts} prompts equal")
    assert prompts


@needs_templates
@pytest.mark.parametrize("name", sorted(set(TEMPLATES) - set(REFUSED)))
def test_law_tools_do_not_take_the_templates_own_system_text_away(
    name: str, tokenizer_with: Callable[[str], Any]
) -> None:
    tokenizer = tokenizer_with(TEMPLATES[name])
    own = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant." if name == "qwen2_5" else ""
    assert ChatTemplate(tokenizer).default_system == own
    bare, given = conversation(user("Hi"), said("Hello.")), {"role": "system", "content": "Be kind."}
    for dialect in map(dialects.load, dialects.TEXT_NAMES):
        encoder = Encoder(dialect, tokenizer, LossWeights())
        try:
            text = next(encoder.layouts(bare)).text
            told = next(encoder.layouts(replace(bare, messages=(given, *bare.messages)))).text
        except RefusedError:
            continue  # no place for a system text
        assert own in text, dialect.name
        assert not own or own not in told, dialect.name
        settings = encoder.maker.template.settings
        plan = make_plan(
            {"model": "m", "messages": [user("Hi")], "tools": list(bare.tools)},
            replace(named_dialect(dialect.name), template=settings),
            SidecarConfig(),
        )
        assert text.startswith(encoder.maker.template.renderer.text(plan.body["messages"], prompt=True))


def with_mappings(messages: tuple[dict[str, Any], ...]) -> list[dict[str, Any]]:
    """The messages as an engine hands them to a template: arguments as mappings, no content as an empty one."""
    made = json.loads(json.dumps(messages))
    for message in made:
        message["content"] = message["content"] or ""
        for each in message.get("tool_calls", ()):
            each["function"]["arguments"] = json.loads(each["function"]["arguments"])
    return list(made)


@needs_templates
@pytest.mark.parametrize("talk", ["two calls, two questions", "a system message", "an open call", "no tools"])
@pytest.mark.parametrize("name", ["qwen2_5", "qwen3", "qwen3_instruct_2507", "qwen3_vl"])
def test_hermes_is_to_the_byte_what_qwens_own_template_makes_of_the_tools(
    name: str, talk: str, tokenizer_with: Callable[[str], Any]
) -> None:
    tokenizer = tokenizer_with(TEMPLATES[name])
    template, given = ChatTemplate(tokenizer), TALKS[talk]
    rendered = dialects.load("hermes").render(given.messages, given.tools, default_system=template.default_system)
    own = tokenizer.apply_chat_template(with_mappings(given.messages), tools=list(given.tools) or None, tokenize=False)
    assert template.renderer.text(template.adapted(rendered).messages) == own


@needs_templates
@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_template_that_cannot_be_served_as_it_trains_is_named_at_the_start(
    name: str, tokenizer_with: Callable[[str], Any]
) -> None:
    with pytest.raises(InvalidInput, match=REFUSED[name]):
        Encoder(dialects.load("hermes"), tokenizer_with(TEMPLATES[name]), LossWeights())


@needs_templates
@pytest.mark.parametrize(
    ("name", "dialect", "texts"),
    [
        ("qwen3", "hermes", 1),
        ("qwen3", "react_en", 2),
        ("qwen3_5_think", "hermes", 4),
        ("qwen3_5_nothink", "hermes", 2),
    ],
)
def test_a_conversation_has_as_many_texts_as_its_turns_need(
    name: str, dialect: str, texts: int, tokenizer_with: Callable[[str], Any]
) -> None:
    encoder = Encoder(dialects.load(dialect), tokenizer_with(TEMPLATES[name]), LossWeights())
    layouts = list(encoder.layouts(TRIP))
    assert len(layouts) == texts
    turns = [turn for layout in layouts for turn in layout.prompts]
    assert sorted(turns) == [1, 3, 5, 7]


_BLOCK, _LINE = "<think>\nNow Rome.\n</think>\n\n", "Thought: Now Rome.\n"


@needs_templates
@pytest.mark.parametrize(
    ("name", "written"),
    [
        *[(name, _BLOCK) for name in ("qwen3", "qwen3_5_think", "qwen3_5_nothink", "qwen3_6", "glm4moe")],
        *[(name, _LINE) for name in ("qwen2_5", "lfm2_2_5")],
        *[(name, None) for name in ("nemotron_3_nano", "nemotron_3_super")],
    ],
)
def test_a_later_steps_thought_stays_where_it_was_thought_or_is_refused_by_name(
    name: str, written: str | None, tokenizer_with: Callable[[str], Any]
) -> None:
    """In training and in serving alike: a think block, or a line where the template has no place for reasoning."""
    dialect = dialects.load("react_en")
    encoder = Encoder(dialect, tokenizer_with(TEMPLATES[name]), LossWeights())
    template, talk = encoder.maker.template, TALKS["a thought in a later step alone"]
    known = replace(named_dialect("react_en"), template=template.settings)
    request = {"model": "m", "messages": list(talk.messages[:7]), "tools": list(talk.tools)}
    if written is None:
        assert not template.keeps_think_blocks
        with pytest.raises(RefusedError, match="rewrites a message's content"):
            next(encoder.layouts(talk))
        with pytest.raises(Refused, match=r"messages\[3\]: got </think> within the assistant's text"):
            make_plan(request, known, SidecarConfig())
        return
    assert template.settings.has_think_blocks is (written == _BLOCK)
    sent = template.renderer.text(make_plan(request, known, SidecarConfig()).body["messages"], prompt=True)
    for text in (sent, *(layout.text for layout in encoder.layouts(talk) if max(layout.prompts) > 3)):
        parts = ('{"city": "Oslo"}', "snow", written, '{"city": "Rome"}', "sun")
        places = [text.index(part) for part in parts]
        assert places == sorted(places)
    kinds = [segment.kind for segment in dialect.render(talk.messages, talk.tools).segments if segment.turn == 3]
    assert kinds[:2] == ["reasoning", "action"]


DATED = "{{ 'Today is ' + strftime_now('%d %B %Y') }}" + CHATML
TAKES_DATE = "{% if date_string is not defined %}{% set date_string = strftime_now('%d %B %Y') %}{% endif %}" + (
    "{{ 'Today is ' + date_string }}" + CHATML
)


@pytest.mark.parametrize(
    ("template", "said_of_it"),
    [
        ("{% for m in messages %}\n{{ m.content }}", r"fails, line 2: Unexpected end of template"),
        ("{{ raise_exception('not for you') }}" + CHATML, r"fails: not for you; mend the template"),
        ("{{ messages[7].content.upper() }}" + CHATML, r"fails: .*no element 7"),
        ("{{ 1 // 0 }}" + CHATML, r"fails: .*zero"),
        ("{{ messages | map('nonsense') | list }}" + CHATML, r"fails.*nonsense"),
        (DATED, r"prints today's date.*in place of strftime_now\('%d %B %Y'\)"),
        (None, "no chat template"),
    ],
    ids=["syntax", "raises", "a place that is none", "arithmetic", "an unknown filter", "today's date", "none"],
)
def test_a_template_that_nothing_gets_through_is_refused_at_the_start_in_its_own_words(
    make_base: Callable[..., Path], template: str | None, said_of_it: str
) -> None:
    base = make_base(template)
    with pytest.raises(InvalidInput, match=said_of_it) as caught:
        Encoder(dialects.load("hermes"), load_tokenizer(base), LossWeights())
    assert str(base) in str(caught.value)


SAYS_ITS_OWN = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n' + OWN + '<|im_end|>\n' }}{% endif %}" + (CHATML)
)


@pytest.mark.parametrize(
    ("own", "found"),
    [
        ("'You are a helpful assistant'", "You are a helpful assistant"),
        ("'Line one.\n\nLine two. '", "Line one.\n\nLine two. "),
        ("'   '", "   "),
        ("''", ""),
        ("messages[0]['content']", ""),
    ],
    ids=["a sentence", "lines", "space", "nothing", "what the user said"],
)
def test_what_a_template_says_by_itself_is_found(make_base: Callable[..., Path], own: str, found: str) -> None:
    template = ChatTemplate(load_tokenizer(make_base(SAYS_ITS_OWN.replace("OWN", own))))
    assert template.default_system == found


def test_a_template_that_takes_a_date_is_given_the_same_every_day(make_base: Callable[..., Path]) -> None:
    encoder = Encoder(dialects.load("hermes"), load_tokenizer(make_base(TAKES_DATE)), LossWeights())
    assert encoder.maker.template.renderer.arguments == {"date_string": "26 July 2024"}
    assert next(encoder.layouts(TRIP)).text.startswith("Today is 26 July 2024<|im_start|>")
    given = {"date_string": "1 May"}
    encoder = Encoder(
        dialects.load("hermes"), load_tokenizer(make_base(TAKES_DATE)), LossWeights(), template_arguments=given
    )
    assert next(encoder.layouts(TRIP)).text.startswith("Today is 1 May<|im_start|>")


@pytest.mark.parametrize("name", ["enable_thinkin", "messages", "tools", "strftime_now", "add_generation_prompt"])
def test_an_argument_that_the_template_does_not_take_is_refused(make_base: Callable[..., Path], name: str) -> None:
    tokenizer = load_tokenizer(make_base(TAKES_DATE))
    with pytest.raises(InvalidInput, match=f"base.templateArguments.{name}: .*takes no such argument"):
        Encoder(dialects.load("hermes"), tokenizer, LossWeights(), template_arguments={name: 1})


@pytest.mark.parametrize(
    "messages",
    [
        (user("Hi"), said("<think>why</think>Hello.")),
        (user("Hi"), said("Hel</think>lo.")),
        (user("Hi"), thinking(said("Hello."), "a</think>b")),
        (user("<tool_response>Hi</tool_response>"), said("Hello.")),
    ],
    ids=["in the content", "an end alone", "an end within", "no question"],
)
@needs_templates
def test_a_row_that_the_template_changes_is_refused_or_trained_as_served(
    messages: tuple[dict[str, Any], ...], tokenizer_with: Callable[[str], Any]
) -> None:
    for name in ("qwen3", "qwen3_5_think", "qwen3_6", "nemotron_3_nano", "glm4moe"):
        tokenizer = tokenizer_with(TEMPLATES[name])
        dialect, talk = dialects.load("hermes"), conversation(*messages)
        encoder = Encoder(dialect, tokenizer, LossWeights())
        try:
            layouts = list(encoder.layouts(talk))
        except RefusedError:
            continue
        for prompt in served(dialect, talk, encoder.maker.template, tokenizer):
            assert any(trains_after(layout, prompt) for layout in layouts), name
        told = {key: text for key in ("content", "reasoning_content") if (text := messages[-1].get(key))}
        assert all(part in layouts[0].text for text in told.values() for part in re.split("</?think>", text))


def prepared(folder: Path, base: Path, talks: list[Conversation], **settings: Any) -> Prepared:
    """The talks in hermes, from a file in OpenAI form."""
    file = folder / "rows.jsonl"
    file.write_text("".join(talk.to_json() + "\n" for talk in talks), encoding="utf-8")
    data = Data(sources=(Source(path=str(file)),), test_fraction=0, max_length=4000, **settings)
    return prepare(data, dialect="hermes", base_dir=base, folder=folder / "work", processes=1)


SHOUTS = CHATML.replace("{{ message['content'] }}", "{{ message['content'] | replace('quiet', 'LOUD') }}")


def test_a_row_that_the_template_rewrites_is_named_and_the_others_are_kept(
    make_base: Callable[..., Path], tmp_path: Path
) -> None:
    base = make_base(SHOUTS)
    talks = [conversation(user(said_), said(said_), tools=()) for said_ in ("Hello.", "Be quiet.", "Bye.")]
    made = prepared(tmp_path, base, talks)
    assert made.train_rows == 2
    [told] = json.loads(made.report.read_text())["examples"]["refused"]
    assert re.search(r"rows\.jsonl:2: the chat template of .* rewrites a message's content: got 'Be LOUD", told)
    with pytest.raises(InvalidInput, match=r"rows\.jsonl: line 2: .*rewrites.*set data.strict to drop"):
        prepared(tmp_path, base, talks, strict="fail")


def test_a_template_that_fails_is_told_before_the_corpora_are_read(
    make_base: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match="fails, line 1"):
        prepared(tmp_path, make_base("{% if %}"), [TRIP], strict="fail")


@needs_templates
def test_conversations_in_several_texts_are_counted(make_base: Callable[..., Path], tmp_path: Path) -> None:
    once = conversation(user("Hi"), said("Hello."), tools=())
    made = prepared(tmp_path, make_base(TEMPLATES["qwen3_5_think"]), [once, TRIP])
    report = json.loads(made.report.read_text())
    rows = sorted(len(ids) for ids in arrow.read(made.train)["input_ids"].to_pylist())
    assert len(rows) == 1 + 2 == report["train"]["rows"]
    assert report["encoding"]["in_several_texts"] == 1
    assert report["encoding"]["further_layouts"] == 1
    assert report["encoding"]["further_tokens"] == rows[1]


@needs_templates
@pytest.mark.parametrize("name", ["qwen3_5_think", "llama3_2"])
def test_parity_is_whole_with_the_same_files_and_says_the_first_difference_of_others(
    name: str, make_base: Callable[..., Path], tmp_path: Path
) -> None:
    base = make_base(TEMPLATES[name])
    made = prepared(tmp_path, base, [TRIP])
    sampled = json.loads((made.folder / parity.FILE).read_text())
    assert parity.measure(sampled, "hermes", load_tokenizer(base)) == Parity(prompts=4, equal=4)
    other = parity.measure(sampled, "hermes", load_tokenizer(make_base(CHATML)))
    assert (other.prompts, other.equal) == (4, 0)
    assert re.search(r"first difference is at token \d+: got .* in the prompt; expected ", other.difference)
    broken = parity.measure(sampled, "hermes", load_tokenizer(make_base("{{ raise_exception('no') }}")))
    assert (broken.equal, broken.difference) == (0, "the chat template fails: no")


def test_a_sample_has_a_hundred_requests_at_most(make_base: Callable[..., Path], tmp_path: Path) -> None:
    talks = [conversation(user(f"Say {n} and {n * n}"), said(f"{n}, {n * n}."), tools=()) for n in range(120)]
    made = prepared(tmp_path, make_base(), talks)
    sampled = json.loads((made.folder / parity.FILE).read_text())
    assert len(sampled["prompts"]) == 100
    assert sampled["template"]["arguments"] == {}
