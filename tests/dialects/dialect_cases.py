"""Written cases: what models really write, what a client gets for it, and what makes each one hard.

`REACT` cases hold for the whole ReAct family. A call is `(name, arguments)`; a malformed one `Bad(reason, name)`.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

REACT = ("react_en", "react_zh", "toolbench", "ms_agent", "agentfabric")
LINES = ("react_en", "react_zh", "ms_agent")
HERMES = ("hermes",)


def _tool(name: str, properties: dict[str, Any] | None = None, required: tuple[str, ...] = ()) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties or {}, "required": list(required)}
    return {"type": "function", "function": {"name": name, "description": f"{name}.", "parameters": parameters}}


TOOLS = [
    _tool("fire_recognition", {"image": {"type": "string"}}, ("image",)),
    _tool("fire_alert"),
    _tool("call_police"),
    _tool(
        "get_weather",
        {
            "city": {"type": "string"},
            "days": {"type": "integer"},
            "metric": {"type": "boolean"},
            "limit": {"type": "number"},
            "tags": {"type": "array", "items": {"type": "integer"}},
            "where": {"type": "object", "properties": {"zip": {"type": "string"}}},
            "until": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "level": {"enum": [1, 2, 3]},
        },
        ("city",),
    ),
    _tool("move", {"x": {"type": "integer"}, "y": {"type": "integer"}}, ("x", "y")),
    _tool("square", {"n": {"type": "integer"}}, ("n",)),
    _tool("total", {"numbers": {"type": "array", "items": {"type": "number"}}}, ("numbers",)),
    _tool("list_files", {"path": {"type": "string"}}),
    _tool("查询天气", {"城市": {"type": "string"}}, ("城市",)),
]


@dataclass(frozen=True)
class Bad:
    """A malformed call: part of its reason, and the name it reports."""

    reason: str
    name: str | None = None


@dataclass(frozen=True)
class Case:
    """One text, why it is hard, and what it means."""

    trouble: str
    text: str
    content: str | None
    calls: tuple[tuple[str, dict[str, Any]] | Bad, ...] = ()
    dialects: tuple[str, ...] = REACT
    cut: bool = False
    tools: tuple[dict[str, Any], ...] | None = tuple(TOOLS)
    thought: str | None = None


FIRE = ("fire_recognition", {"image": "/tmp/1.jpg"})
ALERT: tuple[str, dict[str, Any]] = ("fire_alert", {})
POLICE: tuple[str, dict[str, Any]] = ("call_police", {})
PARIS = ("get_weather", {"city": "Paris"})
LOOK = 'Action: get_weather\nAction Input: {"city": "Paris"}'
RING = "Action: fire_alert\nAction Input: {}"
PHONE = "Action: call_police\nAction Input: {}"
FINISH = 'Action: Finish\nAction Input: {"return_type": "give_answer", "final_answer": "42"}'
BROKEN = LOOK.removesuffix("}")
PART = BROKEN.removesuffix('is"')
DEEP = "[" * 300 + "]" * 300
TOOLBENCH = ("toolbench",)
FABRIC = ("agentfabric",)

Made = tuple[str, dict[str, Any]] | Bad


class Value(NamedTuple):
    """Arguments as they are written, and what they are."""

    trouble: str
    written: str
    arguments: dict[str, Any]


def value(trouble: str, written: str, **arguments: Any) -> Value:
    return Value(trouble, written, arguments)


def _case(trouble: str, text: str, content: str | None, *calls: Made, **more: Any) -> Case:
    return Case(trouble, text, content, calls, **more)


def _only(trouble: str, text: str, *calls: Made) -> Case:
    """Calls and nothing said."""
    return Case(trouble, text, None, calls)


def _kept(trouble: str, text: str, *bad: Bad, **more: Any) -> Case:
    """All of it is content: prose, or a call that is none."""
    return Case(trouble, text, text, bad, **more)


def _input(trouble: str, written: str, call: Made) -> Case:
    """This input of the call's tool."""
    return Case(trouble, f"Action: {call[0]}\nAction Input: {written}", None, (call,))


def _weather(trouble: str, written: str, **arguments: Any) -> Case:
    """This input of get_weather."""
    return _input(trouble, written, ("get_weather", arguments))


def _refused(trouble: str, name: str, written: str, reason: str) -> Case:
    """This input of the tool is none."""
    return _kept(trouble, f"Action: {name}\nAction Input: {written}", Bad(reason, name))


def _named(trouble: str, name: str) -> Case:
    """A way to write the name of fire_recognition."""
    return _only(trouble, f"Action: {name}\nAction Input: /tmp/1.jpg", FIRE)


_LAYOUT = [
    _only("plain call", LOOK, PARIS),
    _case("thought before the call", f"Thought: I look.\n{LOOK}", "I look.", PARIS),
    _case(
        "blank lines between all parts",
        "Thought: I need to use the fire\\_recognition API.\n\nAction: fire_recognition\n\nAction Input: /tmp/1.jpg\n\n"
        "Observation:\n",
        "I need to use the fire\\_recognition API.",
        FIRE,
    ),
    _only("stop string left at the end", f"{RING}\nObservation:", ALERT),
    _only("stop string with its newline", f"{RING}\nObservation:\n", ALERT),
    _only("invented result", f"{RING}\nObservation: ok\nFinal Answer: ok", ALERT),
    _only("invented result and further call", f"{RING}\nObservation: ok\n{PHONE}", ALERT),
    _only("two parallel calls", f"{RING}\n{PHONE}\nObservation: a", ALERT, POLICE),
    _only("same call twice", f"{RING}\n{RING}", ALERT, ALERT),
    _case("thought between parallel calls", f"Thought: a\n{RING}\nThought: b\n{PHONE}", "a\nb", ALERT, POLICE),
    _case("prose before, without a marker", f"Let me look.\n\n{LOOK}", "Let me look.", PARIS),
    _case("prose after the call", f"{LOOK}\n\nThis asks for the weather.", "This asks for the weather.", PARIS),
    _case("prose on both sides", f"Before.\n{LOOK}\nAfter.", "Before.\nAfter.", PARIS),
    _case("prose behind the brace", f"{LOOK} as you asked.", "as you asked.", PARIS),
    _only("result on the call's own line", f"{RING} Observation: on", ALERT),
    _only("input on the next line", 'Action: get_weather\nAction Input:\n{"city": "Paris"}', PARIS),
    _only("name on the next line", 'Action:\nget_weather\nAction Input: {"city": "Paris"}', PARIS),
    _only("all on one line", 'Action: get_weather Action Input: {"city": "Paris"}', PARIS),
    _only("no space after the colons", 'Action:get_weather\nAction Input:{"city":"Paris"}', PARIS),
    _only("space before the colon", 'Action : get_weather\nAction Input : {"city": "Paris"}', PARIS),
    _only("full-width colons", 'Action：get_weather\nAction Input：{"city": "Paris"}', PARIS),
    _only("windows line ends", 'Action: get_weather\r\nAction Input: {"city": "Paris"}\r\nObservation:', PARIS),
    _only("lower-case markers", 'action: get_weather\naction input: {"city": "Paris"}', PARIS),
    _only("upper-case markers", 'ACTION: get_weather\nACTION INPUT: {"city": "Paris"}\nOBSERVATION:', PARIS),
    _only("bold markers", '**Action:** get_weather\n**Action Input:** {"city": "Paris"}', PARIS),
    _only("bold words, plain colons", '**Action**: get_weather\n**Action Input**: {"city": "Paris"}', PARIS),
    _only("headings", '### Action: get_weather\n### Action Input: {"city": "Paris"}', PARIS),
    _only("numbered markers", 'Action 1: get_weather\nAction Input 1: {"city": "Paris"}\nObservation 1:', PARIS),
    _only("indented markers", '  Action: get_weather\n  Action Input: {"city": "Paris"}', PARIS),
    _only("trailing spaces", 'Action: get_weather  \nAction Input: {"city": "Paris"}  \n', PARIS),
    _only("tabs", 'Action:\tget_weather\nAction Input:\t{"city": "Paris"}', PARIS),
    _only("underscore in the marker", 'Action: get_weather\nAction_Input: {"city": "Paris"}', PARIS),
    _case("thought over several lines", f"Thought: first\nsecond\n\nthird\n{LOOK}", "first\nsecond\n\nthird", PARIS),
    _only("empty thought", f"Thought:\n{LOOK}", PARIS),
    _case("leading newlines", f"\n\nThought: a\n{RING}", "a", ALERT),
    _input("an extra closing brace", '{"city": "Paris"}}', PARIS),
    _input("an extra backtick", '{"city": "Paris"}`\nObservation:', PARIS),
]


