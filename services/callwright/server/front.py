"""The flags of the sidecar in front of a server: which model speaks which dialect follows from what is served.

For child processes on one machine and containers in a pod alike. Knows no process and no pod.
"""

from collections.abc import Mapping

from callwright.server.config import ServerConfig


def sidecar_command(config: ServerConfig, *, port: int, dialects: Mapping[str, str] | None = None) -> list[str]:
    """What follows `python -m` for the sidecar of `config` on `port`; `dialects` goes over what manifests say."""
    command = ["callwright.sidecar", "--upstream", f"http://{config.host}:{config.port}"]
    command += ["--host", config.host, "--port", str(port), *(("--store", config.store) if config.store else ())]
    for model in config.models:
        if model.name is not None:
            command += ["--model", f"{model.id}={model.name}@{model.version}"]
    for model_id, dialect in (dialects or {}).items():
        command += ["--dialect", f"{model_id}={dialect}"]
    return command
