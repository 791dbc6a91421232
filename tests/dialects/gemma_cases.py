"""Written cases of `gemma` and `functiongemma`: what models write in this format, and what a client gets for it."""

from dataclasses import replace
from typing import Any

from dialect_cases import ALERT, PARIS, TOOLS, Bad, Case, Made
from qwen_xml_cases import ANY, WRITE

from callwright.dialects.gemma_tokens import FUNCTION_GEMMA, GEMMA_4

Q = '<|"|>'
WEATHER = f"<|tool_call>call:get_weather{{city:{Q}Paris{Q}}}<tool_call|>"
FIRE = "<|tool_call>call:fire_alert{}<tool_call|>"


def _case(trouble: str, text: str, content: str | None, *calls: Made, **more: Any) -> Case:
    return Case(f"gemma: {trouble}", text, content, calls, ("gemma",), tools=(*TOOLS, WRITE, ANY), **more)


def _call(inside: str, tool: str = "get_weather") -> str:
    return f"<|tool_call>call:{tool}{{{inside}}}<tool_call|>"


def _typed(trouble: str, inside: str, tool: str = "get_weather", **members: Any) -> Case:
    return _case(trouble, _call(inside, tool), None, (tool, members))


def _held(trouble: str, value: str) -> Case:
    """A text that stays as it is, with a member behind it."""
    return _typed(f"{trouble} in a text", f"text:{Q}{value}{Q},path:{Q}a{Q}", tool="write_file", text=value, path="a")


def _kept(trouble: str, text: str, *bad: Bad, **more: Any) -> Case:
    return _case(trouble, text, text, *bad, **more)


