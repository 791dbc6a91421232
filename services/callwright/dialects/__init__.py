"""The dialects: ways of writing tool calls as text. One module renders and parses each; none needs a model.

    d = dialects.load("react_en")
    d.render(messages, tools)        what goes to the chat template, in typed segments
    d.parse(text, tools)             an assistant's text as content and calls
    d.parser(tools).feed(chunk)      the same, as a stream

A turn is its parts in order. Content is what a client shows: prose, ReAct's thoughts and answers without their markers,
malformed calls verbatim. What stands in think blocks is reasoning, and no content. Nor are the set phrase before an
answer, an echo of the question, a word for no tool (`Action: None`), results that a model invents after a call, part of
a stop string, and what is left over around a call: a fence, a tag, a quote or a bracket. Rendered again, a turn's parts
give what they were read from.
"""

from functools import cache

from callwright.dialects.agentfabric import AgentFabric
from callwright.dialects.gemma import FunctionGemma, Gemma
from callwright.dialects.hermes import Hermes
from callwright.dialects.hermes_native import NativeHermes
from callwright.dialects.llama_json import LlamaJson
from callwright.dialects.mistral import Mistral, MistralV3, MistralV11
from callwright.dialects.ms_agent import MsAgent
from callwright.dialects.pythonic import Lfm2, Olmo3, Pythonic
from callwright.dialects.qwen_xml import QwenXml
from callwright.dialects.react_en import ReactEn
from callwright.dialects.react_zh import ReactZh
from callwright.dialects.toolbench import ToolBench
from callwright.dialects.types import (
    CallDelta,
    ContentDelta,
    Delta,
    Dialect,
    Kind,
    MalformedCall,
    Part,
    Rendered,
    Segment,
    StreamParser,
    Text,
    Thought,
    ThoughtDelta,
    ToolCall,
    Turn,
    accumulate,
)
from callwright.errors import InvalidInput

__all__ = [
    "NAMES",
    "NATIVE_NAMES",
    "TEXT_NAMES",
    "CallDelta",
    "ContentDelta",
    "Delta",
    "Dialect",
    "Kind",
    "MalformedCall",
    "Part",
    "Rendered",
    "Segment",
    "StreamParser",
    "Text",
    "Thought",
    "ThoughtDelta",
    "ToolCall",
    "Turn",
    "accumulate",
    "load",
]

TEXT_NAMES = ("react_en", "react_zh", "toolbench", "ms_agent", "agentfabric", "hermes")
"""Dialects that write tools and calls as text, for any base."""
NATIVE_NAMES = (
    *("hermes", "qwen_xml", "gemma", "functiongemma", "llama_json"),
    *("mistral", "mistral_v11", "mistral_v3", "pythonic", "lfm2", "olmo3"),
)
"""Dialects that the base's own chat template writes, in the order in which a template is read by them."""
NAMES = tuple(dict.fromkeys((*TEXT_NAMES, *NATIVE_NAMES)))


@cache
def load(name: str, *, native: bool = False) -> Dialect:
    """Return the dialect of that name; `native` where the base's template writes its tools and calls.

    Raises InvalidInput listing the valid ones.
    """
    match name:
        case "hermes" if native:
            return NativeHermes()
        case "react_en":
            return ReactEn()
        case "react_zh":
            return ReactZh()
        case "toolbench":
            return ToolBench()
        case "ms_agent":
            return MsAgent()
        case "agentfabric":
            return AgentFabric()
        case "hermes":
            return Hermes()
        case "llama_json":
            return LlamaJson()
        case "mistral":
            return Mistral()
        case "mistral_v11":
            return MistralV11()
        case "mistral_v3":
            return MistralV3()
        case "lfm2":
            return Lfm2()
        case "olmo3":
            return Olmo3()
        case "pythonic":
            return Pythonic()
        case "qwen_xml":
            return QwenXml()
        case "gemma":
            return Gemma()
        case "functiongemma":
            return FunctionGemma()
        case _:
            raise InvalidInput(f"dialect: got {name!r}; expected one of {', '.join(NAMES)}; correct the name")