_PROSE = [
    _only("nothing", ""),
    _kept("plain prose", "Hello! How can I help?"),
    _kept("trailing newline of prose", "Hello.\n"),
    _kept("Action inside a sentence", "My plan of Action: ask first."),
    _kept("Action at a line start", "Action: we should leave.\nNow."),
    _kept("Action as the last line", "Think.\nAction: leave the building"),
    _kept("Action in a list", "- Action: leave\n- Observation: smoke"),
    _kept("Observation without a call", "Observation: the sky is blue."),
    _kept("Action Input without an Action", 'Action Input: {"a": 1}'),
    _kept("a word that begins like a marker", "Actions speak.\nThoughtful."),
    _kept("a marker's beginning at the end", "I saw an\nAct"),
    _kept("a marker without its colon", "Action\nspeaks"),
    _kept("an Action line that never ends", "Action: " + "no " * 200 + "\nend"),
    _kept("indented code", "So:\n         Action: fire_alert\nok"),
    _kept("JSON in prose", 'Use {"city": "Paris"}.'),
    _kept("tool mentioned, not called", "I could use get_weather."),
    _kept(
        "known tool, arguments needed, no input", "Action: get_weather\nI think.", Bad("no Action Input", "get_weather")
    ),
    _only("white space only", " \n "),
]


_FINAL = [
    _case("final answer", "Final Answer: 42", "42"),
    _case("set phrase before it", "Thought: I now know the final answer\nFinal Answer: 42", "42"),
    _case("set phrase with a full stop", "Thought: I now know the final answer.\n\nFinal Answer: 42", "42"),
    _case("set phrase in Chinese", "Thought: 我现在知道最终答案了\nFinal Answer: 四十二", "四十二"),
    _case(
        "set phrase that goes on",
        "Thought: I now know the final answer to this.\nFinal Answer: 42",
        "I now know the final answer to this.\n42",
    ),
    _case("set phrase without an answer", "Thought: I now know the final answer", "I now know the final answer"),
    _case("own thought before it", "Thought: It burns.\n\nFinal Answer: Yes.", "It burns.\nYes."),
    _case("answer on the next line", "Final Answer:\n\nParis", "Paris"),
    _case("answer over several lines", "Final Answer: a\n\nb\n", "a\n\nb\n"),
    _case("Action inside the answer", f"Final Answer: write\n{RING}", f"write\n{RING}"),
    _case("Observation inside the answer", "Final Answer: see\nObservation: x", "see\nObservation: x"),
    _case("bold marker", "**Final Answer:** 42", "42"),
    _case("list after the marker", "Final Answer:\n* a\n* b", "* a\n* b"),
    _case("call, then an answer without a result", f"{RING}\nFinal Answer: done", "done", ALERT),
    _case(
        "call and set phrase", "Action: fire_alert\nThought: I now know the final answer\nFinal Answer: ok", "ok", ALERT
    ),
    _case("lower case", "final answer: 42", "42"),
    _case("think-like text in the answer", "Final Answer: <think>x</think>", "<think>x</think>"),
]


_ECHO = [
    _case("echo of the question", f"Question: What burns?\n\nThought: I look.\n{RING}", "I look.", ALERT),
    _only("echo, then an action", f"Question: What burns?\n{RING}", ALERT),
    _kept("question that is the reply", "Question: do you mean Paris?"),
    _kept("question, then prose", "Question: which?\nTell me."),
    _case("question later on", "Thought: hm\nQuestion: which?\nAction: fire_alert", "hm\nQuestion: which?", ALERT),
]


_THINK = [
    _case("think block that mentions a call", f"<think>\n{RING}\n</think>\n{PHONE}", None, POLICE, thought=RING),
    _case(
        "think block that mentions a result", "<think>\nObservation: x\n</think>\n\nHi", "Hi", thought="Observation: x"
    ),
    _case(
        "think block with a final answer in it",
        "<think>\nFinal Answer: 1\n</think>\nFinal Answer: 2",
        "2",
        thought="Final Answer: 1",
    ),
    _case("think block never closed", f"<think>\n{RING}", None, thought=RING),
    _case("marker right behind the block", "<think>a</think>Action: fire_alert", None, ALERT, thought="a"),
    _case(
        "think block after a thought",
        "Thought: a\n<think>\nObservation:\n</think>\nAction: fire_alert",
        "a",
        ALERT,
        thought="Observation:",
    ),
    _case("two think blocks", "<think>\na\n</think>\n\n<think>b</think>c\nd", "c\nd", thought="a\nb"),
    _case("empty think block", "<think>\n\n</think>\n\nHi", "Hi"),
    _case("prose around a think block", "a\n<think>b</think>\n\nc", "a\nc", thought="b"),
    _case("the word in prose", "Use the <think> tag.\nAction: fire_alert", "Use the <think> tag.", ALERT),
]


