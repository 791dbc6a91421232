"""Written cases of `qwen_xml`: what models write in this format, and what a client gets for it."""

from typing import Any

from dialect_cases import ALERT, PARIS, TOOLS, Bad, Case, Made

XML = ("qwen_xml",)
WRITE = {
    "type": "function",
    "function": {
        "name": "write_file",
        "parameters": {
            "type": "object",
            "properties": {"path": {"type": "string"}, "text": {"type": "string"}, "mode": {"type": "integer"}},
            "required": ["path", "text"],
        },
    },
}
ANY = {
    "type": "function",
    "function": {
        "name": "set",
        "parameters": {
            "type": "object",
            "properties": {
                "value": {},
                "maybe": {"type": ["string", "null"]},
                "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
                "kind": {"enum": ["1", "2", "auto"]},
            },
        },
    },
}


def _function(name: str, /, **parameters: str) -> str:
    lines = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in parameters.items())
    return f"<function={name}>\n{lines}</function>"


def _block(name: str, /, **parameters: str) -> str:
    return f"<tool_call>\n{_function(name, **parameters)}\n</tool_call>"


WEATHER, FIRE = _block("get_weather", city="Paris"), _block("fire_alert")
OPENED = "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n"
THREE: Made = ("get_weather", {"city": "Paris", "days": 3})
EXAMPLE = f"Write:\n{_block('f', a='1')}\nand so on"


def _case(trouble: str, text: str, content: str | None, *calls: Made, **more: Any) -> Case:
    return Case(f"xml: {trouble}", text, content, calls, XML, tools=(*TOOLS, WRITE, ANY), **more)


def _typed(trouble: str, key: str, raw: str, value: object, tool: str = "get_weather") -> Case:
    return _case(trouble, _block(tool, **{key: raw}), None, (tool, {key: value}))


def _held(trouble: str, value: str) -> Case:
    """A value that stays as it is, with a parameter behind it."""
    return _case(
        f"{trouble} in a value",
        _block("write_file", text=value, path="a"),
        None,
        ("write_file", {"text": value, "path": "a"}),
    )


def _kept(trouble: str, text: str, *bad: Bad, **more: Any) -> Case:
    return _case(trouble, text, text, *bad, **more)


