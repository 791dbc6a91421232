"""`python -m callwright.controller --config FILE`: watch FineTunes in the cluster of the kubeconfig or of the pod."""

import argparse
import logging
import signal
import sys
import threading
from pathlib import Path

from prometheus_client import start_http_server
from pydantic import ValidationError

from callwright.controller.app import Controller
from callwright.controller.check import check
from callwright.controller.cluster import connect
from callwright.controller.config import ControllerConfig
from callwright.controller.health import start_health_server
from callwright.controller.metrics import Metrics
from callwright.controller.reconcile import Reconciler
from callwright.errors import CallwrightError, InvalidInput
from callwright.spec import strict_yaml


def main() -> int:
    """Run until SIGTERM; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m callwright.controller", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="ControllerConfig as YAML")
    parser.add_argument("--check", action="store_true", help="try kinds, roles and store, and exit")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        config = _read(arguments.config)
        cluster, namespace = connect()
        if arguments.check:
            return max(_told(*tried) for tried in check(cluster, config, namespace=namespace))
        metrics, stop = Metrics(), threading.Event()
        controller = Controller(Reconciler(cluster, config), metrics)
        start_http_server(config.metrics_port, registry=metrics.registry)
        start_health_server(config.health_port, controller.healthy, controller.troubles)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        controller.run(stop)
    except CallwrightError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


def _told(tried: str, problem: str | None) -> int:
    sys.stderr.write(f"{tried}: {problem or 'ok'}\n")
    return 1 if problem else 0


def _read(path: Path) -> ControllerConfig:
    try:
        document = strict_yaml.load(strict_yaml.read(path), where=str(path))
        return ControllerConfig.model_validate(document)
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise InvalidInput(f"reading the controller's configuration {path}: {error}") from None


if __name__ == "__main__":
    sys.exit(main())