_NAMES = [
    _named("escaped underscore", "fire\\_recognition"),
    _only(
        "name written as a sentence",
        "Action: Use the fire\\_recognition API to analyze the image.\n\nAction Input: /tmp/1.jpg\n\nObservation:",
        FIRE,
    ),
    _named("name and the word API", "fire_recognition API"),
    _named("name in backticks", "`fire_recognition`"),
    _named("name in quotes", '"fire_recognition"'),
    _named("name in bold", "**fire_recognition**"),
    _named("name in brackets", "[fire_recognition]"),
    _named("name with a full stop", "fire_recognition."),
    _named("name with parentheses", "fire_recognition()"),
    _named("other capitals", "Fire_Recognition"),
    _named("spaces for underscores", "fire recognition"),
    _named("hyphens for underscores", "fire-recognition"),
    _input("Chinese name", '{"城市": "北京"}', ("查询天气", {"城市": "北京"})),
    _named("Chinese sentence", "调用 fire_recognition 接口"),
    _kept(
        "sentence that names two tools",
        "Action: fire_alert or call_police\nAction Input: {}",
        Bad("unknown tool", "fire_alert or call_police"),
    ),
    _case(
        "unknown tool",
        'Action: open_door\nAction Input: {"door": 1}\nObservation: x',
        'Action: open_door\nAction Input: {"door": 1}',
        Bad("unknown tool 'open_door'", "open_door"),
    ),
    _case(
        "unknown tool after a thought, before a good call",
        f"Thought: a\nAction: open_door\nAction Input: {{}}\n{RING}",
        "a\nAction: open_door\nAction Input: {}",
        Bad("unknown tool", "open_door"),
        ALERT,
    ),
    _kept("no name at all", 'Action:\nAction Input: {"a": 1}', Bad("unknown tool")),
    _refused("a longer name that contains a tool's", "fire_alert_all", "{}", "unknown tool"),
    _kept("no tools declared", RING, Bad("unknown tool", "fire_alert"), tools=()),
    _case("tools not known", 'Action: any.thing\nAction Input: {"a": 1}', None, ("any.thing", {"a": 1}), tools=None),
    _kept("tools not known, prose", "Action: do any thing\nfine", tools=None),
]


def _inline(trouble: str, written: str, *calls: Made) -> Case:
    """A call on the line of its name."""
    return _only(trouble, f"Action: {written}\nObservation:", *calls)


_INLINE = [
    _inline("object in parentheses", 'get_weather({"city": "Paris"})', PARIS),
    _inline("keyword arguments", 'get_weather(city="Paris", days=3)', ("get_weather", {"city": "Paris", "days": 3})),
    _inline("keyword arguments with colons", "get_weather(city: 'Paris')", PARIS),
    _inline("one argument", 'get_weather("Paris")', PARIS),
    _inline("arguments in order", "move(1, y=2)", ("move", {"x": 1, "y": 2})),
    _inline("bare text in parentheses", "get_weather(Paris)", PARIS),
    _inline("bare text in square brackets", "get_weather[L'Aquila]", ("get_weather", {"city": "L'Aquila"})),
    _inline("quoted text in square brackets", 'get_weather["Paris"]', PARIS),
    _inline("full-width parentheses", "查询天气（北京）", ("查询天气", {"城市": "北京"})),
    _inline("call in backticks", '`get_weather({"city": "Paris"})`', PARIS),
    _inline("object behind the name", 'get_weather {"city": "Paris"}', PARIS),
    _inline("object behind a colon", 'get_weather: {"city": "Paris"}', PARIS),
    _inline("object in a sentence", 'call get_weather with {"city": "Paris"}', PARIS),
    _inline("call over several lines", 'get_weather(\n    city="Paris",\n)', PARIS),
    _inline("call in a fence", '```\nget_weather({"city": "Paris"})\n```', PARIS),
    _inline("object that names the tool", '{"name": "get_weather", "arguments": {"city": "Paris"}}', PARIS),
    _inline(
        "object that names the tool, in a fence",
        '```json\n{\n  "action": "get_weather",\n  "action_input": {"city": "Paris"}\n}\n```',
        PARIS,
    ),
    _inline("empty parentheses, then an input", 'get_weather()\nAction Input: {"city": "Paris"}', PARIS),
    _inline("arguments, then an empty input", 'get_weather("Paris")\nAction Input: None', PARIS),
    _inline("two calls on two lines", 'get_weather("Paris")\nAction: fire_alert()', PARIS, ALERT),
    _inline(
        "triple quotes over lines",
        'get_weather(city="""print("x")\nprint(1)""")',
        ("get_weather", {"city": 'print("x")\nprint(1)'}),
    ),
    _kept("triple quotes never closed", 'Action: get_weather(city="""a()', Bad("not complete", "get_weather")),
    _kept("bare text behind a colon", "Action: get_weather: Paris", Bad("line of the tool", "get_weather")),
    _kept("quoted text behind the name", 'Action: get_weather "Paris"', Bad("line of the tool", "get_weather")),
    _kept("prose behind the name", "Action: get_weather tells it"),
    _kept("prose behind a word and a colon", "Action: Move: go two steps."),
    _case("bold marker, call on its line", '**Action:** get_weather("Paris")', None, PARIS),
    _case("prose behind the call", 'Action: get_weather("Paris") to see\nAfter.', "to see\nAfter.", PARIS),
    _kept("empty parentheses, argument needed", "Action: get_weather()", Bad("no arguments", "get_weather")),
    _kept("list in parentheses", "Action: get_weather([])", Bad("no JSON object", "get_weather")),
    _kept("too many arguments", "Action: move(1, 2, 3)", Bad("no parameters of their own", "move")),
    _kept("parenthesis never closed", 'Action: get_weather({"city": "Paris"', Bad("not complete", "get_weather")),
    _case(
        "parenthesis broken off by a marker",
        'Action: get_weather({"city": "Paris"\nObservation: x',
        'Action: get_weather({"city": "Paris"',
        Bad("not complete", "get_weather"),
    ),
    _kept("two calls on one line", 'Action: get_weather("a"), fire_alert()', Bad("more than one", "get_weather")),
    _kept("unknown tool with parentheses", 'Action: open_door({"door": 1})', Bad("unknown tool", "open_door")),
    _kept("unknown tool alone", "Action: open_door\nNow.", Bad("unknown tool", "open_door")),
    _case(
        "unknown tool and a result", "Action: search\nObservation: x", "Action: search", Bad("unknown tool", "search")
    ),
    _kept("object that names no tool", 'Action: {"city": "Paris"}', Bad("no name")),
    _kept("parentheses in prose", "Action: leave the building (now)"),
    _kept("a tool explained", "Action: get_weather (the tool) is what we need.\nOk"),
    _kept("a tool's signature in a sentence", "Action: get_weather(city) gives the weather"),
    _kept("a number in parentheses behind a tool", "Action: rerun get_weather (2)"),
    _kept("an equation", "Action: f(x) = 3"),
    _case("call inside the answer", "Final Answer: use\nAction: fire_alert()", "use\nAction: fire_alert()"),
    _kept("cut in the parentheses", 'Action: get_weather({"city": "Par', cut=True),
    _case("cut after the parentheses", 'Action: get_weather({"city": "Paris"})\nObs', None, PARIS, cut=True),
]


