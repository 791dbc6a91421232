"""`python -m callwright.trainer`: prepare a run's conversations and train its adapter, as a RayJob does.

Example: `python -m callwright.trainer --spec finetune.yaml --run weather-0123abcd --store s3://bucket/prefix`
"""

import logging

from callwright.progress import logged
from callwright.run import Run, StageConfig, stage_main
from callwright.trainer.stage import train_run


def _train(run: Run, config: StageConfig, log: logging.Logger) -> None:
    # Metric lines come every half second at most.
    train_run(run, on_progress=logged(log, every_seconds=0.0), on_note=log.info)


if __name__ == "__main__":
    stage_main(StageConfig, _train, room="trainer", description=__doc__)
