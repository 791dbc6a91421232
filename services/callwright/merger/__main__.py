"""`python -m callwright.merger`: the merge Job of a run."""

import argparse
import logging
import os
import sys
import time

from callwright import spec
from callwright.errors import CallwrightError, InvalidInput
from callwright.merger.config import MergerConfig
from callwright.merger.stage import Source, merge_run
from callwright.store import Store

_LOG = logging.getLogger("callwright.merger")
_LOG_SECONDS = 10.0


def _config() -> MergerConfig:
    parser = argparse.ArgumentParser(prog="python -m callwright.merger", description=__doc__)
    for name, field in MergerConfig.model_fields.items():
        needed = field.is_required() and name != "store"
        parser.add_argument(f"--{name.replace('_', '-')}", required=needed, help=field.description)
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    store = spec.load(given["spec"]).spec.store or os.environ.get("CALLWRIGHT_STORE")
    if "store" not in given and not store:
        raise InvalidInput("merging: got no store; expected --store, CALLWRIGHT_STORE or spec.store")
    return MergerConfig.model_validate({"store": store} | given)


def main() -> None:
    """Read argv and env, merge, and say what came of it."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    last = [0.0]

    def progress(done: int, total: int, what: str) -> None:
        if done >= total or time.monotonic() - last[0] > _LOG_SECONDS:
            last[0] = time.monotonic()
            _LOG.info("%s: %.1f of %.1f GB", what, done / 1e9, total / 1e9)

    try:
        config = _config()
        source, store = Source(config.run, config.version), Store.open(config.store)
        manifest = merge_run(spec.load(config.spec), source, store=store, workdir=config.workdir, on_progress=progress)
    except CallwrightError as error:
        _LOG.error("%s", error)
        sys.exit(error.exit_code)
    _LOG.info(
        "published %s %s: %d files, %d bytes", manifest.name, manifest.version, len(manifest.files), manifest.size
    )


if __name__ == "__main__":
    main()