_NO_TOOL = [
    *(
        _case(f"no tool, {name!r}", f"Thought: a\nAction: {name}\nThought: b\nFinal Answer: c", "a\nb\nc")
        for name in ("None", "none", "N/A", "null", "None.", "`None`", "无", "")
    ),
    *(
        _case(f"{name!r} for no tool", f"Thought: a\nAction: {name}", "a", dialects=(*LINES, "agentfabric"))
        for name in (
            *("finish", "Finish", "No action", "None needed", "no tool is required.", "No action needed."),
            *("None (no tool needed)", "(none)", "[None]", "-", "n.a.", "not applicable", "不需要", "无需调用工具。"),
        )
    ),
    _only("no tool at all", "Action: None"),
    _only("no tool and no input", "Action: None\nAction Input: None\nObservation:"),
    _only("no tool and no input, explained", "Action: None needed\nAction Input: N/A (no input needed)\nObservation:"),
    _only("dashes for tool and input", "Action: -\nAction Input: -"),
    _case("no tool, prose after it", "Thought: a\nAction: None\nIt is sunny.", "a\nIt is sunny."),
    _case("bold marker, no tool", "**Action:** None\n**Final Answer:** 42", "42"),
    _case("full-width colon, no tool", "action： none\nFinal Answer: 42", "42"),
    _kept(
        "no tool, but arguments", 'Action: None\nAction Input: {"city": "Paris"}', Bad("unknown tool 'None'", "None")
    ),
    _kept("none in a sentence", "Action: none of these apply"),
    _kept("a list of facts", "State: on\nAction: None\nOwner: me"),
    _case("a tool of that name", "Action: none", None, ("none", {}), tools=(_tool("none"),)),
]


_LITERALS = [
    _input("single quotes", "{'city': 'Paris'}", PARIS),
    _weather(
        "True and None", "{'city': 'Paris', 'metric': True, 'until': None}", city="Paris", metric=True, until=None
    ),
    _weather("True in double quotes' company", '{"city": "Paris", "metric": False}', city="Paris", metric=False),
    _input("trailing comma", '{"city": "Paris",}', PARIS),
    _input("trailing comma in a list", '{"numbers": [1, 2,],}', ("total", {"numbers": [1, 2]})),
    _weather("apostrophe in single quotes", "{'city': 'L'Aquila'}", city="L'Aquila"),
    _weather("apostrophe in Python's double quotes", "{'city': \"L'Aquila\"}", city="L'Aquila"),
    _weather("unescaped inner quotes", '{"city": "the "big" one"}', city='the "big" one'),
    _weather("escaped quotes", '{"city": "a \\"b\\" c"}', city='a "b" c'),
    _weather("escaped apostrophe", "{'city': 'L\\'Aquila'}", city="L'Aquila"),
    _input("keys without quotes", '{city: "Paris"}', PARIS),
    _input("curly quotes", "{“city”: “Paris”}", PARIS),
    _input("a tuple", "{'numbers': (1, 2)}", ("total", {"numbers": [1, 2]})),
    _weather("escaped underscore in a key and a value", '{"ci\\_ty": "a\\_b", "city": "x"}', ci_ty="a_b", city="x"),
    _input("code fence", '```json\n{"city": "Paris"}\n```\nObservation:', PARIS),
    _only("fence on the next line", 'Action: get_weather\nAction Input:\n```\n{"city": "Paris"}\n```', PARIS),
    _input("single backticks", '`{"city": "Paris"}`', PARIS),
    _case(
        "fence, then prose", 'Action: get_weather\nAction Input: ```json\n{"city": "Paris"}\n```\nDone.', "Done.", PARIS
    ),
    _weather("pretty-printed", '{\n  "city": "Paris",\n  "days": 2\n}\nObservation:', city="Paris", days=2),
    _weather("nested braces", '{"city": "a", "where": {"zip": "{}"}}', city="a", where={"zip": "{}"}),
    _weather("brace inside a string", '{"city": "}"}', city="}"),
    _weather("quote and brace inside a string", '{"city": "\\"}"}\nObservation:', city='"}'),
    _weather("backslash at a string's end", '{"city": "C:\\\\"}', city="C:\\"),
    _input(
        "Windows path, badly escaped",
        "{'image': 'C:\\data\\x.jpg'}",
        ("fire_recognition", {"image": "C:\\data\\x.jpg"}),
    ),
    _weather("Observation inside a string", '{"city": "a Observation: b"}', city="a Observation: b"),
    _weather("Observation at a line start inside a string", '{"city": "a\nObservation: b"}', city="a\nObservation: b"),
    _weather(
        "Action inside a string", '{"city": "x\nAction: y\nAction Input: {}"}', city="x\nAction: y\nAction Input: {}"
    ),
    _weather("newline inside a string", '{"city": "a\nb"}', city="a\nb"),
    _weather("unicode escapes", '{"city": "\\u5317\\u4eac"}', city="北京"),
    _weather("surrogate pair", '{"city": "\\ud83d\\ude00"}', city="😀"),
    _weather("surrogate pair in single quotes", "{'city': '\\ud83d\\ude00'}", city="😀"),
    _weather("lone surrogate", '{"city": "\\ud83d"}', city="\ufffd"),
    _weather("emoji and Chinese as they are", '{"city": "北京😀"}', city="北京😀"),
    _input("duplicate key", '{"city": "a", "city": "Paris"}', PARIS),
    _refused("NaN", "get_weather", '{"city": "a", "limit": NaN}', "no JSON object"),
    _refused("number out of range", "get_weather", '{"city": "a", "limit": 1e999}', "out of range"),
    _refused("missing comma", "get_weather", '{"city": "a" "days": 1}', "no JSON object"),
    _refused("bare word as a value", "get_weather", "{city: Paris}", "no JSON object"),
    _weather("postcode with a zero", "{'city': 02139}", city="02139"),
    _refused("nested too deeply", "get_weather", '{"city": ' + DEEP + "}", "deeper"),
    _weather("triple quotes", '{"city": """print(1)\nprint("x")""", "days": 5}', city='print(1)\nprint("x")', days=5),
    _weather("triple single quotes", "{'days': 5, 'city': '''it's'''}", days=5, city="it's"),
    _weather("triple quotes around braces", '{"city": """a } b { c"""}', city="a } b { c"),
    _weather("triple quotes around lines", '{"city": """\nprint(1)\n"""\n}', city="\nprint(1)\n"),
    _weather("triple quotes around nothing", '{"city": """""", "days": 5}', city="", days=5),
    _weather("triple quotes after a quote", '{"city": """He said "hi""""}', city='He said "hi"'),
    _weather(
        "triple quotes around a docstring",
        '{"city": """def f():\n    """Doc."""\n    return 1"""}',
        city='def f():\n    """Doc."""\n    return 1',
    ),
    _refused("triple quotes never closed", "get_weather", '{"city": """Oslo"}', "not complete"),
    _refused("comment", "get_weather", '{"city": "a", // where\n "days": 1}', "no JSON object"),
    _input("object in a JSON string", '"{\\"city\\": \\"Paris\\"}"', PARIS),
    _input("object after prose", 'the input is {"city": "Paris"}.', PARIS),
    _input("word json before the object", 'json {"city": "Paris"}', PARIS),
]


