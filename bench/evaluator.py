"""CPU time and memory of the evaluator itself: thousands of requests to a scripted endpoint in a process of its own.

Side by side in one run: a bare loop of the same requests with the same HTTP client, which scores and keeps nothing.
`python bench/evaluator.py [REQUESTS] [CONCURRENCY]` writes `bench/results/evaluator.json`; times are CPU time of this
process alone.
"""

import asyncio
import json
import multiprocessing
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import httpx

from callwright.evaluator.row import Call, Row

RESULTS = Path(__file__).parent / "results"
TOOLS = tuple(
    {
        "type": "function",
        "function": {
            "name": f"tool_{n}",
            "description": "Does one thing to one place, as often as it is told to, and says what came of it.",
            "parameters": {
                "type": "object",
                "properties": {"place": {"type": "string", "description": "where"}, "times": {"type": "integer"}},
                "required": ["place"],
            },
        },
    }
    for n in range(3)
)


def rows(count: int) -> Iterator[Row]:
    """Requests as they come from a file: none is kept."""
    for n in range(count):
        messages = ({"role": "user", "content": f"Please do it {n} times in place {n}, then tell me how it went."},)
        yield Row("bench", str(n), messages, TOOLS, (Call("tool_1", {"place": f"place {n}", "times": n}),))


def serve(ready: Connection) -> None:
    """An endpoint that answers every request with the right call, at once."""
    models = b'{"data": [{"id": "m"}]}'

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
                body = await reader.readexactly(length)
                reply = models
                if length:
                    n = int(json.loads(body)["messages"][-1]["content"].split()[3])
                    arguments = json.dumps({"place": f"place {n}", "times": n})
                    call = {"id": "c", "type": "function", "function": {"name": "tool_1", "arguments": arguments}}
                    message = {"role": "assistant", "content": None, "tool_calls": [call]}
                    usage = {"prompt_tokens": 200, "completion_tokens": 20, "total_tokens": 220}
                    reply = json.dumps({"choices": [{"index": 0, "message": message}], "usage": usage}).encode()
                head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
                writer.write(head % len(reply) + reply)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


async def bare(base_url: str, count: int, concurrency: int) -> None:
    """The same requests with the same client, and nothing done with the answers but reading their JSON."""
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
    left = rows(count)

    async def some() -> None:
        async with httpx.AsyncClient(limits=limits, trust_env=False, verify=False) as client:
            for row in left:
                body = {"model": "m", "messages": row.messages, "tools": row.tools, "temperature": 0, "max_tokens": 512}
                json.loads((await client.post(f"{base_url}/chat/completions", content=json.dumps(body))).content)

    await asyncio.gather(*(some() for _ in range(concurrency)))


def main() -> None:
    """Run both and print what they took."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    concurrency = int(sys.argv[2]) if len(sys.argv) > 2 else 64
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there,), daemon=True)
    server.start()
    base_url = f"http://127.0.0.1:{here.recv()}/v1"

    def evaluate(count: int) -> tuple[float, float]:
        with tempfile.TemporaryDirectory() as folder:
            cpu, wall = time.process_time(), time.perf_counter()
            report = evaluate(
                base_url=base_url,
                model="m",
                rows=rows(count),
                concurrency=concurrency,
                results_path=Path(folder) / "results.jsonl",
            )
            spent = time.process_time() - cpu, time.perf_counter() - wall
        assert report.total.accuracy == 1.0, report.total
        assert report.total.errors == 0
        return spent

    evaluate(200)
    asyncio.run(bare(base_url, 200, concurrency))
    cpu = time.process_time()
    asyncio.run(bare(base_url, count // 2, concurrency))
    bare_cpu = (time.process_time() - cpu) / (count // 2)
    small = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cpu_seconds, wall_seconds = evaluate(count)
    text = json.dumps(
        {
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "load": os.getloadavg(),
            "requests": count,
            "concurrency": concurrency,
            "cpu_ms_per_request": round(1000 * cpu_seconds / count, 3),
            "bare_client_cpu_ms_per_request": round(1000 * bare_cpu, 3),
            "added_cpu_ms_per_request": round(1000 * (cpu_seconds / count - bare_cpu), 3),
            "requests_per_second": round(count / wall_seconds),
            "peak_mib_after_200": round(small / 1024, 1),
            "peak_mib_after_all": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        },
        indent=2,
    )
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "evaluator.json").write_text(text + "\n")
    print(text)
    server.terminate()
    server.join()


if __name__ == "__main__":
    main()
