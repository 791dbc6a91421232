"""The stream parsers: time in the same run as vLLM's hermes parser, growth up to 1 MiB, memory, split invariance.

`python bench/dialects.py [PAIRS]` prints JSON and writes bench/results/dialects.json. Seconds are CPU time of this
process, the best of several interleaved rounds. Calls are fed in pieces of 4 characters, about a token each.
"""

import json
import math
import platform
import random
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "dialects"))

from dialect_cases import TOOLS
from every_case import CASES
from generated import cut, make_text, mutate
from laws import stream

from callwright import dialects
from callwright.dialects import Dialect, Turn, accumulate

ROOT = Path(__file__).resolve().parent.parent
PIECE = 4
Seen = tuple[str, list[tuple[str, object]]]
"""Content, and name and arguments of each call."""
SIZES = {"4KiB": 4096, "64KiB": 65_536}
GROWTH_SIZES = [2**k for k in (14, 16, 18, 20)]
WRITE = [
    {
        "type": "function",
        "function": {
            "name": "write_file",
            "parameters": {
                "type": "object",
                "properties": {"path": {"type": "string"}, "text": {"type": "string"}},
                "required": ["path", "text"],
            },
        },
    }
]
LINE = 'def f(x):\n\treturn {"x": [x, "\\"{}\\""]}  # and so on\n'


def frame(dialect: Dialect) -> tuple[str, str]:
    """What stands before and after the arguments of a turn's one call."""
    before, after = dialect.call_frame("write_file")
    grammar = dialect.call_grammar
    return grammar.opening + before, after + grammar.closing


