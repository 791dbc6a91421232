"""Written cases: what models really write, what a client gets for it, and what makes each one hard.

`REACT` cases hold for the whole ReAct family. A call is `(name, arguments)`; a malformed one `Bad(reason, name)`.
"""

from dataclasses import dataclass
from typing import Any

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


FIRE = ("fire_recognition", {"image": "/tmp/1.jpg"})
ALERT: tuple[str, dict[str, Any]] = ("fire_alert", {})
PARIS = ("get_weather", {"city": "Paris"})

_LAYOUT = [
    Case("plain call", 'Action: get_weather\nAction Input: {"city": "Paris"}', None, (PARIS,)),
    Case(
        "thought before the call",
        'Thought: I look.\nAction: get_weather\nAction Input: {"city": "Paris"}',
        "I look.",
        (PARIS,),
    ),
    Case(
        "blank lines between all parts",
        "Thought: I need to use the fire\\_recognition API.\n\nAction: fire_recognition\n\nAction Input: /tmp/1.jpg\n\n"
        "Observation:\n",
        "I need to use the fire\\_recognition API.",
        (FIRE,),
    ),
    Case("stop string left at the end", "Action: fire_alert\nAction Input: {}\nObservation:", None, (ALERT,)),
    Case("stop string with its newline", "Action: fire_alert\nAction Input: {}\nObservation:\n", None, (ALERT,)),
    Case("invented result", "Action: fire_alert\nAction Input: {}\nObservation: ok\nFinal Answer: ok", None, (ALERT,)),
    Case(
        "invented result and further call",
        "Action: fire_alert\nAction Input: {}\nObservation: ok\nAction: call_police\nAction Input: {}",
        None,
        (ALERT,),
    ),
    Case(
        "two parallel calls",
        "Action: fire_alert\nAction Input: {}\nAction: call_police\nAction Input: {}\nObservation: a",
        None,
        (ALERT, ("call_police", {})),
    ),
    Case(
        "same call twice",
        "Action: fire_alert\nAction Input: {}\nAction: fire_alert\nAction Input: {}",
        None,
        (ALERT, ALERT),
    ),
    Case(
        "thought between parallel calls",
        "Thought: a\nAction: fire_alert\nAction Input: {}\nThought: b\nAction: call_police\nAction Input: {}",
        "a\nb",
        (ALERT, ("call_police", {})),
    ),
    Case(
        "prose before, without a marker",
        'Let me look.\n\nAction: get_weather\nAction Input: {"city": "Paris"}',
        "Let me look.",
        (PARIS,),
    ),
    Case(
        "prose after the call",
        'Action: get_weather\nAction Input: {"city": "Paris"}\n\nThis asks for the weather.',
        "This asks for the weather.",
        (PARIS,),
    ),
    Case(
        "prose on both sides",
        'Before.\nAction: get_weather\nAction Input: {"city": "Paris"}\nAfter.',
        "Before.\nAfter.",
        (PARIS,),
    ),
    Case(
        "prose behind the brace",
        'Action: get_weather\nAction Input: {"city": "Paris"} as you asked.',
        "as you asked.",
        (PARIS,),
    ),
    Case("result on the call's own line", "Action: fire_alert\nAction Input: {} Observation: on", None, (ALERT,)),
    Case("input on the next line", 'Action: get_weather\nAction Input:\n{"city": "Paris"}', None, (PARIS,)),
    Case("name on the next line", 'Action:\nget_weather\nAction Input: {"city": "Paris"}', None, (PARIS,)),
    Case("all on one line", 'Action: get_weather Action Input: {"city": "Paris"}', None, (PARIS,)),
    Case("no space after the colons", 'Action:get_weather\nAction Input:{"city":"Paris"}', None, (PARIS,)),
    Case("space before the colon", 'Action : get_weather\nAction Input : {"city": "Paris"}', None, (PARIS,)),
    Case("full-width colons", 'Action：get_weather\nAction Input：{"city": "Paris"}', None, (PARIS,)),
    Case("windows line ends", 'Action: get_weather\r\nAction Input: {"city": "Paris"}\r\nObservation:', None, (PARIS,)),
    Case("lower-case markers", 'action: get_weather\naction input: {"city": "Paris"}', None, (PARIS,)),
    Case("upper-case markers", 'ACTION: get_weather\nACTION INPUT: {"city": "Paris"}\nOBSERVATION:', None, (PARIS,)),
    Case("bold markers", '**Action:** get_weather\n**Action Input:** {"city": "Paris"}', None, (PARIS,)),
    Case("bold words, plain colons", '**Action**: get_weather\n**Action Input**: {"city": "Paris"}', None, (PARIS,)),
    Case("headings", '### Action: get_weather\n### Action Input: {"city": "Paris"}', None, (PARIS,)),
    Case(
        "numbered markers", 'Action 1: get_weather\nAction Input 1: {"city": "Paris"}\nObservation 1:', None, (PARIS,)
    ),
    Case("indented markers", '  Action: get_weather\n  Action Input: {"city": "Paris"}', None, (PARIS,)),
    Case("trailing spaces", 'Action: get_weather  \nAction Input: {"city": "Paris"}  \n', None, (PARIS,)),
    Case("tabs", 'Action:\tget_weather\nAction Input:\t{"city": "Paris"}', None, (PARIS,)),
    Case("underscore in the marker", 'Action: get_weather\nAction_Input: {"city": "Paris"}', None, (PARIS,)),
    Case(
        "thought over several lines",
        'Thought: first\nsecond\n\nthird\nAction: get_weather\nAction Input: {"city": "Paris"}',
        "first\nsecond\n\nthird",
        (PARIS,),
    ),
    Case("empty thought", 'Thought:\nAction: get_weather\nAction Input: {"city": "Paris"}', None, (PARIS,)),
    Case("leading newlines", "\n\nThought: a\nAction: fire_alert\nAction Input: {}", "a", (ALERT,)),
    Case("an extra closing brace", 'Action: get_weather\nAction Input: {"city": "Paris"}}', None, (PARIS,)),
    Case("an extra backtick", 'Action: get_weather\nAction Input: {"city": "Paris"}`\nObservation:', None, (PARIS,)),
]