_BARE = [
    _input("bare string", "/tmp/1.jpg", FIRE),
    _input("quoted string", '"/tmp/1.jpg"', FIRE),
    _input("single-quoted string", "'/tmp/1.jpg'", FIRE),
    _input("backticked string", "`/tmp/1.jpg`", FIRE),
    _input("named bare string", "image=/tmp/1.jpg", FIRE),
    _weather("two named values", 'city="Paris", days=3', city="Paris", days=3),
    _weather("two named values without quotes", "city: Paris, days: 3", city="Paris", days=3),
    _weather("named values in parentheses", '(city="Paris")', city="Paris"),
    _input("named values for two parameters", "x=1, y=2", ("move", {"x": 1, "y": 2})),
    _input("one dot for a path", ".", ("list_files", {"path": "."})),
    _input("named and quoted", "image: '/tmp/1.jpg'", FIRE),
    _input("bare string over two lines", "a\nb\nObservation:", ("fire_recognition", {"image": "a\nb"})),
    _input("bare string with a colon", "http://x/1.jpg", ("fire_recognition", {"image": "http://x/1.jpg"})),
    _input("bare string with markup", "<b>1</b>", ("fire_recognition", {"image": "<b>1</b>"})),
    _input("bare Chinese string", "北京\nObservation:", ("查询天气", {"城市": "北京"})),
    _input("bare number for a string", "42", ("fire_recognition", {"image": "42"})),
    _input("bare number for an integer", "42", ("square", {"n": 42})),
    _refused("bare word for an integer", "square", "many", "no JSON object"),
    _input("bare list for a list", "[1, 2.5]", ("total", {"numbers": [1, 2.5]})),
    _refused("empty list for a string", "get_weather", "[]", "no JSON object"),
    _refused("list for a string", "fire_recognition", '["/tmp/1.jpg"]', "no JSON object"),
    _refused("list in a JSON string for a string", "fire_recognition", '"[1, 2]"', "no JSON object"),
    _input("markdown link for a string", "[a](b)", ("fire_recognition", {"image": "[a](b)"})),
    _input("bare triple quotes", '"""/tmp/1.jpg"""', FIRE),
    _refused("bare triple quotes never closed", "fire_recognition", '"""/tmp/1.jpg', "not complete"),
    _input(
        "bare code with a docstring",
        '"""Doc."""\nprint(1)',
        ("fire_recognition", {"image": '"""Doc."""\nprint(1)'}),
    ),
    _refused("bare string for two parameters", "move", "1, 2", "no JSON object"),
    _input("bare string for an optional parameter", "/tmp", ("list_files", {"path": "/tmp"})),
    _input("one required of several", "Paris", PARIS),
    _input("cut stop string", "/tmp/1.jpg\nObserv", FIRE),
    _input("cut stop string, one letter", "/tmp/1.jpg\nO", FIRE),
    _input("cut stop string behind an object", '{"city": "Paris"}\nObserva', PARIS),
    _only(
        "bare, then a second call",
        "Action: fire_recognition\nAction Input: /tmp/1.jpg\nAction: fire_alert",
        FIRE,
        ALERT,
    ),
]


_EMPTY = [
    *(
        _only(f"no parameters, input {text!r}", f"Action: fire_alert\nAction Input: {text}\nObservation:", ALERT)
        for text in (
            "",
            "{}",
            "[]",
            "None",
            "null",
            "N/A",
            "无",
            '""',
            "''",
            "`{}`",
            "```json\n{}\n```",
            "none.",
            "{ }",
        )
    ),
    _only("no parameters, no input", "Action: fire_alert", ALERT),
    _only("no parameters, no input, result", "Action: fire_alert\nObservation: ringing", ALERT),
    _case("no parameters, no input, prose", "Action: fire_alert\nIt rings.", "It rings.", ALERT),
    _only("optional string, empty list", "Action: list_files\nAction Input: []", ("list_files", {})),
    _only("optional parameters only", "Action: list_files\nAction Input:", ("list_files", {})),
    _case(
        "required parameter, no input",
        "Action: square\nAction Input:\nObservation:",
        "Action: square\nAction Input:",
        Bad("no arguments", "square"),
    ),
    _refused("required parameter, None", "fire_recognition", "None", "no arguments"),
    _refused("no parameters, a bare string", "fire_alert", "ring it", "no JSON object"),
    _input("undeclared argument is kept", '{"loud": true}', ("fire_alert", {"loud": True})),
    _input("missing required argument is the tool's to refuse", '{"x": 1}', ("move", {"x": 1})),
]


_COERCION = [
    _weather("string for an integer", '{"city": "a", "days": "5"}', city="a", days=5),
    _weather("whole float for an integer", '{"city": "a", "days": 5.0}', city="a", days=5),
    _weather("float for an integer stays", '{"city": "a", "days": 5.5}', city="a", days=5.5),
    _weather("word for an integer stays", '{"city": "a", "days": "five"}', city="a", days="five"),
    _weather("zero-led string for an integer stays", '{"city": "a", "days": "05"}', city="a", days="05"),
    _weather("string for a number", '{"city": "a", "limit": "2.5"}', city="a", limit=2.5),
    _weather("string with lost digits stays", '{"city": "a", "limit": "2.50"}', city="a", limit="2.50"),
    _weather("string for a boolean", '{"city": "a", "metric": "True"}', city="a", metric=True),
    _weather("yes for a boolean stays", '{"city": "a", "metric": "yes"}', city="a", metric="yes"),
    _weather("number for a string", '{"city": 75001}', city="75001"),
    _weather("boolean for a string stays", '{"city": true}', city=True),
    _weather("null for a string stays", '{"city": null}', city=None),
    _weather("list as a string", '{"city": "a", "tags": "[1, 2]"}', city="a", tags=[1, 2]),
    _weather("strings inside a list", '{"city": "a", "tags": ["1", "2"]}', city="a", tags=[1, 2]),
    _weather("object as a string", '{"city": "a", "where": "{\\"zip\\": 1}"}', city="a", where={"zip": "1"}),
    _weather("string that looks like an object stays", '{"city": "{x}"}', city="{x}"),
    _weather("either of two types", '{"city": "a", "until": "7"}', city="a", until=7),
    _weather("null where null is allowed", '{"city": "a", "until": "null"}', city="a", until=None),
    _weather("choice among numbers", '{"city": "a", "level": "2"}', city="a", level=2),
]


