"""Checks before Ray starts, which takes seconds: ports in use, models that are not there.

The user sees such a mistake at once instead of through a failed replica.
"""

import contextlib
import errno
import os
import signal
import socket
import sys
import threading
from pathlib import Path

from callwright.errors import InvalidInput, NotFound
from callwright.server.config import ServerConfig
from callwright.store.documents import read_object


def check_port(host: str, port: int) -> None:
    """Raise `InvalidInput` when nothing can listen on `host`:`port`."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        why = "it is in use" if error.errno == errno.EADDRINUSE else error.strerror
        raise InvalidInput(f"listening on {host}:{port}: {why}; stop what uses it or choose another port") from None


def free_ports(count: int, *, but: int | None = None) -> list[int]:
    """`count` ports of loopback that nobody listens on now, below the range from which the kernel gives ports out."""
    found: list[int] = []
    first = 20_000 + os.getpid() * 797 % 9_000  # servers that start together look in places far apart
    ports = (port for port in range(first, 30_000) if port != but)
    while len(found) < count:
        port = next(ports)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
    return found


def check_models(config: ServerConfig) -> None:
    """Raise `NotFound` for a local model whose directory, configuration or weights are missing."""
    for model in config.models:
        if model.path is None:
            continue
        folder = Path(model.path)
        if not folder.is_dir():
            raise NotFound(f"serving {model.id}: no directory {folder}; expected config.json, weights and tokenizer")
        try:
            read_object(folder / "config.json")
        except (NotFound, InvalidInput) as error:
            raise NotFound(f"serving {model.id}: {folder} has no readable config.json: {error}") from None
        if not any(folder.glob("*.safetensors")):
            raise NotFound(f"serving {model.id}: {folder} has no *.safetensors")


class Stop(threading.Event):
    """Set by SIGTERM, SIGINT and, with `watch_stdin`, the end of standard input; a second signal kills at once."""

    def __init__(self, *, watch_stdin: bool = False) -> None:
        super().__init__()
        self.listen()
        if watch_stdin:
            threading.Thread(target=self._watch, daemon=True, name="stdin").start()

    def listen(self) -> None:
        """Take the signals; call again after a library has taken them away."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def _on_signal(self, number: int, frame: object) -> None:
        if self.is_set():
            os._exit(128 + number)
        self.set()

    def _watch(self) -> None:
        while os.read(sys.stdin.fileno(), 4096):  # not through sys.stdin, whose lock is held at exit
            pass
        self.set()