_PROSE = [
    Case("nothing", "", None),
    Case("plain prose", "Hello! How can I help?", "Hello! How can I help?"),
    Case("trailing newline of prose", "Hello.\n", "Hello.\n"),
    Case("Action inside a sentence", "My plan of Action: ask first.", "My plan of Action: ask first."),
    Case("Action at a line start", "Action: we should leave.\nNow.", "Action: we should leave.\nNow."),
    Case("Action as the last line", "Think.\nAction: leave the building", "Think.\nAction: leave the building"),
    Case("Action in a list", "- Action: leave\n- Observation: smoke", "- Action: leave\n- Observation: smoke"),
    Case("Observation without a call", "Observation: the sky is blue.", "Observation: the sky is blue."),
    Case("Action Input without an Action", 'Action Input: {"a": 1}', 'Action Input: {"a": 1}'),
    Case("a word that begins like a marker", "Actions speak.\nThoughtful.", "Actions speak.\nThoughtful."),
    Case("a marker's beginning at the end", "I saw an\nAct", "I saw an\nAct"),
    Case("a marker without its colon", "Action\nspeaks", "Action\nspeaks"),
    Case("an Action line that never ends", "Action: " + "no " * 200 + "\nend", "Action: " + "no " * 200 + "\nend"),
    Case("indented code", "So:\n         Action: fire_alert\nok", "So:\n         Action: fire_alert\nok"),
    Case("JSON in prose", 'Use {"city": "Paris"}.', 'Use {"city": "Paris"}.'),
    Case("tool mentioned, not called", "I could use get_weather.", "I could use get_weather."),
    Case(
        "known tool, arguments needed, no input",
        "Action: get_weather\nI think.",
        "Action: get_weather\nI think.",
        (Bad("no Action Input", "get_weather"),),
    ),
    Case("white space only", " \n ", None),
]

_FINAL = [
    Case("final answer", "Final Answer: 42", "42", dialects=REACT),
    Case("set phrase before it", "Thought: I now know the final answer\nFinal Answer: 42", "42"),
    Case("set phrase with a full stop", "Thought: I now know the final answer.\n\nFinal Answer: 42", "42"),
    Case("set phrase in Chinese", "Thought: 我现在知道最终答案了\nFinal Answer: 四十二", "四十二"),
    Case(
        "set phrase that goes on",
        "Thought: I now know the final answer to this.\nFinal Answer: 42",
        "I now know the final answer to this.\n42",
    ),
    Case("set phrase without an answer", "Thought: I now know the final answer", "I now know the final answer"),
    Case("own thought before it", "Thought: It burns.\n\nFinal Answer: Yes.", "It burns.\nYes."),
    Case("answer on the next line", "Final Answer:\n\nParis", "Paris"),
    Case("answer over several lines", "Final Answer: a\n\nb\n", "a\n\nb\n"),
    Case(
        "Action inside the answer",
        "Final Answer: write\nAction: fire_alert\nAction Input: {}",
        "write\nAction: fire_alert\nAction Input: {}",
    ),
    Case("Observation inside the answer", "Final Answer: see\nObservation: x", "see\nObservation: x"),
    Case("bold marker", "**Final Answer:** 42", "42"),
    Case("list after the marker", "Final Answer:\n* a\n* b", "* a\n* b"),
    Case(
        "call, then an answer without a result",
        "Action: fire_alert\nAction Input: {}\nFinal Answer: done",
        "done",
        (ALERT,),
    ),
    Case(
        "call and set phrase",
        "Action: fire_alert\nThought: I now know the final answer\nFinal Answer: ok",
        "ok",
        (ALERT,),
    ),
    Case("lower case", "final answer: 42", "42"),
    Case("think-like text in the answer", "Final Answer: <think>x</think>", "<think>x</think>"),
]

_ECHO = [
    Case(
        "echo of the question",
        "Question: What burns?\n\nThought: I look.\nAction: fire_alert\nAction Input: {}",
        "I look.",
        (ALERT,),
    ),
    Case("echo, then an action", "Question: What burns?\nAction: fire_alert\nAction Input: {}", None, (ALERT,)),
    Case("question that is the reply", "Question: do you mean Paris?", "Question: do you mean Paris?"),
    Case("question, then prose", "Question: which?\nTell me.", "Question: which?\nTell me."),
    Case("question later on", "Thought: hm\nQuestion: which?\nAction: fire_alert", "hm\nQuestion: which?", (ALERT,)),
]

