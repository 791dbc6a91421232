"""The sidecar against a bare relay, and against LiteLLM's proxy and vLLM's router where they are installed, in one run.

`python bench/sidecar.py` prints JSON and writes bench/results/sidecar.json; with `--before FOLDER`, another checkout's
sidecar is measured too, which says what a change costs. A scripted engine streams events; the
proxies run as processes pinned to one core, engine and client to another, and are measured in turn, over and over:
the time to the first token (one request at a time), CPU of the proxy for each event when 32 streams are paced at one
event each 10 ms, and events a second when flooded. Medians of the rounds, with the least and the most; peak memory.
"""

import argparse
import asyncio
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

Measured = tuple[str, int, int | None, bool, list[dict[str, float]]]
"""Name, port, process, whether requests have tools, and the rounds."""
ROOT = Path(__file__).resolve().parent.parent
PACE_SECONDS = 0.01
ROUNDS, STREAMS, PACED_EVENTS, FLOOD_EVENTS, FIRST_TOKENS = 9, 32, 300, 10_000, 100
TOOL = {"type": "function", "function": {"name": "get", "parameters": {"type": "object", "properties": {}}}}
WORDS = ("The quick brown fox jumps over the lazy dog and runs away " * 40).split()
HEAD = {"id": "chatcmpl-0123456789abcdef", "object": "chat.completion.chunk", "created": 1, "model": "m"}
LITELLM = {
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true", "LITELLM_LOCAL_MODEL_COST_MAP": "true",
    "OPENAI_API_KEY": "none",
}  # fmt: skip
RELAY = """
import httpx, sys
from contextlib import asynccontextmanager
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
import uvicorn

client = httpx.AsyncClient(timeout=None, limits=httpx.Limits(max_connections=None))
app = FastAPI()

@app.post("/v1/chat/completions")
async def relay(request: Request):
    upstream = client.build_request("POST", sys.argv[1] + "/v1/chat/completions", content=await request.body())
    response = await client.send(upstream, stream=True)
    return StreamingResponse(response.aiter_raw(), media_type="text/event-stream")

uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="error", access_log=False)
"""


# --- the engine -----------------------------------------------------------------------------------------------------


def event(content: str | None, finish: str | None = None) -> bytes:
    """One event, as vLLM writes it, within its HTTP chunk."""
    choice = {"index": 0, "delta": {"content": content}, "logprobs": None, "finish_reason": finish, "token_ids": None}
    data = b"data: " + json.dumps(HEAD | {"choices": [choice]}, separators=(",", ":")).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


EVENTS = [event(" " + word) for word in WORDS]
END = event("", "stop") + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


class Engine(asyncio.Protocol):
    """Streams as many events as the request's `max_tokens` says: paced with a temperature, else as fast as it can."""

    def connection_made(self, transport: Any) -> None:
        """Begin a connection."""
        self.transport, self.buffer, self.flowing = transport, b"", asyncio.Event()
        self.flowing.set()

    def pause_writing(self) -> None:
        """The proxy does not read."""
        self.flowing.clear()

    def resume_writing(self) -> None:
        """The proxy reads again."""
        self.flowing.set()

    def data_received(self, data: bytes) -> None:
        """Collect a request."""
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = [int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        if len(body) >= (length or [0])[0]:
            self.buffer = b""
            self.task = asyncio.ensure_future(self.answer(json.loads(body or b"{}")))

    async def answer(self, request: dict[str, Any]) -> None:
        """Write the stream."""
        write = self.transport.write
        if "max_tokens" not in request:  # a list of models, or a prompt to be counted
            body = b'{"object":"list","data":[{"id":"m","object":"model"}]}'
            write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
            )
            return
        write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        began = time.perf_counter()
        for n in range(request["max_tokens"]):
            if request.get("temperature"):
                await asyncio.sleep(max(0.0, began + n * PACE_SECONDS - time.perf_counter()))
            write(EVENTS[n % len(EVENTS)])
            await self.flowing.wait()
        write(END)


async def run_engine(port: int) -> None:
    """Serve for ever."""
    server = await asyncio.get_running_loop().create_server(Engine, "127.0.0.1", port)
    await server.serve_forever()


# --- the client -----------------------------------------------------------------------------------------------------


