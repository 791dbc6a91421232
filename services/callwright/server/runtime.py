"""`running`: starts a local Ray with the application deployed, and ends it without leaving a process behind.

For one machine. On a cluster KubeRay starts Ray and deploys `callwright.server.app:build` itself.
"""

import contextlib
import re
import time
from collections.abc import Iterator

import ray
from ray import serve
from ray._private import ray_constants
from ray.serve.schema import ApplicationStatus

from callwright import machine
from callwright.errors import CallwrightError, InvalidInput, StageFailed, TimedOut
from callwright.server import ingress
from callwright.server.app import build
from callwright.server.config import ServerConfig
from callwright.server.preflight import Stop

APPLICATION = "callwright"
_FORESEEN = re.compile(r"callwright\.errors\.(\w+): (.*)")


@contextlib.contextmanager
def running(config: ServerConfig, stop: Stop) -> Iterator[None]:
    """Start Ray, deploy and wait until the application answers or `stop` is set; shut everything down afterwards.

    Raises `InvalidInput` for a model that the engine refuses, `StageFailed` or `TimedOut` when it doesn't come up.
    """
    application = build(config)
    with ingress.environment(config.port):
        _start_ray(config)
        stop.listen()  # Ray takes SIGTERM for itself
        try:
            serve.start(http_options={"host": config.host, "port": config.port})
            serve.run_many([serve.RunTarget(application, name=APPLICATION)], wait_for_applications_running=False)
            _wait(config, stop)
            yield
        finally:
            with contextlib.suppress(RuntimeError):
                serve.shutdown()
            ray.shutdown()


def _start_ray(config: ServerConfig) -> None:
    # Ray's CPUs are a budget, not cores: Serve's controller, its proxy and the replicas must all fit in. For each of
    # them Ray starts a process beforehand, so a node's count would not fit into a pod.
    budget = max(machine.cpus(), int(config.cpus * config.max_replicas) + 4)
    ray_constants.ENABLE_RAY_CLUSTER = False  # else Ray takes 127.0.0.1 for the machine's address, and listens on all
    ray.init(
        "local",  # ignores any other cluster that runs or ran on the machine
        num_cpus=budget,
        include_dashboard=False,
        log_to_driver=True,
        logging_level="WARNING",
        _node_ip_address="127.0.0.1",
        configure_logging=False,
    )


def _wait(config: ServerConfig, stop: Stop) -> None:
    deadline = time.monotonic() + config.start_seconds
    while not stop.is_set():
        status = serve.status().applications[APPLICATION]
        message = "\n".join([status.message, *(d.message for d in status.deployments.values())])
        if status.status is ApplicationStatus.RUNNING:
            return
        if status.status is ApplicationStatus.DEPLOY_FAILED:
            raise _failure(message)
        if time.monotonic() > deadline:
            raise TimedOut(f"starting the server: not ready after {config.start_seconds:g} s: {message.strip()}")
        stop.wait(0.2)


def _failure(message: str) -> CallwrightError:
    """Return the expected error that a replica died of, else everything that Serve reports about it."""
    if found := _FORESEEN.findall(message):
        kind, text = found[-1]
        return InvalidInput(text) if kind in ("InvalidInput", "NotFound") else StageFailed(text)
    return StageFailed(f"starting the server: a replica failed: {message.strip()}")