SHARED = [
    _case("plain call", WEATHER, None, PARIS),
    _case("no members", FIRE, None, ALERT),
    _case("two calls back to back", f"{WEATHER}{FIRE}", None, PARIS, ALERT),
    _case("two calls on lines", f"{WEATHER}\n{FIRE}", None, PARIS, ALERT),
    _case("the same call three times", FIRE * 3, None, ALERT, ALERT, ALERT),
    _case("text before", f"I look.{WEATHER}", "I look.", PARIS),
    _case("text behind", f"{WEATHER}I looked.", "I looked.", PARIS),
    _case("text on both sides and between", f"a{WEATHER}b{FIRE}c", "a\nb\nc", PARIS, ALERT),
    _case("the token that hands over", f"{WEATHER}<|tool_response>", None, PARIS),
    _case(
        "an invented result",
        f"{WEATHER}<|tool_response>response:get_weather{{value:1}}<tool_response|>It is.",
        None,
        PARIS,
    ),
    _case("the token that ends a turn", f"{WEATHER}<turn|>", None, PARIS),
    _case("the token that closes a call twice", f"{WEATHER}<tool_call|>", None, PARIS),
    _case("a brace too many", WEATHER.replace("}<", "}}<"), None, PARIS),
    _case("think tags before a call", f"<think>\nhm\n</think>\n\n{WEATHER}", None, PARIS, thought="hm"),
    _case("think tags before an answer", "<think>hm</think>Hi", "Hi", thought="hm"),
    _case("a call in think tags", f"<think>\n{WEATHER}\n</think>\nHi", "Hi", thought=WEATHER),
    _case("a call in think tags that never end", f"<think>hm\n{WEATHER}", None, PARIS, thought="hm"),
    _kept("think tags in a sentence", "Write <think> and </think> around it."),
    _case("in a code fence", f"```\n{WEATHER}\n```", None, PARIS),
    _case(
        "white space between all parts",
        f"<|tool_call>call: get_weather {{ city : {Q}Paris{Q} , days : 3 }}<tool_call|>",
        None,
        ("get_weather", {"city": "Paris", "days": 3}),
    ),
    _case(
        "lines between all parts",
        f"<|tool_call>\ncall:get_weather{{\ncity:{Q}Paris{Q},\ndays:3,\n}}\n<tool_call|>",
        None,
        ("get_weather", {"city": "Paris", "days": 3}),
    ),
    _case("no `call:`", WEATHER.replace("call:get", "get"), None, PARIS),
    _case("no `call`", WEATHER.replace("call:get", ":get"), None, PARIS),
    _case(
        "no `call:` before a name that begins so", "<|tool_call>call_police{}<tool_call|>", None, ("call_police", {})
    ),
    _case("parentheses for braces", f"<|tool_call>call:get_weather(city={Q}Paris{Q})<tool_call|>", None, PARIS),
    _case("name in other capitals", WEATHER.replace("get_weather", "Get_Weather"), None, PARIS),
    _case("no closing token", WEATHER.removesuffix("<tool_call|>"), None, PARIS),
    _case("no closing token before a call", f"{WEATHER.removesuffix('<tool_call|>')}{FIRE}", None, PARIS, ALERT),
    _case("no closing token, then text", f"{WEATHER.removesuffix('<tool_call|>')}Bye.", "Bye.", PARIS),
    _case("no closing brace", WEATHER.replace("}<", "<"), None, PARIS),
    _case("no closing brace of a list", _call("tags:[1,2").replace("2}", "2"), None, ("get_weather", {"tags": [1, 2]})),
    _case("no closing delimiter", WEATHER.replace(f"{Q}}}", "}"), None, PARIS),
    _case("no closing delimiter before a call", WEATHER.replace(f"{Q}}}", "}") + FIRE, None, PARIS, ALERT),
    _typed(
        "all types",
        f"city:{Q}a{Q},days:3,metric:true,limit:1.5,until:null,tags:[1,2],where:{{zip:{Q}0{Q}}}",
        city="a",
        days=3,
        metric=True,
        limit=1.5,
        until=None,
        tags=[1, 2],
        where={"zip": "0"},
    ),
    _typed("a number as text", f"days:{Q}3{Q}", days=3),
    _typed("a number for text", "city:75001", city="75001"),
    _typed("words as Python writes them", "metric:False,until:None", metric=False, until=None),
    _typed("a negative number and an exponent", "days:-3,limit:1e3", days=-3, limit=1000.0),
    _typed("a leading zero", "city:02139", city="02139"),
    _typed("plain quotes", 'city:"Paris, France"', city="Paris, France"),
    _typed("escapes in plain quotes", r'city:"a\"b\n"', city='a"b\n'),
    _typed("Python's quotes", "city:'it''s'", city="it''s"),
    _typed("`=` for a colon", f"city={Q}Paris{Q},days=3", city="Paris", days=3),
    _typed("text without quotes", "city:Paris,days:3", city="Paris", days=3),
    _typed("text without quotes, with a comma", "city:Paris, France,days:3", city="Paris, France", days=3),
    _typed("text without quotes, with an apostrophe", "city:L'Aquila it's,days:3", city="L'Aquila it's", days=3),
    _typed("text without quotes, with a colon", "city:12:30,days:3", city="12:30", days=3),
    _typed("quoted keys", f'{Q}city{Q}:{Q}Paris{Q},"days":3', city="Paris", days=3),
    _typed("plain JSON in a container", 'where:{"zip": "a, b"}', where={"zip": "a, b"}),
    _typed("Python in a container", "where:{'zip': 'a'}", where={"zip": "a"}),
    _typed("text without quotes in a container", "where:{zip:02139 Rome}", where={"zip": "02139 Rome"}),
    _typed("numbers as text in a list", f"tags:[{Q}1{Q},{Q}2{Q}]", tags=[1, 2]),
    _typed("a comma at the end", f"city:{Q}a{Q},", city="a"),
    _typed("a comma at the end of a list", "tags:[1,2,]", tags=[1, 2]),
    _typed("plain JSON for all members", '"city": "Paris", "days": 3', city="Paris", days=3),
    _typed(
        "deep nesting",
        f"value:{{a:[{{b:{Q}x{Q}}},[1,[]]],c:{{}}}}",
        tool="set",
        value={"a": [{"b": "x"}, [1, []]], "c": {}},
    ),
    _typed("an undeclared member", f"colour:{Q}red{Q}", colour="red"),
    _typed("empty text", f"city:{Q}{Q}", city=""),
    _typed("white space in text", f"city:{Q}  a \n{Q}", city="  a \n"),
    _typed("a list where brackets stand in text", f"value:[{Q}]{Q},{Q}}}{Q}]", tool="set", value=["]", "}"]),
    _held("the delimiter", f"a{Q}b"),
    _held("the delimiter and a comma", f"a{Q}, b"),
    _held("the closing token", "a<tool_call|>b"),
    _held("a brace and the closing token", "a}<tool_call|>b"),
    _held("the opening token", "a<|tool_call>b"),
    _held("the token that hands over", "a<|tool_response>b"),
    _held("braces and quotes", '{"a": "}"}],'),
    _held("what looks like a member", "a,days:3}"),
    _held("lines and tabs", "a\n\tb\r\n"),
    _held("tokens that begin", 'a<|"|b<|tool'),
    _held("code", 'def f(x):\n\treturn {"x": [x, "\\"{}\\""]}  # <b>\n'),
    _case(
        "the delimiter in a container's text",
        _call(f"where:{{zip:{Q}a{Q}b{Q}}}"),
        None,
        ("get_weather", {"where": {"zip": f"a{Q}b"}}),
    ),
    _case(
        "a whole call as JSON",
        '<|tool_call>{"name": "get_weather", "arguments": {"city": "Paris"}}<tool_call|>',
        None,
        PARIS,
    ),
    _kept("an unknown tool", _call("a:1", "open"), Bad("unknown tool", "open")),
    _case(
        "an unknown tool before a call",
        _call("a:1", "open") + WEATHER,
        _call("a:1", "open"),
        Bad("unknown tool", "open"),
        PARIS,
    ),
    _kept("members that are none", _call("{}{}"), Bad("not readable", "get_weather")),
    _kept("a list that is none", _call("tags:[1}"), Bad("not readable", "get_weather")),
    _kept(
        "a text that never ends",
        _call(f"city:{Q}Par").removesuffix("}<tool_call|>"),
        Bad("not complete", "get_weather"),
    ),
    _kept("a token without a name", "<|tool_call>call:", Bad("no name")),
    _kept("cut off in a text", f"<|tool_call>call:get_weather{{city:{Q}Par", cut=True),
    _kept("cut off before the closing token", f"<|tool_call>call:get_weather{{city:{Q}Paris{Q}", cut=True),
    _kept("cut off in a token", "Hi <|tool_ca", cut=True),
    _case("cut off behind a call", f"{WEATHER}<|tool_call>call:fire", "<|tool_call>call:fire", PARIS, cut=True),
    _kept("tokens that are talked about", "The <|tool_call> token opens it, <tool_call|> closes it."),
    _kept("less-than signs", "1 < 2 << 3 <|"),
]
"""What both families read alike."""
THOUGHTS = [
    _case("a thought, then a call", f"<|channel>thought\nhm\n<channel|>{WEATHER}", None, PARIS, thought="hm"),
    _case("a thought, then an answer", "<|channel>thought\nhm\n<channel|>Hi", "Hi", thought="hm"),
    _case("an empty thought", f"<|channel>thought\n<channel|>{WEATHER}", None, PARIS),
    _case("a call in a thought", f"<|channel>thought\n{WEATHER}\n<channel|>Hi", "Hi", thought=WEATHER),
    _case("a call in a thought that never ends", f"<|channel>thought\nhm\n{WEATHER}", None, PARIS, thought="hm"),
    _case(
        "a token in a thought that never ends",
        "<|channel>thought\nthe <|tool_call> token",
        None,
        thought="the <|tool_call> token",
    ),
]


