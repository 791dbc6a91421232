"""Ray Serve around vLLM, ours, against plain vLLM's own server with the same engine arguments, in one run.

`python bench/server.py` prints JSON and writes bench/results/server.json. Both serve a random model of 1.8 million
parameters on the CPU and are up at once; in each round one is asked and then the other, in turns first. Measured at 1,
8 and 32 requests at once: tokens a second and the time to the first token (median); what each process of a server
spends on a token.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from callwright.server import local
from callwright.server.config import ServedModel, ServerConfig
from callwright.spec.model import Engine
from models import tiny_model
from sidecar import cpu_seconds, free_port

ROOT = Path(__file__).resolve().parent.parent
SHAPE = {
    "hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 6,
    "num_key_value_heads": 6, "max_position_embeddings": 4096, "tie_word_embeddings": True,
}  # fmt: skip
CONCURRENCIES = (1, 8, 32)
TOKENS = 128
OURS, PLAIN = "callwright", "plain vLLM"
IDLE_SECONDS = 5.0
QUESTION = "What is the weather like in Paris today, and should I take an umbrella?"
LENGTH, CACHE_BYTES = 1024, 256 * 1024**2


class Server:
    """A running server: its port and the processes of its session."""

    def __init__(self, child: local.Child, port: int) -> None:
        self.port, self._child = port, child

    def spent(self) -> dict[str, float]:
        """CPU seconds so far, by kind of process."""
        spent: dict[str, float] = {}
        for pid in local._session(self._child.process.pid):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().split()
            name = next((part for part in PARTS if part in " ".join(words)), "other")
            spent[name] = spent.get(name, 0.0) + cpu_seconds(pid)
        return spent


PARTS = (
    "ServeReplica", "ProxyActor", "haproxy", "ServeController", "EngineCore", "VLLM::Worker", "api_server", "raylet",
    "gcs_server",
)  # fmt: skip
"""Kinds of processes, as their command lines name them."""


def write_base(folder: Path) -> Path:
    """Write a random model, with a tokenizer of bytes."""
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(tiny_model(folder))
    Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), **SHAPE)).save_pretrained(folder)
    return folder


def configuration(base: Path, port: int) -> ServerConfig:
    """Our server's configuration."""
    engine = Engine(dtype="float32", max_model_len=LENGTH)
    return ServerConfig(
        models=(ServedModel(id="m", path=str(base), engine=engine),), port=port, kv_cache_bytes=CACHE_BYTES
    )


def plain(base: Path, port: int) -> list[str]:
    """The module and arguments of vLLM's own server, the engine's the same as ours."""
    return [
        "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--port", str(port), "--model", str(base),
        "--served-model-name", "m", "--dtype", "float32", "--max-model-len", str(LENGTH), "--enforce-eager",
        "--kv-cache-memory-bytes", str(CACHE_BYTES), "--distributed-executor-backend", "uni",
        "--disable-uvicorn-access-log",
    ]  # fmt: skip


def started(folder: Path, stack: ExitStack) -> dict[str, Server]:
    """Both servers, once they answer."""
    ours, theirs, base = free_port(), free_port(), write_base(folder / "base")
    file = folder / "server.json"
    file.write_text(configuration(base, ours).model_dump_json())
    commands = {OURS: (["callwright.server", "--config", str(file)], ours), PLAIN: (plain(base, theirs), theirs)}
    servers = {}
    for name, (command, port) in commands.items():
        child = stack.enter_context(local.child(name, command, log=folder / f"{port}.log"))
        child.wait_ready(f"http://127.0.0.1:{port}/v1/models", deadline_seconds=240)
        servers[name] = Server(child, port)
    return servers


async def ask(port: int, number: int, tokens: int) -> float:
    """One streamed answer of `tokens` tokens; seconds to the first of them."""
    body = {
        "model": "m", "messages": [{"role": "user", "content": f"{number}. {QUESTION}"}], "stream": True,
        "max_tokens": tokens, "ignore_eos": True, "temperature": 0, "stream_options": {"include_usage": True},
    }  # fmt: skip
    data = json.dumps(body).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    began, first, text = time.perf_counter(), 0.0, b""
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n"
        b"content-length: %d\r\n\r\n%s" % (len(data), data)
    )
    while piece := await reader.read(2**16):
        text += piece
        if not first and text.count(b"data: ") > 1:  # the first event bears the role alone
            first = time.perf_counter() - began
    writer.close()
    if b'"completion_tokens":%d' % tokens not in text:
        raise SystemExit(f"expected {tokens} tokens; got {text[-500:]!r}")
    return first