CASES = [
    _case("plain call", WEATHER, None, PARIS),
    _case("no parameters", FIRE, None, ALERT),
    _case("no parameters, on one line", "<tool_call><function=fire_alert></function></tool_call>", None, ALERT),
    _case("no parameters and no closing tag", "<tool_call>\n<function=fire_alert>\n</tool_call>", None, ALERT),
    _case("text before", f"I look.\n\n{WEATHER}", "I look.", PARIS),
    _case("text on both sides", f"Before.\n\n{WEATHER}\nAfter.", "Before.\nAfter.", PARIS),
    _case("two calls", f"{WEATHER}\n{FIRE}", None, PARIS, ALERT),
    _case("two calls back to back", f"{WEATHER}{FIRE}", None, PARIS, ALERT),
    _case("the same call twice", f"{FIRE}\n{FIRE}", None, ALERT, ALERT),
    _case(
        "two functions in one block",
        f"<tool_call>\n{_function('get_weather', city='Paris')}\n{_function('fire_alert')}\n</tool_call>",
        None,
        PARIS,
        ALERT,
    ),
    _case("all on one line", WEATHER.replace("\n", ""), None, PARIS),
    _case("windows line ends", WEATHER.replace("\n", "\r\n"), None, PARIS),
    _case("blank lines between all tags", WEATHER.replace(">\n<", ">\n\n<"), None, PARIS),
    _case("indented tags", WEATHER.replace("\n<", "\n  <").replace("Paris\n  <", "Paris\n<"), None, PARIS),
    _case("quoted names", WEATHER.replace("=get_weather", '="get_weather"').replace("=city", "='city'"), None, PARIS),
    _case("name in other capitals", WEATHER.replace("get_weather", "Get_Weather"), None, PARIS),
    _case("no outer tags", _function("get_weather", city="Paris"), None, PARIS),
    _case("no outer tag before", f"{_function('get_weather', city='Paris')}\n</tool_call>", None, PARIS),
    _case("no outer tag behind", f"<tool_call>\n{_function('get_weather', city='Paris')}", None, PARIS),
    _case(
        "no outer tag behind, then prose", f"<tool_call>\n{_function('get_weather', city='Paris')}\nBye.", "Bye.", PARIS
    ),
    _case(
        "no outer tags, two calls",
        f"{_function('get_weather', city='Paris')}\n{_function('fire_alert')}",
        None,
        PARIS,
        ALERT,
    ),
    _case("text before, no outer tags", f"I look.\n{_function('get_weather', city='Paris')}", "I look.", PARIS),
    _case("last </parameter> missing", f"{OPENED}</function>\n</tool_call>", None, PARIS),
    _case("last </parameter> missing, then a call", f"{OPENED}</function>\n</tool_call>\n{FIRE}", None, PARIS, ALERT),
    _case("last </parameter> missing, then prose", f"{OPENED}</function>\n</tool_call>\nBye.", "Bye.", PARIS),
    _case("last </parameter> and </function> missing", f"{OPENED}</tool_call>", None, PARIS),
    _case("</function> missing", f"{OPENED}</parameter>\n</tool_call>", None, PARIS),
    _case("only the parameter is closed at the end", f"{OPENED}</parameter>\n", None, PARIS),
    _case("only the parameter is closed before a call", f"{OPENED}</parameter>\n{FIRE}", None, PARIS, ALERT),
    _case(
        "</parameter> missing before the next parameter",
        f"{OPENED}<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>",
        None,
        THREE,
    ),
    _case("a closing tag twice", WEATHER.replace("</function>", "</function>\n</function>"), None, PARIS),
    _case("the outer closing tag twice", f"{WEATHER}\n</tool_call>", None, PARIS),
    _case("end of the turn in the text", f"{WEATHER}<|im_end|>", None, PARIS),
    _case("in a code fence", f"```xml\n{WEATHER}\n```", None, PARIS),
    _case("an invented result", f"{WEATHER}\n<tool_response>\nsunny\n</tool_response>\nIt is sunny.", None, PARIS),
    _typed("a whole number", "days", "3", 3),
    _typed("a number in quotes", "days", '"3"', 3),
    _typed("a word for a number", "days", "three", "three"),
    _typed("True as Python writes it", "metric", "True", True),
    _typed("false as JSON writes it", "metric", "false", False),
    _typed("None where null is allowed", "until", "None", None),
    _typed("null where null is allowed", "until", "null", None),
    _typed("None in text", "city", "None", "None"),
    _typed("digits in text", "city", "75001", "75001"),
    _typed("an object in text", "city", '{"a": 1}', '{"a": 1}'),
    _typed("quotes in text", "city", '"Paris"', '"Paris"'),
    _typed("white space in text", "city", "  Paris \n", "  Paris \n"),
    _typed("several lines of text", "city", "a\n\nb", "a\n\nb"),
    _typed("empty text", "city", "", ""),
    _typed("a list", "tags", "[1, 2]", [1, 2]),
    _typed("a list of numbers in quotes", "tags", '["1", "2"]', [1, 2]),
    _typed("a list as Python writes it", "tags", "[1, 2,]", [1, 2]),
    _typed("an object as Python writes it", "where", "{'zip': '02139'}", {"zip": "02139"}),
    _typed("an object", "where", '{"zip": "</parameter>"}', {"zip": "</parameter>"}),
    _typed("a float", "limit", "1.5", 1.5),
    _typed("an underscore in a number of any type", "value", "123_456", "123_456", "set"),
    _typed("a number of any type", "value", "5", 5, "set"),
    _typed("a leading zero of any type", "value", "02139", "02139", "set"),
    _typed("text of any type", "value", "yes", "yes", "set"),
    _typed("an object of any type", "value", '{"a": null}', {"a": None}, "set"),
    _typed("brackets in text of any type", "value", "[1] see", "[1] see", "set"),
    _typed("text or null: null", "maybe", "null", None, "set"),
    _typed("text or null: text", "maybe", "5", "5", "set"),
    _typed("text or a number: a number", "either", "5", 5, "set"),
    _typed("a choice that looks like a number", "kind", "1", "1", "set"),
    _typed("an undeclared parameter", "colour", "red", "red"),
    _held("</parameter>", "x</parameter>y"),
    _held("</parameter> on its own line", "x\n</parameter>\ny"),
    _held("</function>", "a </function> b\n</function>\nc"),
    _held("</tool_call>", "a\n</tool_call>\nb"),
    _held("<tool_call>", "a\n<tool_call>\nb"),
    _held("</function> and </tool_call>", "a\n</function>\n</tool_call>\nb"),
    _held("a parameter's tag", "a\n<parameter=zzz>\nb"),
    _held("the tag of a parameter that is given", "a\n<parameter=text>\nb"),
    _held("a function's tag", "a\n<function=fire_alert>\nb"),
    _held("a whole call", EXAMPLE),
    _held("two whole calls", f"{EXAMPLE}\n{EXAMPLE}"),
    _held("a result's and a thought's tag", "<think>\n</think>\n<tool_response>\n<|im_end|>"),
    _held("tags that begin", "a </param <func </tool_"),
    _held("code", 'def f(x):\n\treturn {"x": [x, "\\"{}\\""]}  # <b>\n'),
    _case(
        "an object in place of parameters",
        '<tool_call>\n<function=get_weather>\n{"city": "Paris"}\n</function>\n</tool_call>',
        None,
        PARIS,
    ),
    _case(
        "the only value in place of parameters",
        "<tool_call>\n<function=square>\n4\n</function>\n</tool_call>",
        None,
        ("square", {"n": 4}),
    ),
    _case(
        "a JSON object in the block",
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>',
        None,
        PARIS,
    ),
    _case(
        "a JSON object without its last brace",
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}\n</tool_call>',
        None,
        PARIS,
    ),
    _kept("an unknown tool", _block("open", a="1"), Bad("unknown tool", "open")),
    _case(
        "an unknown tool before a call",
        f"{_block('open', a='1')}\n{WEATHER}",
        _block("open", a="1"),
        Bad("unknown tool", "open"),
        PARIS,
    ),
    _kept(
        "text before the first parameter",
        WEATHER.replace("<parameter", "hm\n<parameter"),
        Bad("text stands before", "get_weather"),
    ),
    _kept("no function in the block", "<tool_call>\nhello\n</tool_call>", Bad("holds no function")),
    _kept("a value that never ends", OPENED.rstrip(), Bad("not complete", "get_weather")),
    _case(
        "a call that breaks off before another",
        f"{OPENED}{FIRE}",
        OPENED.rstrip(),
        Bad("not complete", "get_weather"),
        ALERT,
    ),
    _kept("cut off in a value", OPENED.rstrip(), cut=True),
    _kept("cut off before the closing tags", f"{OPENED}</parameter>", cut=True),
    _kept("cut off in a tag", "<tool_call>\n<func", cut=True),
    _case(
        "cut off behind a call", f"{WEATHER}\n<tool_call>\n<function=fi", "<tool_call>\n<function=fi", PARIS, cut=True
    ),
    _kept("tags that are talked about", "I write `<tool_call>` and `<function=name>` around it."),
    _kept("a block of another tool that is talked about", "As <tool_call><function=name></function></tool_call> says."),
    _kept("a function that is talked about", "Then <function=fire_alert> opens it."),
    _kept("less-than signs", "1 < 2 << 3 <"),
    _case("a call in a thought", f"<think>\n{WEATHER}\n</think>\n\nHi", "Hi", thought=WEATHER),
    _case("a thought, then a call", f"<think>\nhm\n</think>\n\n{WEATHER}", None, PARIS, thought="hm"),
    _case("an empty thought on one line", f"<think></think>\n{WEATHER}", None, PARIS),
]