_THINK = [
    Case(
        "think block that mentions a call",
        "<think>\nAction: fire_alert\nAction Input: {}\n</think>\nAction: call_police\nAction Input: {}",
        "<think>\nAction: fire_alert\nAction Input: {}\n</think>",
        (("call_police", {}),),
    ),
    Case(
        "think block that mentions a result",
        "<think>\nObservation: x\n</think>\n\nHi",
        "<think>\nObservation: x\n</think>\n\nHi",
    ),
    Case(
        "think block with a final answer in it",
        "<think>\nFinal Answer: 1\n</think>\nFinal Answer: 2",
        "<think>\nFinal Answer: 1\n</think>\n2",
    ),
    Case(
        "think block never closed",
        "<think>\nAction: fire_alert\nAction Input: {}",
        "<think>\nAction: fire_alert\nAction Input: {}",
    ),
    Case("marker right behind the block", "<think>a</think>Action: fire_alert", "<think>a</think>", (ALERT,)),
    Case(
        "think block after a thought",
        "Thought: a\n<think>\nObservation:\n</think>\nAction: fire_alert",
        "a\n<think>\nObservation:\n</think>",
        (ALERT,),
    ),
    Case("the word in prose", "Use the <think> tag.\nAction: fire_alert", "Use the <think> tag.", (ALERT,)),
]

_NAMES = [
    Case("escaped underscore", "Action: fire\\_recognition\nAction Input: /tmp/1.jpg", None, (FIRE,)),
    Case(
        "name written as a sentence",
        "Action: Use the fire\\_recognition API to analyze the image.\n\nAction Input: /tmp/1.jpg\n\nObservation:",
        None,
        (FIRE,),
    ),
    Case("name and the word API", "Action: fire_recognition API\nAction Input: /tmp/1.jpg", None, (FIRE,)),
    Case("name in backticks", "Action: `fire_recognition`\nAction Input: /tmp/1.jpg", None, (FIRE,)),
    Case("name in quotes", 'Action: "fire_recognition"\nAction Input: /tmp/1.jpg', None, (FIRE,)),
    Case("name in bold", "Action: **fire_recognition**\nAction Input: /tmp/1.jpg", None, (FIRE,)),
    Case("name in brackets", "Action: [fire_recognition]\nAction Input: /tmp/1.jpg", None, (FIRE,)),
    Case("name with a full stop", "Action: fire_recognition.\nAction Input: /tmp/1.jpg", None, (FIRE,)),
    Case("name with parentheses", "Action: fire_recognition()\nAction Input: /tmp/1.jpg", None, (FIRE,)),
    Case("other capitals", "Action: Fire_Recognition\nAction Input: /tmp/1.jpg", None, (FIRE,)),
    Case("spaces for underscores", "Action: fire recognition\nAction Input: /tmp/1.jpg", None, (FIRE,)),
    Case("hyphens for underscores", "Action: fire-recognition\nAction Input: /tmp/1.jpg", None, (FIRE,)),
    Case("Chinese name", 'Action: 查询天气\nAction Input: {"城市": "北京"}', None, (("查询天气", {"城市": "北京"}),)),
    Case("Chinese sentence", "Action: 调用 fire_recognition 接口\nAction Input: /tmp/1.jpg", None, (FIRE,)),
    Case(
        "sentence that names two tools",
        "Action: fire_alert or call_police\nAction Input: {}",
        "Action: fire_alert or call_police\nAction Input: {}",
        (Bad("unknown tool", "fire_alert or call_police"),),
    ),
    Case(
        "unknown tool",
        'Action: open_door\nAction Input: {"door": 1}\nObservation: x',
        'Action: open_door\nAction Input: {"door": 1}',
        (Bad("unknown tool 'open_door'", "open_door"),),
    ),
    Case(
        "unknown tool after a thought, before a good call",
        "Thought: a\nAction: open_door\nAction Input: {}\nAction: fire_alert\nAction Input: {}",
        "a\nAction: open_door\nAction Input: {}",
        (Bad("unknown tool", "open_door"), ALERT),
    ),
    Case(
        "no name at all",
        'Action:\nAction Input: {"a": 1}',
        'Action:\nAction Input: {"a": 1}',
        (Bad("unknown tool", None),),
    ),
    Case(
        "a longer name that contains a tool's",
        "Action: fire_alert_all\nAction Input: {}",
        "Action: fire_alert_all\nAction Input: {}",
        (Bad("unknown tool", "fire_alert_all"),),
    ),
    Case(
        "no tools declared",
        "Action: fire_alert\nAction Input: {}",
        "Action: fire_alert\nAction Input: {}",
        (Bad("unknown tool", "fire_alert"),),
        tools=(),
    ),
    Case("tools not known", 'Action: any.thing\nAction Input: {"a": 1}', None, (("any.thing", {"a": 1}),), tools=None),
    Case("tools not known, prose", "Action: do any thing\nfine", "Action: do any thing\nfine", tools=None),
]