_CUT = [
    _kept("cut in the name", "Action: fire_al", cut=True),
    _kept("cut after a whole name", "Action: fire_alert", cut=True),
    _kept("cut in the next marker", "Action: fire_alert\nAction In", cut=True),
    _case("cut in an object", f"Thought: a\n{PART}", f"a\n{PART}", cut=True),
    _kept("cut before the last brace", BROKEN, cut=True),
    _kept("cut in a bare string", "Action: fire_recognition\nAction Input: /tmp/1", cut=True),
    _case("cut after a whole call", LOOK, None, PARIS, cut=True),
    _case(
        "cut in the second call",
        f'{RING}\nAction: get_weather\nAction Input: {{"city',
        'Action: get_weather\nAction Input: {"city',
        ALERT,
        cut=True,
    ),
    _case("cut in a think block", "<think>\nActio", None, cut=True, thought="Actio"),
    _case("cut in the closing tag", "<think>a</thi", None, cut=True, thought="a</thi"),
    _case("cut in prose", "Thought: I now know the fin", "I now know the fin", cut=True),
    _kept("cut in an echo", "Question: What", cut=True),
    _refused("ended in an object", "get_weather", '{"city": "Par', "not complete"),
    _case("object broken off by a marker", f"{BROKEN}\nObservation: x", BROKEN, Bad("not complete", "get_weather")),
    _case("object broken off by the next call", f"{BROKEN}\n{RING}", BROKEN, Bad("not complete", "get_weather"), ALERT),
]


_LEFT_OVER = [
    *(
        _only(f"cut stop string, {rest!r}, behind an object", f"{LOOK}{rest}", PARIS)
        for rest in (
            "\nObserv ",
            "\nObs\n",
            "\nObservation \n\n",
            "\n\nObserv\n",
            "\n**Observ",
            "\nObservation 1",
            "\n观察",
        )
    ),
    *(
        _input(f"cut stop string, {rest!r}, behind a bare string", f"/tmp/1.jpg{rest}", FIRE)
        for rest in ("\nObserv ", "\nObserv\n", "\nObservation\n\n", "\n观察\n")
    ),
    _case("cut stop string behind prose", f"{LOOK}\nI look.\nObserv\n", "I look.", PARIS),
    _case("a word like a stop string, and more", f"{LOOK}\nObserv\nmore", "Observ\nmore", PARIS),
    _case("a word that begins like a stop string", f"{LOOK}\nObserver here.", "Observer here.", PARIS),
    _kept("a cut stop string without a call", "I saw.\nObserv "),
    *(
        _only(f"cut marker {rest!r} behind a call", f"{LOOK}\n{rest}", PARIS)
        for rest in ("Thou", "Final Ans", "<tool_resp", "</tool_c", "<|endofr", "<thi")
    ),
    *(
        _only(f"{rest!r} left over", f"{LOOK}\n{rest}", PARIS)
        for rest in (
            "```",
            "~~~\n",
            "```\nObserv",
            '"',
            "}",
            "</tool_call>\n</tool_call>",
            "<|im_end|>",
            "</s>",
            "```\nObservation:",
        )
    ),
    *(
        _case(f"{rest!r} left over, then prose", f"{LOOK}\n{rest}\nBye.", "Bye.", PARIS)
        for rest in ("```", "~~~", '"', "}", "</tool_call>")
    ),
    *(
        _input(f"{rest!r} left over behind a bare string", f"/tmp/1.jpg\n{rest}", FIRE)
        for rest in ("```", "~~~\n", '"', "}", "</tool_call>", "```\nObserv", "</s>")
    ),
    *(
        _input(f"{rest!r} left over on the line of a bare string", f"/tmp/1.jpg{rest}", FIRE)
        for rest in ("```", " ```\n", "</s>", "<|im_end|>", "<|im_end|>\n<|endoftext|>")
    ),
    _input("named triple quotes", 'image="""/tmp/1.jpg"""', FIRE),
    _refused("named triple quotes never closed", "get_weather", 'city="""a', "not complete"),
    _input("bare code that ends with a brace", "f() {\n}", ("fire_recognition", {"image": "f() {\n}"})),
    *(
        _case(
            f"a second object, {sign!r} before it",
            f'{LOOK}{sign}{{"city": "a"}}',
            f'{sign.strip()}{{"city": "a"}}',
            PARIS,
            Bad("more than one object", "get_weather"),
        )
        for sign in ("\n", ",", ";", " ")
    ),
    _case(
        "a second object cut short", f'{LOOK}\n{{"city": "a', '{"city": "a', PARIS, Bad("not complete", "get_weather")
    ),
    _only("a second input", f'{LOOK}\nAction Input: {{"city": "Paris"}}', PARIS, PARIS),
    _case("a comma, then prose", f"{LOOK}, as you asked.", ", as you asked.", PARIS),
    _case("a brace in prose behind a call", f"{LOOK}\n{{so}}", "{so}", PARIS),
    _only("call in a fence of its own", f"```\n{LOOK}\n```", PARIS),
    _only("call in a fence with a language", f"```text\n{LOOK}\n```\nObservation:", PARIS),
    _case("call in a fence, prose around it", f"Look:\n~~~\n{LOOK}\n~~~\nBye.", "Look:\nBye.", PARIS),
    _case("turn in a fence", f"```\nThought: a\n{LOOK}\n```\nBye.", "a\nBye.", PARIS),
    _case("answer in a fence", "```\nThought: a\nFinal Answer: `42`\n```\n", "a\n`42`"),
    _case("malformed call in a fence", f"```\n{BROKEN}", f"```\n{BROKEN}", Bad("not complete", "get_weather")),
    _case("code behind a call", f"{LOOK}\n```python\nx\n```\n", "```python\nx\n```\n", PARIS),
    _case("code without a language behind a call", f"{LOOK}\n```\nx\n```\n", "```\nx\n```\n", PARIS),
    _case("quoted prose behind a call", f'{LOOK}\n"Yes," he said.', '"Yes," he said.', PARIS),
    _kept("code in an answer", "So:\n```\nx = 1\n```\n"),
    _case("code in a final answer", "Final Answer: so:\n```\nx = 1\n```", "so:\n```\nx = 1\n```"),
    _kept("a fence that is never closed", "So:\n```js\n"),
]


def _finish(trouble: str, written: str, answer: str | None, *bad: Bad) -> Case:
    """This input of Finish; without an answer the text stays as it is."""
    text = f"Action: Finish\nAction Input: {written}"
    return Case(trouble, text, text if answer is None else answer, bad, TOOLBENCH)


_TOOLBENCH = [
    _case("Finish", f"Thought: ok\n{FINISH}", "ok\n42", dialects=TOOLBENCH),
    _case("Finish alone", FINISH, "42", dialects=TOOLBENCH),
    _finish("Finish over several lines", '{\n  "return_type": "give_answer",\n  "final_answer": "a\\nb"\n}', "a\nb"),
    _finish("Finish without a return type", '{"final_answer": "42"}', "42"),
    _case(
        "Finish with an arrow",
        'Action: Finish->give_answer\nAction Input: {"return_type": "give_answer", "final_answer": "42"}',
        "42",
        dialects=TOOLBENCH,
    ),
    _finish("Finish gives up", '{"return_type": "give_up_and_restart"}', None, Bad("give_up_and_restart", "Finish")),
    _finish(
        "Finish without an answer", '{"return_type": "give_answer"}', None, Bad("without a final_answer", "Finish")
    ),
    _kept(
        "Finish elsewhere is an unknown tool",
        'Action: Finish\nAction Input: {"final_answer": "42"}',
        Bad("unknown tool", "Finish"),
        dialects=LINES,
    ),
    _case("a call, then Finish", f"{RING}\nThought:\n{FINISH}", "42", ALERT, dialects=TOOLBENCH),
    _finish("Finish with an answer that is no string", '{"final_answer": [1, 2]}', "[1, 2]"),
    _kept(
        "Finish cut off",
        'Action: Finish\nAction Input: {"return_type": "give_answer", "final_answer": "4',
        dialects=TOOLBENCH,
        cut=True,
    ),
]