async def stream(port: int, body: dict[str, Any]) -> tuple[float, int]:
    """Seconds to the first event with text, and events in all."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    data = json.dumps(body).encode()
    began = time.perf_counter()
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"authorization: Bearer x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(data), data)
    )
    first, events, rest, joined = 0.0, 0, b"", b""
    while piece := await reader.read(2**16):
        if not first and b'"content":"' in rest + piece:
            first = time.perf_counter() - began
        joined = rest + piece
        events += joined.count(b"data: ")
        rest = joined[-5:]
        if b"[DONE]" in joined:
            break
    writer.close()
    if events < body["max_tokens"]:
        raise SystemExit(f"got {events} events; expected {body['max_tokens']}; the last bytes: {joined[-500:]!r}")
    return first, events


def request(tokens: int, *, tools: bool, paced: bool) -> dict[str, Any]:
    """What the client asks for."""
    messages = [{"role": "user", "content": "Hi"}]
    body: dict[str, Any] = {"model": "m", "messages": messages, "stream": True, "max_tokens": tokens}
    return body | ({"tools": [TOOL]} if tools else {}) | ({"temperature": 1} if paced else {})


async def measure(port: int, pid: int | None, *, tools: bool) -> dict[str, float]:
    """One round of what listens on `port`, whose process is `pid`."""
    firsts = [(await stream(port, request(2, tools=tools, paced=False)))[0] for _ in range(FIRST_TOKENS)]
    before = cpu_seconds(pid)
    paced = await asyncio.gather(
        *(stream(port, request(PACED_EVENTS, tools=tools, paced=True)) for _ in range(STREAMS))
    )
    spent = cpu_seconds(pid) - before
    began = time.perf_counter()
    _, flooded = await stream(port, request(FLOOD_EVENTS, tools=tools, paced=False))
    return {
        "first_token_ms": statistics.median(firsts) * 1000,
        "cpu_us_per_event": spent / sum(events for _, events in paced) * 1e6,
        "events_per_second": flooded / (time.perf_counter() - began),
    }


def summary(rounds: list[dict[str, float]]) -> dict[str, Any]:
    """The median of each figure, and between what it varied."""
    figures = {key: sorted(round[key] for round in rounds) for key in rounds[0]}
    return {key: round(statistics.median(found), 3) for key, found in figures.items()} | {
        "spread": {key: [round(found[0], 3), round(found[-1], 3)] for key, found in figures.items()}
    }


def cpu_seconds(pid: int | None) -> float:
    """User and system time of a process so far, to 10 ms."""
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_bytes(pid: int | None) -> int:
    """Peak resident memory of a process."""
    if pid is None:
        return 0
    return int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0]) * 1024


# --- the run --------------------------------------------------------------------------------------------------------


@contextmanager
def running(command: list[str], port: int, core: int, checkout: Path = ROOT) -> Iterator[int]:
    """A process of a checkout, pinned to a core, once it listens."""
    process = subprocess.Popen(
        command, preexec_fn=lambda: os.sched_setaffinity(0, {core}), stdout=subprocess.DEVNULL,
        env=os.environ | LITELLM | {"PYTHONPATH": str(checkout / "services")},
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while not listens(port):
            if time.monotonic() > deadline or process.poll() is not None:
                raise SystemExit(f"{command[0]} does not start")
            time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def listens(port: int) -> bool:
    """Whether somebody answers on `port`."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    """A port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def sidecars(engine: int, before: Path | None) -> Iterator[tuple[str, list[str], int, bool, Path]]:
    """Name, command, port, whether requests have tools, and the checkout: this one's sidecar, and that of `before`."""
    for suffix, checkout in (("", ROOT), (", before", before)):
        for name, tools in (("sidecar, parsing", True), ("sidecar, passing through", False)):
            port = free_port()
            flags = ["--upstream", f"http://127.0.0.1:{engine}", "--port", str(port), "--dialect", "*=react_en"]
            if checkout is not None:
                yield name + suffix, [sys.executable, "-m", "callwright.sidecar", *flags], port, tools, checkout


def others(engine: int) -> Iterator[tuple[str, list[str], int, bool, Path]]:
    """The same of other proxies, as far as they are installed."""
    url = f"http://127.0.0.1:{engine}"
    port = free_port()
    yield "FastAPI and httpx, bare relay", [sys.executable, "-c", RELAY, url, str(port)], port, False, ROOT
    if litellm := shutil.which("litellm"):
        port = free_port()
        flags = ["--model", "openai/m", "--api_base", f"{url}/v1", "--port", str(port), "--host", "127.0.0.1"]
        yield "LiteLLM's proxy", [litellm, *flags], port, False, ROOT
    if router := shutil.which("vllm-router"):
        port = free_port()
        flags = [
            "--worker-urls",
            url,
            "--port",
            str(port),
            "--host",
            "127.0.0.1",
            "--prometheus-port",
            str(free_port()),
        ]
        yield "vLLM's router", [router, *flags], port, False, ROOT


def main(before: Path | None) -> None:
    """Measure everything, print and keep it."""
    cores = sorted(os.sched_getaffinity(0))
    engine = free_port()
    with ExitStack() as started:
        started.enter_context(running([sys.executable, __file__, "--engine", str(engine)], engine, cores[-1]))
        os.sched_setaffinity(0, {cores[-1]})
        measured: list[Measured] = [("no proxy", engine, None, False, [])]
        for name, command, port, tools, checkout in (*sidecars(engine, before), *others(engine)):
            process = started.enter_context(running(command, port, cores[0], checkout))
            measured.append((name, port, process, tools, []))
        for _, port, pid, tools, _ in measured:
            asyncio.run(measure(port, pid, tools=tools))  # warm
        for _ in range(ROUNDS):
            for _, port, pid, tools, rounds in measured:
                rounds.append(asyncio.run(measure(port, pid, tools=tools)))
        results = {name: summary(rounds) for name, _, _, _, rounds in measured}
        for name, _, pid, _, _ in measured[1:]:
            results[name]["peak_mib"] = round(peak_bytes(pid) / 2**20, 1)
            results[name]["added_first_token_ms"] = round(
                results[name]["first_token_ms"] - results["no proxy"]["first_token_ms"], 3
            )
    ours, theirs = results["sidecar, parsing"], results.get("LiteLLM's proxy")
    ratio = round(theirs["cpu_us_per_event"] / ours["cpu_us_per_event"], 1) if theirs else None
    report = {"python": platform.python_version(), "cores": len(cores), "load": os.getloadavg(), "rounds": ROUNDS}
    report |= {"results": results, "litellm_cpu_over_ours": ratio}
    if then := results.get("sidecar, parsing, before"):
        report["over_before"] = {key: round(ours[key] / then[key], 2) for key in ("cpu_us_per_event", "first_token_ms")}
    text = json.dumps(report, indent=2)
    (ROOT / "bench" / "results").mkdir(exist_ok=True)
    (ROOT / "bench" / "results" / "sidecar.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", type=int)
    parser.add_argument("--before", type=Path)
    given = parser.parse_args()
    if given.engine:
        asyncio.run(run_engine(given.engine))
    else:
        main(given.before)