_LITERALS = [
    Case("single quotes", "Action: get_weather\nAction Input: {'city': 'Paris'}", None, (PARIS,)),
    Case(
        "True and None",
        "Action: get_weather\nAction Input: {'city': 'Paris', 'metric': True, 'until': None}",
        None,
        (("get_weather", {"city": "Paris", "metric": True, "until": None}),),
    ),
    Case(
        "True in double quotes' company",
        'Action: get_weather\nAction Input: {"city": "Paris", "metric": False}',
        None,
        (("get_weather", {"city": "Paris", "metric": False}),),
    ),
    Case("trailing comma", 'Action: get_weather\nAction Input: {"city": "Paris",}', None, (PARIS,)),
    Case(
        "trailing comma in a list",
        'Action: total\nAction Input: {"numbers": [1, 2,],}',
        None,
        (("total", {"numbers": [1, 2]}),),
    ),
    Case(
        "apostrophe in single quotes",
        "Action: get_weather\nAction Input: {'city': 'L'Aquila'}",
        None,
        (("get_weather", {"city": "L'Aquila"}),),
    ),
    Case(
        "apostrophe in Python's double quotes",
        "Action: get_weather\nAction Input: {'city': \"L'Aquila\"}",
        None,
        (("get_weather", {"city": "L'Aquila"}),),
    ),
    Case(
        "unescaped inner quotes",
        'Action: get_weather\nAction Input: {"city": "the "big" one"}',
        None,
        (("get_weather", {"city": 'the "big" one'}),),
    ),
    Case(
        "escaped quotes",
        'Action: get_weather\nAction Input: {"city": "a \\"b\\" c"}',
        None,
        (("get_weather", {"city": 'a "b" c'}),),
    ),
    Case(
        "escaped apostrophe",
        "Action: get_weather\nAction Input: {'city': 'L\\'Aquila'}",
        None,
        (("get_weather", {"city": "L'Aquila"}),),
    ),
    Case("keys without quotes", 'Action: get_weather\nAction Input: {city: "Paris"}', None, (PARIS,)),
    Case("curly quotes", "Action: get_weather\nAction Input: {“city”: “Paris”}", None, (PARIS,)),
    Case("a tuple", "Action: total\nAction Input: {'numbers': (1, 2)}", None, (("total", {"numbers": [1, 2]}),)),
    Case(
        "escaped underscore in a key and a value",
        'Action: get_weather\nAction Input: {"ci\\_ty": "a\\_b", "city": "x"}',
        None,
        (("get_weather", {"ci_ty": "a_b", "city": "x"}),),
    ),
    Case(
        "code fence", 'Action: get_weather\nAction Input: ```json\n{"city": "Paris"}\n```\nObservation:', None, (PARIS,)
    ),
    Case("fence on the next line", 'Action: get_weather\nAction Input:\n```\n{"city": "Paris"}\n```', None, (PARIS,)),
    Case("single backticks", 'Action: get_weather\nAction Input: `{"city": "Paris"}`', None, (PARIS,)),
    Case(
        "fence, then prose",
        'Action: get_weather\nAction Input: ```json\n{"city": "Paris"}\n```\nDone.',
        "Done.",
        (PARIS,),
    ),
    Case(
        "pretty-printed",
        'Action: get_weather\nAction Input: {\n  "city": "Paris",\n  "days": 2\n}\nObservation:',
        None,
        (("get_weather", {"city": "Paris", "days": 2}),),
    ),
    Case(
        "nested braces",
        'Action: get_weather\nAction Input: {"city": "a", "where": {"zip": "{}"}}',
        None,
        (("get_weather", {"city": "a", "where": {"zip": "{}"}}),),
    ),
    Case(
        "brace inside a string",
        'Action: get_weather\nAction Input: {"city": "}"}',
        None,
        (("get_weather", {"city": "}"}),),
    ),
    Case(
        "quote and brace inside a string",
        'Action: get_weather\nAction Input: {"city": "\\"}"}\nObservation:',
        None,
        (("get_weather", {"city": '"}'}),),
    ),
    Case(
        "backslash at a string's end",
        'Action: get_weather\nAction Input: {"city": "C:\\\\"}',
        None,
        (("get_weather", {"city": "C:\\"}),),
    ),
    Case(
        "Windows path, badly escaped",
        "Action: fire_recognition\nAction Input: {'image': 'C:\\data\\x.jpg'}",
        None,
        (("fire_recognition", {"image": "C:\\data\\x.jpg"}),),
    ),
    Case(
        "Observation inside a string",
        'Action: get_weather\nAction Input: {"city": "a Observation: b"}',
        None,
        (("get_weather", {"city": "a Observation: b"}),),
    ),
    Case(
        "Observation at a line start inside a string",
        'Action: get_weather\nAction Input: {"city": "a\nObservation: b"}',
        None,
        (("get_weather", {"city": "a\nObservation: b"}),),
    ),
    Case(
        "Action inside a string",
        'Action: get_weather\nAction Input: {"city": "x\nAction: y\nAction Input: {}"}',
        None,
        (("get_weather", {"city": "x\nAction: y\nAction Input: {}"}),),
    ),
    Case(
        "newline inside a string",
        'Action: get_weather\nAction Input: {"city": "a\nb"}',
        None,
        (("get_weather", {"city": "a\nb"}),),
    ),
    Case(
        "unicode escapes",
        'Action: get_weather\nAction Input: {"city": "\\u5317\\u4eac"}',
        None,
        (("get_weather", {"city": "北京"}),),
    ),
    Case(
        "surrogate pair",
        'Action: get_weather\nAction Input: {"city": "\\ud83d\\ude00"}',
        None,
        (("get_weather", {"city": "😀"}),),
    ),
    Case(
        "surrogate pair in single quotes",
        "Action: get_weather\nAction Input: {'city': '\\ud83d\\ude00'}",
        None,
        (("get_weather", {"city": "😀"}),),
    ),
    Case(
        "lone surrogate",
        'Action: get_weather\nAction Input: {"city": "\\ud83d"}',
        None,
        (("get_weather", {"city": "\ufffd"}),),
    ),
    Case(
        "emoji and Chinese as they are",
        'Action: get_weather\nAction Input: {"city": "北京😀"}',
        None,
        (("get_weather", {"city": "北京😀"}),),
    ),
    Case("duplicate key", 'Action: get_weather\nAction Input: {"city": "a", "city": "Paris"}', None, (PARIS,)),
    Case(
        "NaN",
        'Action: get_weather\nAction Input: {"city": "a", "limit": NaN}',
        'Action: get_weather\nAction Input: {"city": "a", "limit": NaN}',
        (Bad("no JSON object", "get_weather"),),
    ),
    Case(
        "number out of range",
        'Action: get_weather\nAction Input: {"city": "a", "limit": 1e999}',
        'Action: get_weather\nAction Input: {"city": "a", "limit": 1e999}',
        (Bad("out of range", "get_weather"),),
    ),
    Case(
        "missing comma",
        'Action: get_weather\nAction Input: {"city": "a" "days": 1}',
        'Action: get_weather\nAction Input: {"city": "a" "days": 1}',
        (Bad("no JSON object", "get_weather"),),
    ),
    Case(
        "bare word as a value",
        "Action: get_weather\nAction Input: {city: Paris}",
        "Action: get_weather\nAction Input: {city: Paris}",
        (Bad("no JSON object", "get_weather"),),
    ),
    Case(
        "postcode with a zero",
        "Action: get_weather\nAction Input: {'city': 02139}",
        None,
        (("get_weather", {"city": "02139"}),),
    ),
    Case(
        "nested too deeply",
        'Action: get_weather\nAction Input: {"city": ' + "[" * 200 + "]" * 200 + "}",
        'Action: get_weather\nAction Input: {"city": ' + "[" * 200 + "]" * 200 + "}",
        (Bad("deeper", "get_weather"),),
    ),
    Case("object in a JSON string", 'Action: get_weather\nAction Input: "{\\"city\\": \\"Paris\\"}"', None, (PARIS,)),
    Case("object after prose", 'Action: get_weather\nAction Input: the input is {"city": "Paris"}.', None, (PARIS,)),
    Case("word json before the object", 'Action: get_weather\nAction Input: json {"city": "Paris"}', None, (PARIS,)),
]

