"""Written cases of the pythonic formats: bare lists, and LFM2's, Olmo 3's and Llama 4's wrappers."""

from typing import Any

from dialect_cases import ALERT, PARIS, POLICE, Bad, Case, Made, Value, value

BARE = ("pythonic",)
LFM2 = ("lfm2",)
OLMO3 = ("olmo3",)
LOOK = "get_weather(city='Paris')"


def _lfm2(calls: str) -> str:
    return f"<|tool_call_start|>[{calls}]<|tool_call_end|>"


def _olmo3(calls: str) -> str:
    return f"<function_calls>{calls}</function_calls>"


def _case(
    trouble: str, text: str, content: str | None, *calls: Made, dialects: tuple[str, ...] = BARE, **more: Any
) -> Case:
    return Case(f"{dialects[0]}: {trouble}", text, content, calls, dialects, **more)


def _only(trouble: str, text: str, *calls: Made, dialects: tuple[str, ...] = BARE) -> Case:
    return _case(trouble, text, None, *calls, dialects=dialects)


def _kept(trouble: str, text: str, *bad: Bad, dialects: tuple[str, ...] = BARE, **more: Any) -> Case:
    return _case(trouble, text, text, *bad, dialects=dialects, **more)


def _given(value: Value, dialects: tuple[str, ...]) -> Case:
    call = f"get_weather({value.written})"
    text = {LFM2: _lfm2(call), OLMO3: _olmo3(call), BARE: f"[{call}]"}[dialects]
    return _only(value.trouble, text, ("get_weather", value.arguments), dialects=dialects)


VALUES = (
    value("brackets in a string", "city='a [b] (c) {d}'", city="a [b] (c) {d}"),
    value("commas in a string", "city='a, b, c=d'", city="a, b, c=d"),
    value("a raw newline in a string", "city='a\nb'", city="a\nb"),
    value("an escaped newline", "city='a\\nb'", city="a\nb"),
    value("a negative number", "city='x', days=-3, limit=-1.5", city="x", days=-3, limit=-1.5),
    value("a tuple", "city='x', tags=(1, 2)", city="x", tags=[1, 2]),
    value("keyword names", "city='x', from='a', class=2", city="x", **{"from": "a", "class": 2}),
    value("an unescaped single quote", "city='it's fine'", city="it's fine"),
    value("unescaped quotes and commas", "city='say 'hi', then go', days=2", city="say 'hi', then go", days=2),
    value("a shell command in quotes", "city='sed -n '1,9p' f.py'", city="sed -n '1,9p' f.py"),
    value("an escaped quote", "city='it\\'s'", city="it's"),
    value("a double quote in single ones", "city='the \"old\" town'", city='the "old" town'),
    value("python's words", "city='x', metric=True, until=None", city="x", metric=True, until=None),
    value("JSON's words", "city='x', metric=true, until=null", city="x", metric=True, until=None),
    value("an object as JSON", 'city=\'x\', where={"zip": "02139"}', city="x", where={"zip": "02139"}),
    value("a number as a string", "city='x', days='3'", city="x", days=3),
    value("leading zeros", "city=02139", city="02139"),
    value("values in order", "'x', 3", city="x", days=3),
    value("a word behind a string", "'x', None", city="x", days=None),
    value("a value in brackets", "city=('x'), days=(3)", city="x", days=3),
    value("a tuple of one", "city='x', tags=(3,)", city="x", tags=[3]),
    value("a set", "city='x', tags={1, 2}", city="x", tags=[1, 2]),
    value("a raw string", "city=r'C:\\new'", city="C:\\new"),
    value("a formatted string without values", "city=f'Oslo'", city="Oslo"),
    value("unpacked", "**{'city': 'x', 'days': 3}", city="x", days=3),
    value("three quotes", "city='''a 'b' c'''", city="a 'b' c"),
    value("JSON's values", 'city="x", metric=true, until=null, where={"zip": "1"}',
           city="x", metric=True, until=None, where={"zip": "1"}),
    value("an unescaped double quote", 'city="the "old" town"', city='the "old" town'),
)  # fmt: skip
"""In every wrapper."""


