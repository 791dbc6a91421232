"""Written cases of Mistral's formats: arrays behind the marker, names with `[ARGS]`, and what becomes of both."""

from typing import Any

from dialect_cases import ALERT, PARIS, POLICE, Bad, Case, Made, Value, value

CALLS = "[TOOL_CALLS]"
ARRAY = ("mistral_v3",)
NAMED = ("mistral",)
ANY = ("mistral", "mistral_v11", "mistral_v3")
LOOK = '{"name": "get_weather", "arguments": {"city": "Paris"}, "id": "VvvODy9mT"}'
RING = '{"name": "fire_alert", "arguments": {}, "id": "000000001"}'
NAMED_LOOK = f'{CALLS}get_weather[ARGS]{{"city": "Paris"}}'
NAMED_RING = f"{CALLS}fire_alert[ARGS]{{}}"
NAMED_PHONE = f"{CALLS}call_police[ARGS]{{}}"


def _case(
    trouble: str, text: str, content: str | None, *calls: Made, dialects: tuple[str, ...] = NAMED, **more: Any
) -> Case:
    return Case(f"{dialects[0]}: {trouble}", text, content, calls, dialects, **more)


def _array(trouble: str, text: str, *calls: Made) -> Case:
    """Calls in the array layout, and nothing said."""
    return _case(trouble, text, None, *calls, dialects=ARRAY)


def _named(trouble: str, text: str, *calls: Made) -> Case:
    """Calls in the layout with names, and nothing said."""
    return _case(trouble, text, None, *calls)


def _kept(trouble: str, text: str, *bad: Bad, **more: Any) -> Case:
    return _case(trouble, text, text, *bad, **more)


def _given(value: Value, layout: tuple[str, ...]) -> Case:
    named, array = f"get_weather[ARGS]{value.written}", f'[{{"name": "get_weather", "arguments": {value.written}}}]'
    text = CALLS + (named if layout == NAMED else array)
    return _case(value.trouble, text, None, ("get_weather", value.arguments), dialects=layout)


VALUES = (
    value("over several lines", '{\n  "city": "Paris",\n  "days": 2\n}', city="Paris", days=2),
    value("numbers as strings", '{"city": "x", "days": "3", "tags": "[1]"}', city="x", days=3, tags=[1]),
    value("python words", "{'city': 'x', 'metric': True, 'until': None}", city="x", metric=True, until=None),
    value("the markers in a string", '{"city": "[TOOL_CALLS]x[ARGS]{}"}', city="[TOOL_CALLS]x[ARGS]{}"),
    value("a brace in a string", '{"city": "}{"}', city="}{"),
    value("a raw line end in a string", '{"city": "a\nb"}', city="a\nb"),
    value("an escaped character beyond 16 bits", '{"city": "\\ud83d\\ude00"}', city="\U0001f600"),
    value("a comma behind the last member", '{"city": "x", "days": 2,}', city="x", days=2),
    value("keys without quotes", '{city: "x", days: 2}', city="x", days=2),
    value("an object in the arguments", '{"city": "x", "where": {"zip": "02139"}}', city="x", where={"zip": "02139"}),
    value("quotes that are not escaped", '{"city": "the "old" town"}', city='the "old" town'),
    value("a backslash that escapes nothing", '{"city": "C:\\new \\d"}', city="C:\new \\d"),
    value("JSON's null for what may be left out", '{"city": "x", "until": null}', city="x", until=None),
    value("a word for a number", '{"city": "x", "days": "two"}', city="x", days="two"),
)
"""In the layout with names and in the array."""