_BARE = [
    Case("bare string", "Action: fire_recognition\nAction Input: /tmp/1.jpg", None, (FIRE,)),
    Case("quoted string", 'Action: fire_recognition\nAction Input: "/tmp/1.jpg"', None, (FIRE,)),
    Case("single-quoted string", "Action: fire_recognition\nAction Input: '/tmp/1.jpg'", None, (FIRE,)),
    Case("backticked string", "Action: fire_recognition\nAction Input: `/tmp/1.jpg`", None, (FIRE,)),
    Case("named bare string", "Action: fire_recognition\nAction Input: image=/tmp/1.jpg", None, (FIRE,)),
    Case("named and quoted", "Action: fire_recognition\nAction Input: image: '/tmp/1.jpg'", None, (FIRE,)),
    Case(
        "bare string over two lines",
        "Action: fire_recognition\nAction Input: a\nb\nObservation:",
        None,
        (("fire_recognition", {"image": "a\nb"}),),
    ),
    Case(
        "bare string with a colon",
        "Action: fire_recognition\nAction Input: http://x/1.jpg",
        None,
        (("fire_recognition", {"image": "http://x/1.jpg"}),),
    ),
    Case(
        "bare string with markup",
        "Action: fire_recognition\nAction Input: <b>1</b>",
        None,
        (("fire_recognition", {"image": "<b>1</b>"}),),
    ),
    Case(
        "bare Chinese string",
        "Action: 查询天气\nAction Input: 北京\nObservation:",
        None,
        (("查询天气", {"城市": "北京"}),),
    ),
    Case(
        "bare number for a string",
        "Action: fire_recognition\nAction Input: 42",
        None,
        (("fire_recognition", {"image": "42"}),),
    ),
    Case("bare number for an integer", "Action: square\nAction Input: 42", None, (("square", {"n": 42}),)),
    Case(
        "bare word for an integer",
        "Action: square\nAction Input: many",
        "Action: square\nAction Input: many",
        (Bad("no JSON object", "square"),),
    ),
    Case("bare list for a list", "Action: total\nAction Input: [1, 2.5]", None, (("total", {"numbers": [1, 2.5]}),)),
    Case(
        "bare string for two parameters",
        "Action: move\nAction Input: 1, 2",
        "Action: move\nAction Input: 1, 2",
        (Bad("no JSON object", "move"),),
    ),
    Case(
        "bare string for an optional parameter",
        "Action: list_files\nAction Input: /tmp",
        None,
        (("list_files", {"path": "/tmp"}),),
    ),
    Case("one required of several", "Action: get_weather\nAction Input: Paris", None, (PARIS,)),
    Case("cut stop string", "Action: fire_recognition\nAction Input: /tmp/1.jpg\nObserv", None, (FIRE,)),
    Case("cut stop string, one letter", "Action: fire_recognition\nAction Input: /tmp/1.jpg\nO", None, (FIRE,)),
    Case(
        "cut stop string behind an object",
        'Action: get_weather\nAction Input: {"city": "Paris"}\nObserva',
        None,
        (PARIS,),
    ),
    Case(
        "bare, then a second call",
        "Action: fire_recognition\nAction Input: /tmp/1.jpg\nAction: fire_alert",
        None,
        (FIRE, ALERT),
    ),
]

_EMPTY = [
    *(
        Case(
            f"no parameters, input {text!r}", f"Action: fire_alert\nAction Input: {text}\nObservation:", None, (ALERT,)
        )
        for text in ("", "{}", "None", "null", "N/A", "无", '""', "''", "`{}`", "```json\n{}\n```", "none.", "{ }")
    ),
    Case("no parameters, no input", "Action: fire_alert", None, (ALERT,)),
    Case("no parameters, no input, result", "Action: fire_alert\nObservation: ringing", None, (ALERT,)),
    Case("no parameters, no input, prose", "Action: fire_alert\nIt rings.", "It rings.", (ALERT,)),
    Case("optional parameters only", "Action: list_files\nAction Input:", None, (("list_files", {}),)),
    Case(
        "required parameter, no input",
        "Action: square\nAction Input:\nObservation:",
        "Action: square\nAction Input:",
        (Bad("no arguments", "square"),),
    ),
    Case(
        "required parameter, None",
        "Action: fire_recognition\nAction Input: None",
        "Action: fire_recognition\nAction Input: None",
        (Bad("no arguments", "fire_recognition"),),
    ),
    Case(
        "no parameters, a bare string",
        "Action: fire_alert\nAction Input: ring it",
        "Action: fire_alert\nAction Input: ring it",
        (Bad("no JSON object", "fire_alert"),),
    ),
    Case(
        "undeclared argument is kept",
        'Action: fire_alert\nAction Input: {"loud": true}',
        None,
        (("fire_alert", {"loud": True}),),
    ),
    Case(
        "missing required argument is the tool's to refuse",
        'Action: move\nAction Input: {"x": 1}',
        None,
        (("move", {"x": 1}),),
    ),
]


