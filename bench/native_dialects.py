"""Native formats against vLLM's own parser of the same format, each fed the tokens that a model would write.

A marker is one token and is never cut; all else is cut anywhere. Cases with thoughts and those that a length has cut
are left out, since vLLM reads those elsewhere. A case is right where calls and content are; a call that is none counts
as content, which is all that vLLM can make of it. `python bench/native_dialects.py [FORMAT…]` prints JSON and writes
bench/results/native_dialects.json. Most of vLLM's parsers take minutes for a call of 64 KiB.
"""

import argparse
import importlib
import json
import logging
import random
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "dialects"))

import gemma_cases
import llama_cases
import mistral_cases
import pythonic_cases
import qwen_xml_cases
from dialect_cases import Bad, Case
from generated import cut
from laws import stream

from callwright import dialects
from callwright.dialects import ToolCall, Turn, accumulate
from dialects import WRITE, Seen, added_up, seconds, seen  # bench/dialects.py

RESULTS = Path(__file__).resolve().parent / "results" / "native_dialects.json"


class Format(NamedTuple):
    """A dialect, and vLLM's parser of its format."""

    dialect: str
    module: str
    parser: str
    markers: tuple[str, ...]
    cases: Sequence[Case]


_MISTRAL = ("mistral_tool_parser", "MistralToolParser")
_V3 = ("[TOOL_CALLS]", "</s>")
_V13 = (*_V3, "[ARGS]", "[CALL_ID]", "[THINK]", "[/THINK]")
_LLAMA = ("<|python_tag|>", "<|eot_id|>", "<|eom_id|>")
_LLAMA4 = ("<|python_start|>", "<|python_end|>")
_LFM2 = ("<|tool_call_start|>", "<|tool_call_end|>")
_GEMMA = ("<|tool_call>", "<tool_call|>", '<|"|>', "<|tool_response>", "<|channel>", "<channel|>", "<turn|>")
_FUNCTION = ("<start_function_call>", "<end_function_call>", "<escape>", "<start_function_response>", "<end_of_turn>")
_QWEN = ("<tool_call>", "</tool_call>")
FORMATS = (
    Format("qwen_xml", "qwen3_engine_tool_parser", "Qwen3EngineToolParser", _QWEN, qwen_xml_cases.CASES),
    Format("gemma", "gemma4_engine_tool_parser", "Gemma4EngineToolParser", _GEMMA, gemma_cases.CASES),
    Format("functiongemma", "functiongemma_tool_parser", "FunctionGemmaToolParser", _FUNCTION, gemma_cases.CASES),
    Format("llama_json", "llama_tool_parser", "Llama3JsonToolParser", _LLAMA, llama_cases.CASES),
    Format("mistral_v3", *_MISTRAL, _V3, mistral_cases.CASES),
    Format("mistral", *_MISTRAL, _V13, mistral_cases.CASES),
    Format("pythonic", "pythonic_tool_parser", "PythonicToolParser", _LLAMA4, pythonic_cases.CASES),
    Format("lfm2", "lfm2_tool_parser", "Lfm2ToolParser", _LFM2, pythonic_cases.CASES),
    Format("olmo3", "olmo3_tool_parser", "Olmo3PythonicToolParser", (), pythonic_cases.CASES),
)


@cache
def tokenizer_of(markers: tuple[str, ...]) -> Any:
    """Make a tokenizer with a token for each byte and each marker."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    model = Tokenizer(models.BPE(vocab={each: number for number, each in enumerate(alphabet)}, merges=[]))
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=model)
    made.add_special_tokens({"additional_special_tokens": list(markers)} if markers else {})
    return made


class NativePeer:
    """vLLM's parser of a format, called as its server calls it."""

    def __init__(self, form: Format) -> None:
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

        self._tokenizer = tokenizer_of(form.markers)
        self._parser: Callable[..., Any] = getattr(
            importlib.import_module(f"vllm.tool_parsers.{form.module}"), form.parser
        )
        self._request = partial(ChatCompletionRequest, model="m", messages=[{"role": "user", "content": "q"}])

    def stream(self, pieces: Iterable[str], tools: Any) -> Seen:
        """Content and calls, added up over the stream."""
        request = self._request(tools=tools)
        parser = self._parser(self._tokenizer, request.tools)
        return added_up(self._deltas(parser, pieces, request))

    def _deltas(self, parser: Any, pieces: Iterable[str], request: Any) -> Iterator[Any]:
        text, ids = "", ()
        for piece in pieces:
            before, text = text, text + piece
            new = tuple(self._tokenizer.encode(piece, add_special_tokens=False))
            yield parser.extract_tool_calls_streaming(before, text, piece, ids, ids + new, new, request)
            ids += new

    def whole(self, text: str, tools: Any) -> Seen:
        """The same of the whole text."""
        request = self._request(tools=tools)
        found = self._parser(self._tokenizer, request.tools).extract_tool_calls(text, request)
        return seen(found.content or "", [[call.function.name, call.function.arguments] for call in found.tool_calls])