async def burst(port: int, concurrency: int, requests: int) -> tuple[float, list[float]]:
    """Tokens a second of `requests` answers, `concurrency` at once, and seconds to each one's first token."""
    numbers = iter(range(requests))
    firsts: list[float] = []

    async def client() -> None:
        firsts.extend([await ask(port, number, TOKENS) for number in numbers])

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(concurrency)))
    return requests * TOKENS / (time.perf_counter() - began), firsts


def measure(servers: dict[str, Server], *, rounds: int, per_client: dict[int, int]) -> dict[str, Any]:
    """Figures by concurrency and server."""
    results: dict[str, Any] = {}
    for concurrency in CONCURRENCIES:
        rates: dict[str, list[float]] = {name: [] for name in servers}
        firsts: dict[str, list[float]] = {name: [] for name in servers}
        spent: dict[str, dict[str, float]] = {name: {} for name in servers}
        for name, server in _turns(servers, rounds):
            before = server.spent()
            rate, waits = asyncio.run(burst(server.port, concurrency, concurrency * per_client[concurrency]))
            for part, seconds in server.spent().items():
                spent[name][part] = spent[name].get(part, 0.0) + seconds - before.get(part, 0.0)
            rates[name].append(rate)
            firsts[name] += waits
        tokens = rounds * concurrency * per_client[concurrency] * TOKENS
        figures: dict[str, Any] = {
            name: {
                "tokens_per_second": round(statistics.median(rates[name]), 1),
                "first_token_ms": round(statistics.median(firsts[name]) * 1000, 2),
                "cpu_us_per_token": {part: round(s / tokens * 1e6) for part, s in spent[name].items() if s},
            }
            for name in servers
        }
        ours, theirs = figures[OURS], figures[PLAIN]
        figures["ratio_of_tokens_per_second"] = round(
            statistics.median(a / b for a, b in zip(rates[OURS], rates[PLAIN], strict=True)), 3
        )
        figures["added_first_token_ms"] = round(ours["first_token_ms"] - theirs["first_token_ms"], 2)
        results[str(concurrency)] = figures
    return results


def _turns(servers: dict[str, Server], rounds: int) -> Iterator[tuple[str, Server]]:
    """Each server once a round; who is first changes."""
    order = list(servers.items())
    for _ in range(rounds):
        yield from order
        order.reverse()


def idle(servers: dict[str, Server]) -> dict[str, float]:
    """What each server takes of a core while nobody asks, which the other one's figures suffer from."""
    before = {name: sum(server.spent().values()) for name, server in servers.items()}
    time.sleep(IDLE_SECONDS)
    return {
        name: round((sum(server.spent().values()) - before[name]) / IDLE_SECONDS, 3) for name, server in servers.items()
    }


def main() -> None:
    """Measure, print and keep it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trial", action="store_true", help="a few requests, written nowhere")
    given = parser.parse_args()
    rounds, per_client = (2, {1: 2, 8: 1, 32: 1}) if given.trial else (given.rounds, {1: 6, 8: 4, 32: 2})
    os.environ |= {"OMP_NUM_THREADS": "1", "VLLM_LOGGING_LEVEL": "WARNING", "VLLM_NO_USAGE_STATS": "1"}
    with tempfile.TemporaryDirectory(prefix="callwright-bench-") as folder, ExitStack() as stack:
        servers = started(Path(folder), stack)
        for server in servers.values():
            asyncio.run(burst(server.port, 8, 16))  # the first requests find nothing warm
        report = {
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "load": os.getloadavg(),
            "idle_cores": idle(servers),
            "concurrency": measure(servers, rounds=rounds, per_client=per_client),
        }
    text = json.dumps(report, indent=2)
    if not given.trial:
        (ROOT / "bench" / "results").mkdir(exist_ok=True)
        (ROOT / "bench" / "results" / "server.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    sys.exit(main())
