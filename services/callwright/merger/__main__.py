"""`python -m callwright.merger`: the merge Job of a run."""

import logging

from callwright.merger.config import MergerConfig
from callwright.merger.stage import merge_run
from callwright.progress import in_bytes, logged
from callwright.run import Run, stage_main


def _merge(run: Run, config: MergerConfig, log: logging.Logger) -> None:
    manifest = merge_run(run, version=config.version, on_progress=in_bytes(logged(log, every_seconds=10.0)))
    log.info("published %s %s: %d files, %d bytes", manifest.name, manifest.version, len(manifest.files), manifest.size)


if __name__ == "__main__":
    stage_main(MergerConfig, _merge, room="merger", description=__doc__)