def pieces_of(source: random.Random, text: str, markers: tuple[str, ...]) -> list[str]:
    """The text cut anywhere but within a marker, which is a piece of its own."""
    if not markers:
        return cut(source, text)
    parts = re.split(f"({'|'.join(map(re.escape, markers))})", text)
    return [piece for part in parts if part for piece in ([part] if part in markers else cut(source, part))]


def wanted(case: Case) -> Seen:
    """What is right."""
    calls = [call for call in case.calls if not isinstance(call, Bad)]
    return (case.content or "").strip(), [(name, arguments) for name, arguments in calls]


def ours(turn: Turn) -> Seen:
    """The same of a turn."""
    return seen(turn.content or "", [(call.name, call.arguments) for call in turn.calls if isinstance(call, ToolCall)])


def compare(form: Format, splits: int = 20) -> dict[str, Any]:
    """How many cases are right whole and in pieces, and how often the pieces give another result than the whole."""
    peer, dialect, source = NativePeer(form), dialects.load(form.dialect), random.Random(7)
    cases = [case for case in form.cases if form.dialect in case.dialects and not case.cut and case.thought is None]
    counts = {name: {"right": 0, "right_in_pieces": 0, "differing": 0} for name in ("callwright", "vllm")}
    for case in cases:
        tools = case.tools
        for name, read_whole, read_pieces in (
            ("callwright", lambda text, t=tools: ours(dialect.parse(text, t)),
             lambda pieces, t=tools: ours(accumulate(stream(dialect, pieces, t)))),
            ("vllm", lambda text, t=tools: guarded(peer.whole, text, t),
             lambda pieces, t=tools: guarded(peer.stream, pieces, t)),
        ):  # fmt: skip
            whole, right = read_whole(case.text), wanted(case)
            results = [read_pieces(pieces_of(source, case.text, form.markers)) for _ in range(splits)]
            counts[name]["right"] += whole == right
            counts[name]["right_in_pieces"] += all(result == right for result in results)
            counts[name]["differing"] += sum(result != whole for result in results)
    pairs = len(cases) * splits
    return {"cases": len(cases), "pairs": pairs} | {
        name: {**count, "differing_share": round(count["differing"] / pairs, 3)} for name, count in counts.items()
    }


def guarded(read: Callable[..., Seen], given: object, tools: Any) -> Seen | str:
    """What was read; an exception, which a client sees as an error, is a result too."""
    try:
        return read(given, tools)
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        return type(error).__name__


def speed(form: Format, size: int) -> dict[str, Any]:
    """Seconds of CPU time for one call of `size` characters in pieces of four."""
    dialect, peer = dialects.load(form.dialect, native=True), NativePeer(form)
    call = ToolCall("", "write_file", json.dumps({"path": "/tmp/f.py", "text": (LINE * size)[: size - 200]}))
    text = dialect.write(Turn((call,)), WRITE)  # type: ignore[attr-defined]
    parts = re.split(f"({'|'.join(map(re.escape, form.markers))})", text) if form.markers else [text]
    pieces = [
        piece
        for part in parts
        for piece in ([part] if part in form.markers else [part[i : i + 4] for i in range(0, len(part), 4)])
    ]
    own = min(seconds(lambda: stream(dialect, pieces, WRITE)) for _ in range(3))
    theirs = seconds(lambda: guarded(peer.stream, pieces, WRITE))
    figures = {"callwright": round(own, 4), "vllm": round(theirs, 4), "times_faster": round(theirs / own, 1)}
    return {"characters": size, **figures}


LINE = "def f(x):\n\treturn [x, x + 1]  # and so on\n"


def main() -> None:
    """Measures the formats that are named, or all, and keeps what was measured of others."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("formats", nargs="*", help="dialects; all of them where none is named")
    parser.add_argument("--size", type=int, default=65_536, help="characters of the call that is timed")
    given = parser.parse_args()
    import vllm

    logging.disable(logging.CRITICAL)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results["vllm"] = vllm.__version__
    for form in FORMATS:
        if not given.formats or form.dialect in given.formats:
            results[form.dialect] = compare(form) | {"seconds": speed(form, given.size)}
            RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