CASES = (
    _array("plain call", f"{CALLS} [{LOOK}]", PARIS),
    _array("no space behind the marker", f"{CALLS}[{LOOK}]", PARIS),
    _array("a line end behind the marker", f"{CALLS}\n[{LOOK}]", PARIS),
    _array("two calls", f"{CALLS} [{LOOK}, {RING}]", PARIS, ALERT),
    _array("two calls over lines", f"{CALLS} [\n  {LOOK},\n  {RING}\n]", PARIS, ALERT),
    _array("no id", f'{CALLS}[{{"name": "get_weather", "arguments": {{"city": "Paris"}}}}]', PARIS),
    _array("arguments before the name", f'{CALLS}[{{"arguments": {{"city": "Paris"}}, "name": "get_weather"}}]', PARIS),
    _array("the id first", f'{CALLS}[{{"id": "VvvODy9mT", "name": "fire_alert", "arguments": {{}}}}]', ALERT),
    _array("an object without the array", f"{CALLS}{LOOK}", PARIS),
    _array("objects without the array", f"{CALLS}{LOOK}, {RING}", PARIS, ALERT),
    _array("the marker before each array", f"{CALLS}[{LOOK}]{CALLS}[{RING}]", PARIS, ALERT),
    _array("the array's end missing", f"{CALLS}[{LOOK}", PARIS),
    _array("a brace and the array's end missing", f"{CALLS}[{LOOK[:-1]}", PARIS),
    _array("the end token left", f"{CALLS}[{LOOK}]</s>", PARIS),
    _array("the marker skipped", f"[{LOOK}, {RING}]", PARIS, ALERT),
    _array(
        "arguments as a string",
        f'{CALLS}[{{"name": "get_weather", "arguments": "{{\\"city\\": \\"Paris\\"}}"}}]',
        PARIS,
    ),
    _array("python quotes", f"{CALLS}[{{'name': 'get_weather', 'arguments': {{'city': 'Paris'}}}}]", PARIS),
    _array(
        "brackets in a string",
        f'{CALLS}[{{"name": "get_weather", "arguments": {{"city": "a]}}]"}}}}]',
        ("get_weather", {"city": "a]}]"}),
    ),
    _array("an empty array", f"{CALLS}[]"),
    _array("the names' layout from an older model", NAMED_LOOK, PARIS),
    _case("text before the array", f"I look. {CALLS}[{LOOK}]", "I look.", PARIS, dialects=ARRAY),
    _case("text after the array", f"{CALLS}[{LOOK}]\n\nDone.", "Done.", PARIS, dialects=ARRAY),
    _case(
        "an unknown tool in the array",
        f'{CALLS}[{{"name": "no_such", "arguments": {{}}}}]',
        f'{CALLS}[{{"name": "no_such", "arguments": {{}}}}]',
        Bad("unknown tool", "no_such"),
        dialects=ARRAY,
    ),
    _case("an answer that is an array", '[{"name": "Ada"}]', '[{"name": "Ada"}]', dialects=ARRAY),
    _case("a list in an answer", "[1] see the first source.", "[1] see the first source.", dialects=ANY),
    _case("an array in a code block", f"```json\n[{LOOK}]\n```", f"```json\n[{LOOK}]\n```", dialects=ANY),
    _named("plain call", NAMED_LOOK, PARIS),
    _named("a space behind the marker", NAMED_LOOK.replace(CALLS, f"{CALLS} "), PARIS),
    _named("two calls", NAMED_LOOK + NAMED_RING, PARIS, ALERT),
    _named("three calls on lines", f"{NAMED_LOOK}\n{NAMED_RING}\n{NAMED_PHONE}", PARIS, ALERT, POLICE),
    _named("a call id", f'{CALLS}get_weather[CALL_ID]VvvODy9mT[ARGS]{{"city": "Paris"}}', PARIS),
    _named(
        "two calls with ids",
        f'{CALLS}get_weather[CALL_ID]a[ARGS]{{"city": "Paris"}}{CALLS}fire_alert[CALL_ID]b[ARGS]{{}}',
        PARIS,
        ALERT,
    ),
    _named("no [ARGS]", f'{CALLS}get_weather{{"city": "Paris"}}', PARIS),
    _named("[ARGS] twice", f'{CALLS}get_weather[ARGS][ARGS]{{"city": "Paris"}}', PARIS),
    _named("white space around [ARGS]", f'{CALLS}get_weather [ARGS] {{"city": "Paris"}}', PARIS),
    _named("the marker skipped", 'get_weather[ARGS]{"city": "Paris"}', PARIS),
    _named("all markers skipped", 'get_weather{"city": "Paris"}fire_alert{}', PARIS, ALERT),
    _named("the marker twice", CALLS + NAMED_LOOK, PARIS),
    _named("the end token left", f"{NAMED_LOOK}</s>", PARIS),
    _named("a trailing brace", f"{NAMED_LOOK}}}", PARIS),
    _named("the brace missing at the end", NAMED_LOOK[:-1], PARIS),
    _named("the brace missing before the next call", NAMED_LOOK[:-1] + NAMED_RING, PARIS, ALERT),
    _named("no arguments behind [ARGS]", f"{CALLS}fire_alert[ARGS]", ALERT),
    _named("a name in capitals", f"{CALLS}Fire_Alert[ARGS]{{}}", ALERT),
    _named("the array's layout from a newer model", f"{CALLS}[{LOOK}]", PARIS),
    *(_given(value, layout) for layout in (NAMED, ARRAY) for value in VALUES),
    _given(value("an escaped object", '"{\\"city\\": \\"Paris\\"}"', city="Paris"), NAMED),
    _given(value("a bare value", "Paris", city="Paris"), NAMED),
    _case("text before", f"I look.{NAMED_LOOK}", "I look.", PARIS),
    _case("text after", f"{NAMED_LOOK} That is all.", "That is all.", PARIS),
    _case("text between", f"{NAMED_LOOK}\nThen {NAMED_RING}", "Then", PARIS, ALERT),
    _case("a thought before", f"[THINK]I look[/THINK]{NAMED_LOOK}", None, PARIS, thought="I look"),
    _case("a thought with markers", f"[THINK]{NAMED_RING}[/THINK]Hello", "Hello", thought=NAMED_RING),
    _case("a thought in the older tags", f"<think>\nI look\n</think>\n{NAMED_LOOK}", None, PARIS, thought="I look"),
    _case("thoughts around text", "[THINK]a[/THINK]One.[THINK]b[/THINK]Two.", "One.\nTwo.", thought="a\nb"),
    _kept("the marker in a sentence", "The marker [TOOL_CALLS] opens a call."),
    _kept("a tool's name at the head", "get_weather is a tool for the weather."),
    _kept("the marker alone", CALLS, Bad("no call follows")),
    _kept("an unknown tool", f'{CALLS}no_such[ARGS]{{"a": 1}}', Bad("unknown tool", "no_such")),
    _kept("broken off in a string", f'{CALLS}get_weather[ARGS]{{"city": "Par', Bad("not complete", "get_weather")),
    _kept("a missing argument", f"{CALLS}move[ARGS]", Bad("no arguments", "move")),
    _kept("cut in the arguments", f'{CALLS}get_weather[ARGS]{{"city": "Par', cut=True),
    _kept("cut in the name", f"{CALLS}get_wea", cut=True),
    _case("cut in the second call", NAMED_RING + NAMED_LOOK[:-3], NAMED_LOOK[:-3], ALERT, cut=True),
)