CASES = (
    _only("plain call", f"[{LOOK}]", PARIS),
    _only("no arguments", "[fire_alert()]", ALERT),
    _only("two calls", f"[{LOOK}, fire_alert()]", PARIS, ALERT),
    _only("no space between calls", "[fire_alert(),call_police()]", ALERT, POLICE),
    _only("over several lines", "[\n  get_weather(\n    city='Paris',\n  ),\n  fire_alert()\n]", PARIS, ALERT),
    _only("double quotes", '[get_weather(city="Paris")]', PARIS),
    _only("a name in Chinese", "[查询天气(城市='北京')]", ("查询天气", {"城市": "北京"})),
    _only("white space before", f"\n [{LOOK}]", PARIS),
    _only("the list's end missing", f"[{LOOK}", PARIS),
    _only("the call's bracket missing", "[get_weather(city='Paris'", PARIS),
    _only("two lists", f"[{LOOK}]\n[fire_alert()]", PARIS, ALERT),
    _only("two lists with a semicolon", f"[{LOOK}]; [fire_alert()]", PARIS, ALERT),
    _only("Llama 4's wrapper", f"<|python_start|>[{LOOK}]<|python_end|>", PARIS),
    _only("Llama 3's marker", f"<|python_tag|>[{LOOK}]", PARIS),
    _only("a name before the bracket with a space", "[fire_alert ()]", ALERT),
    _case("Llama 4's wrapper around text", f"<|python_start|>I look.<|python_end|>[{LOOK}]", "I look.", PARIS),
    _case("text before", f"I look.\n[{LOOK}]", "I look.", PARIS),
    _case("text after", f"[{LOOK}]\nDone.", "Done.", PARIS),
    _case("a thought before", f"<think>\n[fire_alert()]\n</think>\n\n[{LOOK}]", None, PARIS, thought="[fire_alert()]"),
    _case("a footnote after", "[fire_alert()] [1] see", "[1] see", ALERT),
    _kept("a footnote", "[1] see the first source."),
    _kept("a link", "[the weather](https://example.com/get_weather())"),
    _kept("a link whose text is a call", "[get_weather()](https://example.com)"),
    _kept("a list of words", "[red, green (dark), blue]"),
    _kept("a function in brackets", "[f(x) is continuous] holds."),
    _kept("a list of calls in a sentence", f"Write [{LOOK}] for it."),
    _kept("a list of calls in a code block", f"```python\n[{LOOK}]\n```"),
    _kept("a list of numbers", "[1, 2, 3]"),
    _kept("an unknown tool", "[no_such(a=1)]", Bad("unknown tool 'no_such'", "no_such")),
    _kept("an argument without a value", "[get_weather(city=)]", Bad("no Python literals", "get_weather")),
    _kept("an argument that is a name", "[get_weather(city=paris)]", Bad("no Python literals", "get_weather")),
    _kept("an argument that is a call", "[get_weather(city=locate())]", Bad("no Python literals", "get_weather")),
    _kept("broken off in a string", "[get_weather(city='Par", Bad("not complete", "get_weather")),
    _kept("cut in a string", "[get_weather(city='Par", cut=True),
    _kept("cut behind the call", f"[{LOOK}", cut=True),
    _case("cut in the second call", f"[{LOOK}, fire_al", ", fire_al", PARIS, cut=True),
    _only("LFM2's wrapper", _lfm2(LOOK), PARIS, dialects=LFM2),
    _only("two calls in LFM2's wrapper", _lfm2(f"{LOOK}, fire_alert()"), PARIS, ALERT, dialects=LFM2),
    _only("two wrappers", _lfm2(LOOK) + _lfm2("fire_alert()"), PARIS, ALERT, dialects=LFM2),
    _only("no brackets in the wrapper", "<|tool_call_start|>fire_alert()<|tool_call_end|>", ALERT, dialects=LFM2),
    _only("the wrapper's end missing", f"<|tool_call_start|>[{LOOK}]", PARIS, dialects=LFM2),
    _only(
        "a bracket missing before the wrapper's end",
        "<|tool_call_start|>[fire_alert(<|tool_call_end|>",
        ALERT,
        dialects=LFM2,
    ),
    _case(
        "text behind a wrapper without an end",
        "<|tool_call_start|>[fire_alert()]\nDone (now).",
        "Done (now).",
        ALERT,
        dialects=LFM2,
    ),
    _only("the wrapper skipped", f"[{LOOK}]", PARIS, dialects=LFM2),
    _only("the list once more behind the wrapper", f"{_lfm2(LOOK)}[{LOOK}]<|tool_call_end|>", PARIS, dialects=LFM2),
    _only("an object in the wrapper", _lfm2('{"name": "fire_alert", "arguments": {}}'), ALERT, dialects=LFM2),
    _only("an empty list", _lfm2(""), dialects=LFM2),
    _case("text around the wrapper", f"I look.{_lfm2(LOOK)}Done.", "I look.\nDone.", PARIS, dialects=LFM2),
    _kept("the wrapper in a sentence", "The token <|tool_call_start|> opens a list.", dialects=LFM2),
    _kept("an unknown tool in the wrapper", _lfm2("no_such()"), Bad("unknown tool", "no_such"), dialects=LFM2),
    *(_given(value, wrapper) for wrapper in (LFM2, BARE, OLMO3) for value in VALUES),
    _kept("a formatted string with values", "[get_weather(city=f'{place}')]", Bad("no Python literals", "get_weather")),
    _given(value("the wrapper's end in a string", "city='<|tool_call_end|>'", city="<|tool_call_end|>"), LFM2),
    _only("a broken call after a good one", _lfm2("fire_alert(), call_police()"), ALERT, POLICE, dialects=LFM2),
    _only("Olmo 3's wrapper", _olmo3('get_weather(city="Paris")'), PARIS, dialects=OLMO3),
    _only("calls on lines", _olmo3('get_weather(city="Paris")\nfire_alert()'), PARIS, ALERT, dialects=OLMO3),
    _only("line ends in the wrapper", "<function_calls>\nfire_alert()\n</function_calls>\n", ALERT, dialects=OLMO3),
    _given(value("line ends and a call in a string", 'city="a\nfire_alert()"', city="a\nfire_alert()"), OLMO3),
    _case("text before the wrapper", "I look." + _olmo3("fire_alert()"), "I look.", ALERT, dialects=OLMO3),
    _case("text behind the wrapper", _olmo3("fire_alert()") + "\nDone.", "Done.", ALERT, dialects=OLMO3),
    _only("two wrappers of lines", _olmo3("fire_alert()") + _olmo3("call_police()"), ALERT, POLICE, dialects=OLMO3),
    _only("a comma between the lines", _olmo3("fire_alert(),\ncall_police()"), ALERT, POLICE, dialects=OLMO3),
    _only("a list in the wrapper", _olmo3(f"[{LOOK}, fire_alert()]"), PARIS, ALERT, dialects=OLMO3),
    _only(
        "the wrapper of lines without its end", f"<function_calls>{LOOK}\nfire_alert()", PARIS, ALERT, dialects=OLMO3
    ),
    _kept("the wrapper of lines in a sentence", "The tag <function_calls> opens calls.", dialects=OLMO3),
    _kept("an unknown tool on a line", _olmo3("no_such()"), Bad("unknown tool", "no_such"), dialects=OLMO3),
    _kept("no call in the wrapper", _olmo3("none"), Bad("holds no call"), dialects=OLMO3),
)