def _spelled(text: str) -> str:
    """Return the text with FunctionGemma's tokens in place of Gemma 4's."""
    for old, new in (
        *((GEMMA_4.open, FUNCTION_GEMMA.open), (GEMMA_4.shut, FUNCTION_GEMMA.shut), (Q, FUNCTION_GEMMA.quote)),
        *((GEMMA_4.result, FUNCTION_GEMMA.result), (GEMMA_4.turn_end, FUNCTION_GEMMA.turn_end)),
        *(("<tool_response|>", "<end_function_response>"), ('<|"|b<|tool', "<escapb<start_func")),
        *(("<|tool_ca", "<start_func"), ("<|", "<")),
    ):
        text = text.replace(old, new)
    return text


def _of_function_gemma(case: Case) -> Case:
    calls = tuple(
        call if isinstance(call, Bad) else (call[0], {key: _inside(value) for key, value in call[1].items()})
        for call in case.calls
    )
    return replace(
        case, trouble=case.trouble.replace("gemma", "functiongemma"), dialects=("functiongemma",), calls=calls,
        text=_spelled(case.text), content=None if case.content is None else _spelled(case.content),
        thought=None if case.thought is None else _spelled(case.thought),
    )  # fmt: skip


def _inside(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _inside(inner) for key, inner in value.items()}
    return _spelled(value) if isinstance(value, str) else value


CASES = [*SHARED, *THOUGHTS, *map(_of_function_gemma, SHARED)]
