"""Asks a served model for tool calls and for long streams until /tmp/stop is there; prints what came of the requests.

Runs in a pod of the cluster: python load.py HOST SECONDS THREADS STREAMS; a request waits for its answer for so many
seconds, and /tmp/answered is there from the first answer on. The host's address, a Service's, is looked up once:
what is counted is what serving did, and not the cluster's DNS. The seconds are those from the first to the last request
that failed, when they began.
"""

import collections
import json
import pathlib
import socket
import sys
import threading
import time
from collections.abc import Callable

import httpx

STOP, ANSWERED = pathlib.Path("/tmp/stop"), pathlib.Path("/tmp/answered")
TOOL = {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
QUESTION = {
    "model": "m",
    "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
    "tools": [{"type": "function", "function": TOOL}],
}
LONG = {
    "model": "m",
    "messages": [{"role": "user", "content": "Go on and on."}],
    "stream": True,
    "max_tokens": 1500,
    "ignore_eos": True,
    "skip_special_tokens": False,
}
outcomes: collections.Counter[str] = collections.Counter()
failed_at: list[float] = []


def call(url: str, seconds: float) -> str:
    answer = httpx.post(f"{url}/v1/chat/completions", json=QUESTION, timeout=seconds)
    called = answer.status_code == 200 and answer.json()["choices"][0]["finish_reason"] == "tool_calls"
    return "called" if called else f"HTTP {answer.status_code}: {answer.text[:200]}"


def stream(url: str, seconds: float) -> str:
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=LONG, timeout=seconds) as answer:
        if answer.status_code != 200:
            return f"HTTP {answer.status_code}: {answer.read().decode()[:200]}"
        lines = [line for line in answer.iter_lines() if line]
    return "streamed" if lines[-1] == "data: [DONE]" and any('"length"' in line for line in lines) else "cut"


def ask_on(ask: Callable[[str, float], str], url: str, seconds: float) -> None:
    while not STOP.exists():
        began = time.monotonic()
        try:
            outcome = ask(url, seconds)
        except httpx.HTTPError as error:
            outcome = f"{type(error).__name__} of a {ask.__name__}: {error}"
        outcomes[outcome] += 1
        if outcome in ("called", "streamed"):
            ANSWERED.touch()
        else:
            failed_at.append(began)
        time.sleep(0.2)


if __name__ == "__main__":
    host, seconds, *numbers = sys.argv[1:]
    url = f"http://{socket.gethostbyname(host)}"
    asking = [ask for ask, number in zip((call, stream), numbers, strict=True) for _ in range(int(number))]
    threads = [threading.Thread(target=ask_on, args=(ask, url, float(seconds))) for ask in asking]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    failing = round(max(failed_at) - min(failed_at), 1) if failed_at else 0
    print(json.dumps({"outcomes": outcomes, "failing seconds": failing}))