_AGENTFABRIC = [
    _case("Answer", " Answer: 晴天", "晴天", dialects=FABRIC),
    _case("what follows the prompt's own Answer", " It is sunny.", "It is sunny.", dialects=FABRIC),
    _case("Answer, then a further call", f"Answer: ok\n{RING}\nObservation: <result>", "ok", ALERT, dialects=FABRIC),
    _case("further call right after the prompt's Answer", f"\n{RING}", None, ALERT, dialects=FABRIC),
    _kept("Answer in other dialects is prose", "Answer: 42", dialects=(*LINES, "toolbench")),
]


def _hermes(trouble: str, text: str, content: str | None, *calls: Made, **more: Any) -> Case:
    return Case(trouble, text, content, calls, HERMES, **more)


def _in_tags(written: str) -> str:
    return f"<tool_call>\n{written}\n</tool_call>"


def _block(trouble: str, written: str, *calls: Made) -> Case:
    return _hermes(trouble, _in_tags(written), None, *calls)


def _weather_block(trouble: str, written: str, **arguments: Any) -> Case:
    """These arguments of get_weather."""
    return _block(trouble, f'{{"name": "get_weather", "arguments": {written}}}', ("get_weather", arguments))


def _bad_block(trouble: str, written: str, bad: Bad) -> Case:
    return _hermes(trouble, _in_tags(written), _in_tags(written), bad)


def _unreadable(trouble: str, name: str, written: str) -> Case:
    """These arguments of the tool are none."""
    block = f'{{"name": "{name}", "arguments": {written}}}'
    return _bad_block(trouble, block, Bad("no JSON object", name))