def _coerced(trouble: str, written: str, **arguments: Any) -> Case:
    return Case(trouble, f"Action: get_weather\nAction Input: {written}", None, (("get_weather", arguments),))


_COERCION = [
    _coerced("string for an integer", '{"city": "a", "days": "5"}', city="a", days=5),
    _coerced("whole float for an integer", '{"city": "a", "days": 5.0}', city="a", days=5),
    _coerced("float for an integer stays", '{"city": "a", "days": 5.5}', city="a", days=5.5),
    _coerced("word for an integer stays", '{"city": "a", "days": "five"}', city="a", days="five"),
    _coerced("zero-led string for an integer stays", '{"city": "a", "days": "05"}', city="a", days="05"),
    _coerced("string for a number", '{"city": "a", "limit": "2.5"}', city="a", limit=2.5),
    _coerced("string with lost digits stays", '{"city": "a", "limit": "2.50"}', city="a", limit="2.50"),
    _coerced("string for a boolean", '{"city": "a", "metric": "True"}', city="a", metric=True),
    _coerced("yes for a boolean stays", '{"city": "a", "metric": "yes"}', city="a", metric="yes"),
    _coerced("number for a string", '{"city": 75001}', city="75001"),
    _coerced("boolean for a string stays", '{"city": true}', city=True),
    _coerced("null for a string stays", '{"city": null}', city=None),
    _coerced("list as a string", '{"city": "a", "tags": "[1, 2]"}', city="a", tags=[1, 2]),
    _coerced("strings inside a list", '{"city": "a", "tags": ["1", "2"]}', city="a", tags=[1, 2]),
    _coerced("object as a string", '{"city": "a", "where": "{\\"zip\\": 1}"}', city="a", where={"zip": "1"}),
    _coerced("string that looks like an object stays", '{"city": "{x}"}', city="{x}"),
    _coerced("either of two types", '{"city": "a", "until": "7"}', city="a", until=7),
    _coerced("null where null is allowed", '{"city": "a", "until": "null"}', city="a", until=None),
    _coerced("choice among numbers", '{"city": "a", "level": "2"}', city="a", level=2),
]

_CUT = [
    Case("cut in the name", "Action: fire_al", "Action: fire_al", cut=True),
    Case("cut after a whole name", "Action: fire_alert", "Action: fire_alert", cut=True),
    Case("cut in the next marker", "Action: fire_alert\nAction In", "Action: fire_alert\nAction In", cut=True),
    Case(
        "cut in an object",
        'Thought: a\nAction: get_weather\nAction Input: {"city": "Par',
        'a\nAction: get_weather\nAction Input: {"city": "Par',
        cut=True,
    ),
    Case(
        "cut before the last brace",
        'Action: get_weather\nAction Input: {"city": "Paris"',
        'Action: get_weather\nAction Input: {"city": "Paris"',
        cut=True,
    ),
    Case(
        "cut in a bare string",
        "Action: fire_recognition\nAction Input: /tmp/1",
        "Action: fire_recognition\nAction Input: /tmp/1",
        cut=True,
    ),
    Case("cut after a whole call", 'Action: get_weather\nAction Input: {"city": "Paris"}', None, (PARIS,), cut=True),
    Case(
        "cut in the second call",
        'Action: fire_alert\nAction Input: {}\nAction: get_weather\nAction Input: {"city',
        'Action: get_weather\nAction Input: {"city',
        (ALERT,),
        cut=True,
    ),
    Case("cut in a think block", "<think>\nActio", "<think>\nActio", cut=True),
    Case("cut in the closing tag", "<think>a</thi", "<think>a</thi", cut=True),
    Case("cut in prose", "Thought: I now know the fin", "I now know the fin", cut=True),
    Case("cut in an echo", "Question: What", "Question: What", cut=True),
    Case(
        "ended in an object",
        'Action: get_weather\nAction Input: {"city": "Par',
        'Action: get_weather\nAction Input: {"city": "Par',
        (Bad("not complete", "get_weather"),),
    ),
    Case(
        "object broken off by a marker",
        'Action: get_weather\nAction Input: {"city": "Paris"\nObservation: x',
        'Action: get_weather\nAction Input: {"city": "Paris"',
        (Bad("not complete", "get_weather"),),
    ),
    Case(
        "object broken off by the next call",
        'Action: get_weather\nAction Input: {"city": "Paris"\nAction: fire_alert\nAction Input: {}',
        'Action: get_weather\nAction Input: {"city": "Paris"',
        (Bad("not complete", "get_weather"), ALERT),
    ),
]

