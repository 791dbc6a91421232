"""Tiny bases of six families: each has the real chat template and the special tokens of its family, and says by a
script what a model of it would: a call, and after a result another one or the answer."""

import json
import os
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import mistral
from models import EOS, scripted_model

THOUGHT = "I look."
ANSWER = "Sunny."
_THINK_END = "\n</think>\n\n"
_CHATML = ("<|im_start|>", EOS)
_GEMMA = (
    *("<bos>", "<|turn>", "<|tool>", "<tool|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", "<tool_response|>"),
    *('<|"|>', "<|think|>", "<|channel>", "<channel|>", "<turn|>"),
)
_LLAMA = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|python_tag|>", "<|eom_id|>", "<|eot_id|>")
_LFM2 = ("<|startoftext|>", "<|im_start|>", "<|tool_call_start|>", "<|tool_call_end|>", EOS)


class Base(NamedTuple):
    """A base, and what a model of it says."""

    template: str
    """Name of its chat template."""
    dialect: str | None
    """The dialect that its document names; None leaves it out."""
    spoken: str
    """The dialect that a version of it speaks."""
    said: tuple[str, ...]
    """The tokens of a turn after the one that the prompt ends with, which is the first."""
    special: tuple[str, ...] = _CHATML
    after_result: tuple[str, ...] = ()
    """Likewise after a result; empty where the prompt ends there as it does after a question."""
    thinks: bool = True
    """The turn has a thought."""
    slow: bool = False
    """Left to `make test-slow`: an engine more."""
    prompts: int = 32
    """Turns of the corpus that the template keeps: thoughts beside a call are lost by some."""

    @property
    def name(self) -> str:
        """The base's, its model's and its run's."""
        return f"{self.template}-{self.dialect or 'default'}".replace("_", "")

    def write(self, folder: Path, template: str) -> Path:
        """Write its folder."""
        script = (*pairwise(self.said), *pairwise(self.after_result))
        return scripted_model(folder, script, special=self.special, template=template)


_XML = "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n</function>\n</tool_call>"
_JSON = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
_REACT = 'Action: get_weather\nAction Input: {"city": "Paris"}'
_ALL = (
    Base("qwen3_5_think", "hermes", "hermes", ("\n", THOUGHT, _THINK_END, _JSON, EOS), slow=True),
    Base("qwen3_6", "react_en", "react_en", ("\n", THOUGHT, _THINK_END, _REACT, "\nObservation:"),
         after_result=("}", "\nFinal Answer: ", ANSWER, EOS), slow=True),
    Base("qwen3_5_think", "native", "qwen_xml", ("\n", THOUGHT, _THINK_END, _XML, EOS)),
    Base("qwen3", None, "hermes", ("\n", "<think>", f"\n{THOUGHT}", _THINK_END, _JSON, EOS)),
    Base(
        "diffusion_gemma", "native", "gemma",
        ("\n", "<|channel>", f"thought\n{THOUGHT}\n", "<channel|>", "<|tool_call>", "call:get_weather{city:", '<|"|>',
         "Paris", '<|"|>}', "<tool_call|>", "<|tool_response>"),
        _GEMMA, ("<tool_response|>", ANSWER, "<turn|>"),
    ),
    Base(
        "llama3_2", "native", "llama_json",
        ("\n", '{"name": "get_weather", ', '"parameters": ', '{"city": "Paris"}', "}", "<|eot_id|>"),
        _LLAMA, thinks=False, slow=True, prompts=16,
    ),
    Base(
        "mistral_v13", "native", "mistral",
        ("[/INST]", "[THINK]", THOUGHT, "[/THINK]", "[TOOL_CALLS]", "get_weather", "[ARGS]", '{"city": "Paris"}',
         "</s>"),
        mistral.SPECIAL, ("[/TOOL_RESULTS]", ANSWER, "</s>"),
    ),
    Base(
        "lfm2_2_5", "native", "lfm2",
        ("\n", "<|tool_call_start|>", "[get_weather(", "city='Paris'", ")]", "<|tool_call_end|>", EOS),
        _LFM2, thinks=False, slow=True,
    ),
)  # fmt: skip
BASES = tuple(base for base in _ALL if not base.slow or os.environ.get("CALLWRIGHT_SLOW"))


def templates(shared: Path) -> dict[str, str]:
    """Return the chat template of each name."""
    found = json.loads((shared / "templates/chat_templates.json").read_text(encoding="utf-8"))
    return {name: each["template"] for name, each in found.items()} | {"mistral_v13": mistral.mistral_template("v13")}
