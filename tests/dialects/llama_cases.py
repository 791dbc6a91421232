"""Written cases of Llama's JSON format: what models really write, what a client gets for it, and what makes it hard."""

from typing import Any

from dialect_cases import ALERT, PARIS, POLICE, Bad, Case, Made

LLAMA = ("llama_json",)
LOOK = '{"name": "get_weather", "parameters": {"city": "Paris"}}'
RING = '{"name": "fire_alert", "parameters": {}}'
PHONE = '{"name": "call_police", "parameters": {}}'
TAG = "<|python_tag|>"


def _case(trouble: str, text: str, content: str | None, *calls: Made, **more: Any) -> Case:
    return Case(f"llama_json: {trouble}", text, content, calls, LLAMA, **more)


def _only(trouble: str, text: str, *calls: Made) -> Case:
    """Calls and nothing said."""
    return _case(trouble, text, None, *calls)


def _kept(trouble: str, text: str, *bad: Bad, **more: Any) -> Case:
    """All of it is content: prose, or a call that is none."""
    return _case(trouble, text, text, *bad, **more)


def _weather(trouble: str, written: str, **arguments: Any) -> Case:
    return _only(trouble, f'{{"name": "get_weather", "parameters": {written}}}', ("get_weather", arguments))


CASES = (
    _only("plain call", LOOK, PARIS),
    _only("no parameters", RING, ALERT),
    _only("the key arguments", LOOK.replace("parameters", "arguments"), PARIS),
    _only("two calls with a semicolon", f"{LOOK}; {RING}", PARIS, ALERT),
    _only("a bare semicolon between calls", f"{LOOK};{RING};", PARIS, ALERT),
    _only("two calls on lines", f"{LOOK}\n{RING}", PARIS, ALERT),
    _only("three calls, blank lines between", f"{LOOK}\n\n{RING}\n\n{PHONE}\n", PARIS, ALERT, POLICE),
    _only("two calls with nothing between", LOOK + RING, PARIS, ALERT),
    _only("calls in an array", f"[{LOOK}, {RING}]", PARIS, ALERT),
    _only("calls in an array over lines", f"[\n  {LOOK},\n  {RING}\n]", PARIS, ALERT),
    _only("trailing braces", LOOK + "}}", PARIS),
    _only("trailing brace between calls", f"{LOOK}}}; {RING}", PARIS, ALERT),
    _only("one brace missing at the end", LOOK[:-1], PARIS),
    _only("two braces missing at the end", LOOK[:-2], PARIS),
    _only("behind the marker", TAG + LOOK, PARIS),
    _only("the marker and a line end", f"{TAG}\n{LOOK}", PARIS),
    _only("a marker before each call", f"{TAG}{LOOK}{TAG}{RING}", PARIS, ALERT),
    _only("the marker twice", TAG + TAG + LOOK, PARIS),
    _only("the token that ends the turn", f"{LOOK}<|eom_id|>", PARIS),
    _only("a brace missing before the end token", f"{LOOK[:-1]}<|eot_id|>", PARIS),
    _only("a built-in tool", f'{TAG}get_weather.call(city="Paris")', PARIS),
    _only("a built-in tool with two arguments", f'{TAG}move.call(x="1", y=2)', ("move", {"x": 1, "y": 2})),
    _only("white space before", f"\n\n  {LOOK}", PARIS),
    _only("over several lines", '{\n  "name": "get_weather",\n  "parameters": {\n    "city": "Paris"\n  }\n}', PARIS),
    _only("no spaces", '{"name":"get_weather","parameters":{"city":"Paris"}}', PARIS),
    _only("with a type", '{"type": "function", ' + LOOK[1:], PARIS),
    _only("the name under function", LOOK.replace('"name"', '"type": "function", "function"'), PARIS),
    _only("wrapped as OpenAI does", f'{{"type": "function", "function": {LOOK}}}', PARIS),
    _only("parameters before the name", '{"parameters": {"city": "Paris"}, "name": "get_weather"}', PARIS),
    _only("python quotes", "{'name': 'get_weather', 'parameters': {'city': 'Paris'}}", PARIS),
    _only("arguments as a string", '{"name": "get_weather", "parameters": "{\\"city\\": \\"Paris\\"}"}', PARIS),
    _weather("an array written as a string", '{"city": "x", "tags": "[1, 2]"}', city="x", tags=[1, 2]),
    _weather(
        "an object written as a string", '{"city": "x", "where": "{\'zip\': \'1\'}"}', city="x", where={"zip": "1"}
    ),
    _weather(
        "numbers and booleans as strings", '{"city": "x", "days": "3", "metric": "True"}', city="x", days=3, metric=True
    ),
    _weather("python words", '{"city": "x", "metric": True, "until": None}', city="x", metric=True, until=None),
    _weather("trailing comma", '{"city": "x",}', city="x"),
    _weather("brackets and a semicolon in a string", '{"city": "a; {b} [c]}}"}', city="a; {b} [c]}}"),
    _weather("a call in a string", '{"city": "{\\"name\\": \\"fire_alert\\", \\"parameters\\": {}}"}', city=RING),
    _weather("the marker in a string", '{"city": "<|python_tag|>"}', city=TAG),
    _weather("line ends in a string", '{"city": "a\nb"}', city="a\nb"),
    _weather("unescaped quotes in a string", '{"city": "the "old" town"}', city='the "old" town'),
    _only("Llama 4's tags for no text", f"<|python_start|><|python_end|>{LOOK}{RING}", PARIS, ALERT),
    _case("Llama 4's tags around text", f"<|python_start|>I look.<|python_end|>{LOOK}", "I look.", PARIS),
    _only("Llama 4's tags around a call", f"<|python_start|>{LOOK}<|python_end|>", PARIS),
    _case("text before", f"I look it up.\n{LOOK}", "I look it up.", PARIS),
    _case("text before and a blank line", f"I look it up.\n\n{LOOK}", "I look it up.", PARIS),
    _case("text after", f"{LOOK}\nThis asks for the weather.", "This asks for the weather.", PARIS),
    _case("text on the same line after", f"{LOOK} as you asked.", "as you asked.", PARIS),
    _case("text between calls", f"{LOOK}\nThen:\n{RING}", "Then:", PARIS, ALERT),
    _case("a thought before", f"<think>\n{RING}\n</think>\n\n{LOOK}", None, PARIS, thought=RING),
    _kept("prose that opens with a brace", "{x | x > 0} is the set of positive numbers."),
    _kept("an object as the answer", '{"answer": 42}'),
    _kept("an object with a name, and no arguments", '{"name": "Ada", "age": 36}'),
    _kept("an object with a tool's name, and no arguments", '{"name": "fire_alert"}'),
    _kept("an array as the answer", '[{"name": "Ada"}, {"name": "Grace"}]'),
    _kept("a list of numbers", "[1, 2] see above."),
    _kept(
        "a declaration of a tool", '{"name": "fire_alert", "description": "Rings", "parameters": {"type": "object"}}'
    ),
    _kept("a call in a code block", f"For example:\n```json\n{LOOK}\n```\nThat is all."),
    _kept("a call in a code block at the head", f"```json\n{LOOK}\n```"),
    _kept("a call within a line", f"Write {LOOK} to call it."),
    _kept("a brace alone", "{"),
    _kept("braces on lines", "if (x) {\n}\n{\n}"),
    _kept("CSS", "body {\n  color: red\n}"),
    _kept("an unknown tool", '{"name": "no_such", "parameters": {}}', Bad("unknown tool 'no_such'", "no_such")),
    _kept("arguments that are no object", '{"name": "move", "parameters": 5}', Bad("no JSON object", "move")),
    _kept("code behind the marker", f"{TAG}import math", Bad("no call follows")),
    _kept("broken off in a string", LOOK[:-5], Bad("not complete")),
    _kept("cut in a string", LOOK[:-5], cut=True),
    _kept("cut behind a string", LOOK[:-2], cut=True),
    _case("cut in the second call", f"{LOOK}; {RING[:12]}", RING[:12], PARIS, cut=True),
    _case(
        "a broken call between good ones",
        f"{RING}\n{TAG}{{'name' 'x'}}\n{TAG}{PHONE}",
        f"{TAG}{{'name' 'x'}}",
        ALERT,
        Bad("no JSON object"),
        POLICE,
    ),
)