_TOOLBENCH = [
    Case(
        "Finish",
        'Thought: ok\nAction: Finish\nAction Input: {"return_type": "give_answer", "final_answer": "42"}',
        "ok\n42",
        dialects=("toolbench",),
    ),
    Case(
        "Finish alone",
        'Action: Finish\nAction Input: {"return_type": "give_answer", "final_answer": "42"}',
        "42",
        dialects=("toolbench",),
    ),
    Case(
        "Finish over several lines",
        'Action: Finish\nAction Input: {\n  "return_type": "give_answer",\n  "final_answer": "a\\nb"\n}',
        "a\nb",
        dialects=("toolbench",),
    ),
    Case(
        "Finish without a return type",
        'Action: Finish\nAction Input: {"final_answer": "42"}',
        "42",
        dialects=("toolbench",),
    ),
    Case(
        "Finish with an arrow",
        'Action: Finish->give_answer\nAction Input: {"return_type": "give_answer", "final_answer": "42"}',
        "42",
        dialects=("toolbench",),
    ),
    Case(
        "Finish gives up",
        'Action: Finish\nAction Input: {"return_type": "give_up_and_restart"}',
        'Action: Finish\nAction Input: {"return_type": "give_up_and_restart"}',
        (Bad("give_up_and_restart", "Finish"),),
        dialects=("toolbench",),
    ),
    Case(
        "Finish without an answer",
        'Action: Finish\nAction Input: {"return_type": "give_answer"}',
        'Action: Finish\nAction Input: {"return_type": "give_answer"}',
        (Bad("without a final_answer", "Finish"),),
        dialects=("toolbench",),
    ),
    Case(
        "Finish elsewhere is an unknown tool",
        'Action: Finish\nAction Input: {"final_answer": "42"}',
        'Action: Finish\nAction Input: {"final_answer": "42"}',
        (Bad("unknown tool", "Finish"),),
        dialects=LINES,
    ),
    Case(
        "a call, then Finish",
        "Action: fire_alert\nAction Input: {}\nThought:\nAction: Finish\nAction Input: "
        '{"return_type": "give_answer", "final_answer": "42"}',
        "42",
        (ALERT,),
        dialects=("toolbench",),
    ),
    Case(
        "Finish with an answer that is no string",
        'Action: Finish\nAction Input: {"final_answer": [1, 2]}',
        "[1, 2]",
        dialects=("toolbench",),
    ),
    Case(
        "Finish cut off",
        'Action: Finish\nAction Input: {"return_type": "give_answer", "final_answer": "4',
        'Action: Finish\nAction Input: {"return_type": "give_answer", "final_answer": "4',
        cut=True,
        dialects=("toolbench",),
    ),
]

_AGENTFABRIC = [
    Case("Answer", " Answer: 晴天", "晴天", dialects=("agentfabric",)),
    Case("what follows the prompt's own Answer", " It is sunny.", "It is sunny.", dialects=("agentfabric",)),
    Case(
        "Answer, then a further call",
        "Answer: ok\nAction: fire_alert\nAction Input: {}\nObservation: <result>",
        "ok",
        (ALERT,),
        dialects=("agentfabric",),
    ),
    Case(
        "further call right after the prompt's Answer",
        "\nAction: fire_alert\nAction Input: {}",
        None,
        (ALERT,),
        dialects=("agentfabric",),
    ),
    Case("Answer in other dialects is prose", "Answer: 42", "Answer: 42", dialects=(*LINES, "toolbench")),
    Case(
        "mixed corpora: Final Answer",
        "Thought: I now know the final answer\nFinal Answer: 42",
        "42",
        dialects=("agentfabric",),
    ),
]


def _block(text: str) -> str:
    return f"<tool_call>\n{text}\n</tool_call>"


