"""Asks a served model for a tool call, again and again, until /tmp/stop is there; prints what came of the requests.

Runs in a pod of the cluster: python load.py URL THREADS
"""

import collections
import json
import pathlib
import sys
import threading
import time

import httpx

STOP = pathlib.Path("/tmp/stop")
TOOL = {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
QUESTION = {
    "model": "m",
    "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
    "tools": [{"type": "function", "function": TOOL}],
}
outcomes: collections.Counter[str] = collections.Counter()


def ask(url: str) -> None:
    while not STOP.exists():
        try:
            answer = httpx.post(f"{url}/v1/chat/completions", json=QUESTION, timeout=60)
            called = answer.status_code == 200 and answer.json()["choices"][0]["finish_reason"] == "tool_calls"
            outcomes["called" if called else f"HTTP {answer.status_code}"] += 1
        except httpx.HTTPError as error:
            outcomes[type(error).__name__] += 1
        time.sleep(0.05)


if __name__ == "__main__":
    threads = [threading.Thread(target=ask, args=(sys.argv[1],)) for _ in range(int(sys.argv[2]))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(outcomes))