_PARIS = '{"name": "get_weather", "arguments": {"city": "Paris"}}'
_ALERT = '{"name": "fire_alert", "arguments": {}}'
_WEATHER = _in_tags(_PARIS)
_HERMES = [
    _hermes("plain call", _WEATHER, None, PARIS),
    _hermes("prose before and after", f"Before.\n{_WEATHER}\nAfter.", "Before.\nAfter.", PARIS),
    _hermes("two calls", f"{_WEATHER}\n{_WEATHER}", None, PARIS, PARIS),
    _hermes("two calls without a newline", f"{_WEATHER}{_WEATHER}", None, PARIS, PARIS),
    _hermes(
        "all on one line", '<tool_call>{"name":"get_weather","arguments":{"city":"Paris"}}</tool_call>', None, PARIS
    ),
    _block("arguments before the name", '{"arguments": {"city": "Paris"}, "name": "get_weather"}', PARIS),
    _block("parameters for arguments", '{"name": "get_weather", "parameters": {"city": "Paris"}}', PARIS),
    _block("arguments as a string", '{"name": "get_weather", "arguments": "{\\"city\\": \\"Paris\\"}"}', PARIS),
    _block("no arguments", '{"name": "fire_alert"}', ALERT),
    _block("null arguments", '{"name": "fire_alert", "arguments": null}', ALERT),
    _block("wrapped in function", '{"type": "function", "function": {"name": "fire_alert", "arguments": {}}}', ALERT),
    _block(
        "Python dict",
        "{'name': 'get_weather', 'arguments': {'city': 'Paris', 'metric': True}}",
        ("get_weather", {"city": "Paris", "metric": True}),
    ),
    _block("trailing comma", '{"name": "get_weather", "arguments": {"city": "Paris",},}', PARIS),
    _block("code fence inside", '```json\n{"name": "fire_alert", "arguments": {}}\n```', ALERT),
    _block("missing brace", '{"name": "get_weather", "arguments": {"city": "Paris"}', PARIS),
    _block("extra brace", '{"name": "get_weather", "arguments": {"city": "Paris"}}}', PARIS),
    _hermes("missing closing tag at the end", '<tool_call>\n{"name": "fire_alert", "arguments": {}}', None, ALERT),
    _hermes(
        "missing closing tag between calls",
        f'<tool_call>\n{{"name": "fire_alert", "arguments": {{}}}}\n{_WEATHER}',
        None,
        ALERT,
        PARIS,
    ),
    _block("two objects on two lines", f"{_PARIS}\n{_ALERT}", PARIS, ALERT),
    _block("two objects in an array", f"[{_PARIS}, {_ALERT}]", PARIS, ALERT),
    _block("one object in an array", f"[{_PARIS}]", PARIS),
    *(
        _block(f"two objects, {sign!r} between", f"{_PARIS}{sign}{_ALERT}", PARIS, ALERT)
        for sign in (",\n", ";", " ", "")
    ),
    _block("three objects in a fence", f"```json\n{_PARIS}\n{_ALERT}\n{_PARIS}\n```", PARIS, ALERT, PARIS),
    _hermes(
        "two objects, the second of an unknown tool",
        _in_tags(f'{_PARIS}\n{{"name": "open"}}'),
        '{"name": "open"}\n</tool_call>',
        PARIS,
        Bad("unknown tool", "open"),
    ),
    _hermes(
        "two objects, the first of an unknown tool",
        _in_tags(f'{{"name": "open"}}\n{_PARIS}'),
        '<tool_call>\n{"name": "open"}',
        Bad("unknown tool", "open"),
        PARIS,
    ),
    _hermes(
        "two objects, the second cut off",
        f'<tool_call>\n{_PARIS}\n{{"name": "fire',
        '{"name": "fire',
        PARIS,
        cut=True,
    ),
    _hermes(
        "a word between two objects",
        _in_tags(f"{_PARIS} and {_ALERT}"),
        f"and {_ALERT}\n</tool_call>",
        PARIS,
        Bad("more than a call"),
    ),
    _hermes(
        "rests between two objects",
        _in_tags(f'{_PARIS} "Paris"}}}}{_ALERT}'),
        f'"Paris"}}}}{_ALERT}\n</tool_call>',
        PARIS,
        Bad("more than a call"),
    ),
    _hermes("prose where the block was not closed", f"<tool_call>\n{_PARIS}\nI look.", "I look.", PARIS),
    _hermes(
        "prose and a block where the block was not closed",
        f"<tool_call>\n{_PARIS}\nAnd {_WEATHER}",
        "And",
        PARIS,
        PARIS,
    ),
    *(
        _hermes(f"{rest!r} left over", f"{_WEATHER}\n{rest}", None, PARIS)
        for rest in (
            "</tool_call>",
            "```",
            "~~~\n",
            '"',
            "}",
            "<|im_end|>",
            "</s>",
            "<tool_resp",
            "</tool_c",
            "<tool_c",
            "<|endofr",
        )
    ),
    *(
        _hermes(f"{rest!r} left over, then prose", f"{_WEATHER}\n{rest}\nBye.", "Bye.", PARIS)
        for rest in ("</tool_call>", "```", "~~~", '"', "}")
    ),
    _block("quote left over in the block", f'{_PARIS}\n"', PARIS),
    _hermes("block in a fence", f"Hi\n```json\n{_WEATHER}\n```\nBye.", "Hi\nBye.", PARIS),
    _hermes("code behind a block", f"{_WEATHER}\n```\nx\n```", "```\nx\n```", PARIS),
    _hermes("code with a language behind a block", f"{_WEATHER}\n```python\nx\n```", "```python\nx\n```", PARIS),
    _hermes("quoted prose behind a block", f'{_WEATHER}\n"Yes," he said.', '"Yes," he said.', PARIS),
    _hermes("invented result", f"{_WEATHER}\n<tool_response>\nsunny\n</tool_response>\nIt is sunny.", None, PARIS),
    _hermes("result's tag in prose", f"{_WEATHER}\nThe <tool_response> tag", "The <tool_response> tag", PARIS),
    _kept("result's tag without a call", "<tool_response>\nx", dialects=HERMES),
    _kept("code in an answer of hermes", "So:\n```\nx = 1\n```\n", dialects=HERMES),
    _weather_block("closing tag inside a string", '{"city": "</tool_call>"}', city="</tool_call>"),
    _weather_block("opening tag inside a string", '{"city": "<tool_call>"}', city="<tool_call>"),
    _weather_block("braces and quotes inside a string", '{"city": "{\\"}"}', city='{"}'),
    _weather_block("surrogate pair", '{"city": "\\ud83d\\ude00"}', city="😀"),
    _block(
        "key called name inside",
        '{"name": "get_weather", "arguments": {"city": "x", "name": "y"}}',
        ("get_weather", {"city": "x", "name": "y"}),
    ),
    _block("pretty-printed", '{\n  "name": "get_weather",\n  "arguments": {\n    "city": "Paris"\n  }\n}', PARIS),
    _kept("tag that begins in prose", "a <tool_ b <to", dialects=HERMES),
    _kept("less-than signs", "1 < 2 << 3 <", dialects=HERMES),
    _kept("stray closing tag", "a</tool_call>b", dialects=HERMES),
    *(
        _kept(f"tags that are talked about: {text!r}", text, dialects=HERMES)
        for text in (
            "I write `<tool_call>` and `</tool_call>` around it.",
            "<tool_call> and </tool_call> stand around it.",
            "The tags <tool_call></tool_call> are empty.",
            "A <tool_call>{json}</tool_call> block",
            "It opens with <tool_call>",
            "a <tool_call>  \n\nb",
            "a <tool_call> { b",
        )
    ),
    _hermes("tag that is talked about before a block", f"I use <tool_call>:\n{_WEATHER}", "I use <tool_call>:", PARIS),
    _hermes("tag in prose right before a block", f"See <tool_call>\n{_WEATHER}", "See <tool_call>", PARIS),
    _hermes("block within a line", f"So {_WEATHER}", "So", PARIS),
    _hermes("think block that mentions a call", f"<think>\n{_WEATHER}\n</think>\nHi", "Hi", thought=_WEATHER),
    _hermes("think block, then a call", f"<think>\nx\n</think>\n{_WEATHER}", None, PARIS, thought="x"),
    _kept("ReAct words in prose", "Action: fire_alert\nObservation: x", dialects=HERMES),
    _bad_block("unknown tool", '{"name": "open", "arguments": {}}', Bad("unknown tool 'open'", "open")),
    _bad_block("no JSON", "get_weather(Paris)", Bad("no JSON object")),
    _bad_block("no name", '{"arguments": {}}', Bad("no name")),
    _bad_block("arguments that are no object", '{"name": "move", "arguments": [1, 2]}', Bad("no JSON object", "move")),
    _unreadable("empty list for a string", "get_weather", "[]"),
    _unreadable("list for a string", "get_weather", '["Paris"]'),
    _unreadable("list as JSON text for a string", "get_weather", '"[]"'),
    _unreadable("true for a string", "get_weather", "true"),
    _unreadable("number for no parameters", "fire_alert", "5"),
    _block("empty list for no parameters", '{"name": "fire_alert", "arguments": []}', ALERT),
    _block("empty list for optional ones", '{"name": "list_files", "arguments": []}', ("list_files", {})),
    _block("list for a list", '{"name": "total", "arguments": [1, 2]}', ("total", {"numbers": [1, 2]})),
    _block("number for a string", '{"name": "get_weather", "arguments": 5}', ("get_weather", {"city": "5"})),
    _weather_block("triple quotes", '{"city": """a "b"\nc""", "days": 5}', city='a "b"\nc', days=5),
    _weather_block("triple single quotes", "{'city': '''it's <tool_call>'''}", city="it's <tool_call>"),
    _hermes(
        "triple quotes never closed",
        _in_tags('{"name": "get_weather", "arguments": {"city": """Oslo"}}'),
        _in_tags('{"name": "get_weather", "arguments": {"city": """Oslo"}}'),
        Bad("not complete"),
    ),
    _kept("empty block", "<tool_call></tool_call>", Bad("no JSON object"), dialects=HERMES),
    _hermes("block in a block", f"<tool_call>\n{_WEATHER}", "<tool_call>", Bad("no JSON object"), PARIS),
    _kept("cut in the object", '<tool_call>\n{"name": "get_weather", "argum', dialects=HERMES, cut=True),
    _kept("cut in the opening tag", "Hi <tool_c", dialects=HERMES, cut=True),
    _kept(
        "cut before the last brace", '<tool_call>\n{"name": "fire_alert", "arguments": {}', dialects=HERMES, cut=True
    ),
    _hermes(
        "cut in the closing tag", '<tool_call>\n{"name": "fire_alert", "arguments": {}}\n</tool', None, ALERT, cut=True
    ),
    _kept("ended in the object", '<tool_call>\n{"name": "fire_al', Bad("not complete"), dialects=HERMES),
    _weather_block("coercion", '{"city": "a", "days": "5"}', city="a", days=5),
    _block("bare string as arguments", '{"name": "fire_recognition", "arguments": "/tmp/1.jpg"}', FIRE),
]

CASES = [
    *(
        *_LAYOUT,
        *_PROSE,
        *_FINAL,
        *_ECHO,
        *_THINK,
        *_NAMES,
        *_INLINE,
        *_NO_TOOL,
        *_LITERALS,
        *_BARE,
        *_EMPTY,
        *_COERCION,
        *_CUT,
        *_LEFT_OVER,
    ),
    *(*_TOOLBENCH, *_AGENTFABRIC, *_HERMES),
]