_WEATHER = _block('{"name": "get_weather", "arguments": {"city": "Paris"}}')
_HERMES = [
    Case("plain call", _WEATHER, None, (PARIS,), HERMES),
    Case("prose before and after", f"Before.\n{_WEATHER}\nAfter.", "Before.\nAfter.", (PARIS,), HERMES),
    Case("two calls", f"{_WEATHER}\n{_WEATHER}", None, (PARIS, PARIS), HERMES),
    Case("two calls without a newline", _WEATHER + _WEATHER, None, (PARIS, PARIS), HERMES),
    Case(
        "all on one line",
        '<tool_call>{"name":"get_weather","arguments":{"city":"Paris"}}</tool_call>',
        None,
        (PARIS,),
        HERMES,
    ),
    Case(
        "arguments before the name",
        _block('{"arguments": {"city": "Paris"}, "name": "get_weather"}'),
        None,
        (PARIS,),
        HERMES,
    ),
    Case(
        "parameters for arguments",
        _block('{"name": "get_weather", "parameters": {"city": "Paris"}}'),
        None,
        (PARIS,),
        HERMES,
    ),
    Case(
        "arguments as a string",
        _block('{"name": "get_weather", "arguments": "{\\"city\\": \\"Paris\\"}"}'),
        None,
        (PARIS,),
        HERMES,
    ),
    Case("no arguments", _block('{"name": "fire_alert"}'), None, (ALERT,), HERMES),
    Case("null arguments", _block('{"name": "fire_alert", "arguments": null}'), None, (ALERT,), HERMES),
    Case(
        "wrapped in function",
        _block('{"type": "function", "function": {"name": "fire_alert", "arguments": {}}}'),
        None,
        (ALERT,),
        HERMES,
    ),
    Case(
        "Python dict",
        _block("{'name': 'get_weather', 'arguments': {'city': 'Paris', 'metric': True}}"),
        None,
        (("get_weather", {"city": "Paris", "metric": True}),),
        HERMES,
    ),
    Case("trailing comma", _block('{"name": "get_weather", "arguments": {"city": "Paris",},}'), None, (PARIS,), HERMES),
    Case("code fence inside", _block('```json\n{"name": "fire_alert", "arguments": {}}\n```'), None, (ALERT,), HERMES),
    Case("missing brace", _block('{"name": "get_weather", "arguments": {"city": "Paris"}'), None, (PARIS,), HERMES),
    Case("extra brace", _block('{"name": "get_weather", "arguments": {"city": "Paris"}}}'), None, (PARIS,), HERMES),
    Case(
        "missing closing tag at the end", '<tool_call>\n{"name": "fire_alert", "arguments": {}}', None, (ALERT,), HERMES
    ),
    Case(
        "missing closing tag between calls",
        f'<tool_call>\n{{"name": "fire_alert", "arguments": {{}}}}\n{_WEATHER}',
        None,
        (ALERT, PARIS),
        HERMES,
    ),
    Case(
        "closing tag inside a string",
        _block('{"name": "get_weather", "arguments": {"city": "</tool_call>"}}'),
        None,
        (("get_weather", {"city": "</tool_call>"}),),
        HERMES,
    ),
    Case(
        "opening tag inside a string",
        _block('{"name": "get_weather", "arguments": {"city": "<tool_call>"}}'),
        None,
        (("get_weather", {"city": "<tool_call>"}),),
        HERMES,
    ),
    Case(
        "braces and quotes inside a string",
        _block('{"name": "get_weather", "arguments": {"city": "{\\"}"}}'),
        None,
        (("get_weather", {"city": '{"}'}),),
        HERMES,
    ),
    Case(
        "surrogate pair",
        _block('{"name": "get_weather", "arguments": {"city": "\\ud83d\\ude00"}}'),
        None,
        (("get_weather", {"city": "😀"}),),
        HERMES,
    ),
    Case(
        "key called name inside",
        _block('{"name": "get_weather", "arguments": {"city": "x", "name": "y"}}'),
        None,
        (("get_weather", {"city": "x", "name": "y"}),),
        HERMES,
    ),
    Case(
        "pretty-printed",
        _block('{\n  "name": "get_weather",\n  "arguments": {\n    "city": "Paris"\n  }\n}'),
        None,
        (PARIS,),
        HERMES,
    ),
    Case("tag that begins in prose", "a <tool_ b <to", "a <tool_ b <to", (), HERMES),
    Case("less-than signs", "1 < 2 << 3 <", "1 < 2 << 3 <", (), HERMES),
    Case("stray closing tag", "a</tool_call>b", "a</tool_call>b", (), HERMES),
    Case(
        "think block that mentions a call",
        f"<think>\n{_WEATHER}\n</think>\nHi",
        f"<think>\n{_WEATHER}\n</think>\nHi",
        (),
        HERMES,
    ),
    Case("think block, then a call", f"<think>\nx\n</think>\n{_WEATHER}", "<think>\nx\n</think>", (PARIS,), HERMES),
    Case(
        "ReAct words in prose", "Action: fire_alert\nObservation: x", "Action: fire_alert\nObservation: x", (), HERMES
    ),
    Case(
        "unknown tool",
        _block('{"name": "open", "arguments": {}}'),
        _block('{"name": "open", "arguments": {}}'),
        (Bad("unknown tool 'open'", "open"),),
        HERMES,
    ),
    Case("no JSON", _block("get_weather(Paris)"), _block("get_weather(Paris)"), (Bad("no JSON object"),), HERMES),
    Case("no name", _block('{"arguments": {}}'), _block('{"arguments": {}}'), (Bad("no name"),), HERMES),
    Case(
        "arguments that are no object",
        _block('{"name": "move", "arguments": [1, 2]}'),
        _block('{"name": "move", "arguments": [1, 2]}'),
        (Bad("no JSON object", "move"),),
        HERMES,
    ),
    Case("empty block", "<tool_call></tool_call>", "<tool_call></tool_call>", (Bad("no JSON object"),), HERMES),
    Case("block in a block", f"<tool_call>\n{_WEATHER}", "<tool_call>", (Bad("no JSON object"), PARIS), HERMES),
    Case(
        "cut in the object",
        '<tool_call>\n{"name": "get_weather", "argum',
        '<tool_call>\n{"name": "get_weather", "argum',
        (),
        HERMES,
        cut=True,
    ),
    Case("cut in the opening tag", "Hi <tool_c", "Hi <tool_c", (), HERMES, cut=True),
    Case(
        "cut before the last brace",
        '<tool_call>\n{"name": "fire_alert", "arguments": {}',
        '<tool_call>\n{"name": "fire_alert", "arguments": {}',
        (),
        HERMES,
        cut=True,
    ),
    Case(
        "cut in the closing tag",
        '<tool_call>\n{"name": "fire_alert", "arguments": {}}\n</tool',
        None,
        (ALERT,),
        HERMES,
        cut=True,
    ),
    Case(
        "ended in the object",
        '<tool_call>\n{"name": "fire_al',
        '<tool_call>\n{"name": "fire_al',
        (Bad("not complete"),),
        HERMES,
    ),
    Case(
        "coercion",
        _block('{"name": "get_weather", "arguments": {"city": "a", "days": "5"}}'),
        None,
        (("get_weather", {"city": "a", "days": 5}),),
        HERMES,
    ),
    Case(
        "bare string as arguments",
        _block('{"name": "fire_recognition", "arguments": "/tmp/1.jpg"}'),
        None,
        (FIRE,),
        HERMES,
    ),
]

CASES = [
    *_LAYOUT,
    *_PROSE,
    *_FINAL,
    *_ECHO,
    *_THINK,
    *_NAMES,
    *_LITERALS,
    *_BARE,
    *_EMPTY,
    *_COERCION,
    *_CUT,
    *_TOOLBENCH,
    *_AGENTFABRIC,
    *_HERMES,
]
