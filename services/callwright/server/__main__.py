"""`python -m callwright.server --config FILE`: Ray and the application in the foreground, until SIGTERM or SIGINT."""

import argparse
import os
import sys
from pathlib import Path

from callwright.errors import CallwrightError
from callwright.server import config as configuration
from callwright.server import preflight

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m callwright.server", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="YAML or JSON file, see callwright.server.config")
    parser.add_argument("--until-stdin-closes", action="store_true", help="also stop when standard input ends")
    arguments = parser.parse_args()
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        config = configuration.load(arguments.config)
        preflight.check_port(config.host, config.port)
        preflight.check_models(config)
        stop = preflight.Stop(watch_stdin=arguments.until_stdin_closes)
        _serve(config, stop)
    except CallwrightError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _serve(config: configuration.ServerConfig, stop: preflight.Stop) -> None:
    from callwright.server import runtime

    with runtime.running(config, stop):
        if not stop.is_set():
            ids = ", ".join(served for model in config.models for served in configuration.served_ids(model))
            print(f"ready: http://{config.host}:{config.port}/v1 serves {ids}", flush=True)
        stop.wait()


if __name__ == "__main__":
    sys.exit(main())
