"""`python -m callwright.trainer`: prepare the data and train, as the RayJob's entry point does."""

import argparse
import logging
import os
import sys
from pathlib import Path

from callwright import spec
from callwright.datasets.prepare import prepare
from callwright.errors import CallwrightError, InvalidInput
from callwright.store import Store, resolve_base
from callwright.trainer.training import train


def main() -> None:
    """Read argv and env, then work."""
    parser = argparse.ArgumentParser(prog="python -m callwright.trainer", description=__doc__)
    parser.add_argument("--spec", required=True, help="FineTune document")
    parser.add_argument("--run", required=True, help="name of the run")
    parser.add_argument("--store", default=os.environ.get("CALLWRIGHT_STORE"), help="object store URL")
    parser.add_argument("--workdir", type=Path, default=Path("/tmp/callwright"), help="folder for scratch files")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    log = logging.getLogger("callwright.trainer")

    def progress(done: int, total: int, note: str) -> None:
        log.info("%d/%d %s", done, total, note)

    try:
        document = spec.load(arguments.spec)
        if not (url := document.spec.store or arguments.store):
            raise InvalidInput("training: got no store; expected --store, CALLWRIGHT_STORE or spec.store")
        store = Store.open(url)
        workdir = arguments.workdir / arguments.run
        base_dir = resolve_base(document.spec.base.model, document.spec.base.revision, workdir / "cache")
        prepared = prepare(
            document.spec.data, dialect=document.spec.dialect, base_dir=base_dir, folder=workdir / "data",
            on_progress=progress,
        )  # fmt: skip
        train(
            document, run=arguments.run, store=store, data=prepared.folder, workdir=workdir, on_progress=progress,
            on_note=log.info,
        )  # fmt: skip
    except CallwrightError as error:
        log.error("%s", error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