def long_call(dialect: Dialect, size: int) -> str:
    """A call with about `size` characters: code in a string, with quotes, braces and line ends."""
    before, after = frame(dialect)
    arguments = {"path": "/tmp/f.py", "text": (LINE * (size // len(LINE) + 1))[:size]}
    while len(text := before + json.dumps(arguments, ensure_ascii=False) + after) > size:
        arguments["text"] = arguments["text"][: -max(1, (len(text) - size) // 2)]
    return text


def pieces_of(text: str) -> list[str]:
    """The text as a client's stream brings it."""
    return [text[i : i + PIECE] for i in range(0, len(text), PIECE)]


def seconds(run: Callable[[], object]) -> float:
    """CPU time of one run."""
    started = time.process_time()
    run()
    return time.process_time() - started


def feed(dialect: Dialect, pieces: list[str], *, eager: bool = False) -> None:
    """One turn through a parser, its deltas dropped as they come."""
    parser = dialect.parser(WRITE, eager=eager)
    for piece in pieces:
        parser.feed(piece)
    parser.close()


def seen(content: str, calls: Iterable[Sequence[str]]) -> Seen:
    """What a client makes of it: neither white space around content nor the spelling of JSON counts."""
    read: list[tuple[str, object]] = []
    for name, arguments in calls:
        try:
            read.append((name, json.loads(arguments)))
        except ValueError:
            read.append((name, arguments))
    return content.strip(), read


def added_up(deltas: Iterable[Any]) -> Seen:
    """Content, and name and arguments of each call, of what a parser of vLLM's gives for a stream."""
    content: list[str] = []
    calls: dict[int, list[str]] = {}
    for delta in deltas:
        if delta is None:
            continue
        content.append(delta.content or "")
        for call in delta.tool_calls or ():
            parts = calls.setdefault(call.index, ["", ""])
            function = call.function
            name, arguments = (
                (function.get("name"), function.get("arguments"))
                if isinstance(function, dict)
                else (function.name, function.arguments)
            )
            parts[0] += name or ""
            parts[1] += arguments or ""
    return seen("".join(content), [calls[index] for index in sorted(calls)])


class Peer:
    """vLLM's hermes parser, called as its server calls it."""

    def __init__(self) -> None:
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
        from vllm.tool_parsers.hermes_tool_parser import Hermes2ProToolParser

        self._parser: Callable[[object], Any] = Hermes2ProToolParser
        self._request = ChatCompletionRequest(model="m", messages=[{"role": "user", "content": "q"}])

    def stream(self, pieces: list[str]) -> Seen:
        """Content and calls, added up over the stream."""
        return added_up(self._deltas(pieces))

    def _deltas(self, pieces: list[str]) -> Iterator[Any]:
        parser, text = self._parser(object()), ""
        for piece in pieces:
            before, text = text, text + piece
            yield parser.extract_tool_calls_streaming(before, text, piece, (), (0,), (0,), self._request)

    def whole(self, text: str) -> Seen:
        """The same of the whole text."""
        found = self._parser(object()).extract_tool_calls(text, self._request)
        return seen(found.content or "", [[call.function.name, call.function.arguments] for call in found.tool_calls])


def compare_speed(peer: Peer, rounds: int = 4) -> dict[str, Any]:
    """Seconds for one call in pieces, ours and vLLM's in turns."""
    hermes, react = dialects.load("hermes"), dialects.load("react_en")
    results: dict[str, Any] = {}
    for label, size in SIZES.items():
        pieces = pieces_of(long_call(hermes, size))
        react_pieces = pieces_of(long_call(react, size))
        runs = {
            "hermes": partial(feed, hermes, pieces),
            "hermes_eager": partial(feed, hermes, pieces, eager=True),
            "react_en": partial(feed, react, react_pieces),
            "react_en_eager": partial(feed, react, react_pieces, eager=True),
            "vllm_hermes": partial(peer.stream, pieces),
        }
        best = dict.fromkeys(runs, math.inf)
        for _ in range(rounds):
            for name, run in runs.items():
                best[name] = min(best[name], seconds(run))
        results[label] = {name: round(value, 6) for name, value in best.items()}
        for name in runs:
            results[label][f"{name}_times_faster"] = round(best["vllm_hermes"] / best[name], 1)
    return results


def texts_of(dialect: Dialect) -> dict[str, Callable[[int], str]]:
    """One long call, prose, and many short calls, of any size."""
    before, after = frame(dialect)
    short = f'{before}{{"path": "a", "text": "b"}}{after}\n'
    prose = "Prose, line by line: what an Action is.\n"
    return {
        "long_call": lambda size: long_call(dialect, size),
        "prose": lambda size: prose * (size // len(prose)),
        "many_calls": lambda size: short * (size // len(short)),
    }


def growth(rounds: int = 2) -> dict[str, Any]:
    """Exponent of time over length, from 16 KiB to 1 MiB, in pieces and whole."""
    results: dict[str, Any] = {}
    for name in dialects.NAMES:
        dialect = dialects.load(name)
        for kind, make in texts_of(dialect).items():
            for way in ("pieces", "whole"):
                points = []
                for size in GROWTH_SIZES:
                    text = make(size)
                    pieces = pieces_of(text) if way == "pieces" else [text]
                    points.append((size, min(seconds(partial(feed, dialect, pieces)) for _ in range(rounds))))
                results[f"{name}/{kind}/{way}"] = {
                    "exponent": round(slope(points), 3),
                    "seconds_for_1MiB": round(points[-1][1], 4),
                }
    return results


PROVOKING = (
    *("word ", "\n", " ", "Observation:\n", "Thought:\n", "Action: x\n", "Question: x\n", "<think>", "<", '{"a": "'),
    *("\\", "Action: fire_alert\nAction Input: {'a': \"b' c\"}\n", "`", "**", "Action Input:\n", 'Action Input: {"x\n'),
    "<tool_call>{'x</tool_call>",
)
"""What a parser could read again and again, or search for from every line."""


def provoked_growth() -> dict[str, dict[str, Any]]:
    """Per dialect the worst exponent of time over length, 16 to 256 KiB, for texts made to provoke a high one."""
    results: dict[str, dict[str, Any]] = {}
    for name in dialects.NAMES:
        dialect = dialects.load(name)
        before, after = frame(dialect)
        worst = {"exponent": -math.inf}
        for unit in (*PROVOKING, before + "{}" + after + "\n"):
            for lead in ("", before, before + '{"a": "'):
                texts = [(lead + unit * (size // len(unit)), size) for size in (2**14, 2**16, 2**18)]
                points = [
                    (size, min(seconds(partial(read_and_split, dialect, t)) for _ in range(2))) for t, size in texts
                ]
                found = {"exponent": round(slope(points), 3), "lead": lead, "unit": unit}
                worst = max(worst, found, key=lambda entry: entry["exponent"])
        results[name] = worst
    return results


def read_and_split(dialect: Dialect, text: str) -> None:
    """A whole turn, read and split into segments."""
    dialect.parse(text, WRITE)
    dialect.segment(text)


def slope(points: list[tuple[int, float]]) -> float:
    """Least squares through the logarithms."""
    logs = [(math.log(size), math.log(max(value, 1e-7))) for size, value in points]
    mean_x, mean_y = (sum(values) / len(logs) for values in zip(*logs, strict=True))
    return sum((x - mean_x) * (y - mean_y) for x, y in logs) / sum((x - mean_x) ** 2 for x, _ in logs)


def memory() -> dict[str, int]:
    """Peak bytes that a parser holds: over 1 MiB of prose and short calls, and over one call of 64 KiB."""
    results = {}
    for name in dialects.NAMES:
        dialect = dialects.load(name)
        before, after = frame(dialect)
        turn = "Some prose first.\n" * 20 + f'{before}{{"path": "a", "text": "{"b" * 1000}"}}{after}\n'

        def many(turn: str = turn) -> Iterator[str]:
            for _ in range(2**20 // len(turn)):
                yield from pieces_of(turn)

        for kind, pieces in (("long_stream", many()), ("64KiB_call", iter(pieces_of(long_call(dialect, 65_536))))):
            parser = dialect.parser(WRITE)
            tracemalloc.start()
            for piece in pieces:
                parser.feed(piece)
            parser.close()
            results[f"{name}/{kind}"] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    return results


def split_invariance(pairs: int) -> dict[str, int]:
    """Over at least `pairs` (text, pieces): how often the stream's result is not the whole text's."""
    source = random.Random(20_240_601)
    compared = differing = texts = 0
    while compared < pairs:
        for case in CASES:
            text = source.choice((case.text, mutate(source, case.text), make_text(source)))
            for name in case.dialects:
                dialect = dialects.load(name)
                whole = read(dialect, [text], case.cut)
                texts += 1
                for _ in range(8):
                    compared += 1
                    differing += read(dialect, cut(source, text), case.cut) != whole
    return {"pairs": compared, "texts": texts, "differing": differing}


def read(dialect: Dialect, pieces: list[str], ended: bool) -> Turn:
    """What a client has seen at the end."""
    return accumulate(stream(dialect, pieces, TOOLS, cut=ended))


def peer_invariance(peer: Peer) -> dict[str, Any]:
    """The same for vLLM's hermes parser over this repository's hermes cases; its log of what failed is silenced."""
    import logging

    logging.disable(logging.CRITICAL)
    source = random.Random(7)
    compared = differing = 0
    for case in CASES:
        if case.dialects == ("hermes",):
            whole = peer.whole(case.text)
            for _ in range(20):
                compared += 1
                differing += peer.stream(cut(source, case.text)) != whole
    logging.disable(logging.NOTSET)
    return {"pairs": compared, "differing": differing, "share": round(differing / compared, 3)}


def main() -> None:
    """Measures all of it."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    import vllm

    peer = Peer()
    results = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "vllm": vllm.__version__,
        "piece_characters": PIECE,
        "speed_seconds": compare_speed(peer),
        "growth": growth(),
        "provoked_growth": provoked_growth(),
        "peak_bytes": memory(),
        "split_invariance": split_invariance(pairs),
        "split_invariance_vllm_hermes": peer_invariance(peer),
    }
    grown = (*results["growth"].values(), *results["provoked_growth"].values())
    results["worst_exponent"] = max(entry["exponent"] for entry in grown)
    text = json.dumps(results, indent=2)
    target = ROOT / "bench" / "results" / "dialects.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
